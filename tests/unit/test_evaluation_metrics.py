"""Corpus metrics: sacreBLEU's numbers to the digit, its intervals, and what is refused."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU as LibraryBLEU
from sacrebleu.metrics.chrf import CHRF as LibraryCHRF
from sacrebleu.metrics.lib_ter import translation_edit_rate
from sacrebleu.metrics.ter import TER as LibraryTER
from sacrebleu.significance import _bootstrap_resample

from recambio.errors import InputError
from recambio.evaluation import BLEU, CHRF, TER, ExactMatch, LengthRatio, build_metrics
from recambio.evaluation.base import resampled_sums
from recambio.evaluation.ter import CostDistance, translation_edits
from recambio.registry import METRIC
from tests.unit.mediocre import perturb, read_lines


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> tuple[list[str], list[str]]:
    references = read_lines(shared_data / "testsets" / "newssyscomb2009.es")
    return perturb(references), references


@pytest.mark.parametrize(
    ("metric", "flags"),
    [
        (BLEU(), ["-m", "bleu"]),
        (BLEU(tokenize="intl", lowercase=True), ["-m", "bleu", "-tok", "intl", "-lc"]),
        (CHRF(), ["-m", "chrf"]),
        (CHRF(word_order=2), ["-m", "chrf", "--chrf-word-order", "2"]),
        (TER(), ["-m", "ter"]),
    ],
    ids=["bleu", "bleu_intl_lc", "chrf", "chrf++", "ter"],
)
def test_equals_the_command_line(metric, flags, pairs, tmp_path):
    """Score, half width of the interval and signature, to six digits."""
    hypotheses, references = pairs
    for name, lines in (("hyp", hypotheses), ("ref", references)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", *flags, "--confidence", "-f", "json", "-w", "6"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SACREBLEU")}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    theirs = json.loads(done.stdout)
    ours = metric.score(hypotheses, [references])
    assert round(ours.score, 6) == theirs["score"]
    assert ours.name == theirs["name"]
    assert ours.signature == theirs["signature"]
    assert "bs:1000|seed:12345" in ours.signature
    assert (ours.high - ours.low) / 2 == pytest.approx(theirs["confidence_var"], abs=1e-6)
    assert ours.low < ours.score < ours.high


TEST_SETS = (
    *("flores200-devtest", "news-test2008", "newssyscomb2009", "newstest2009", "newstest2010", "newstest2011"),
    *("newstest2013", "ntrex128", "pud", "tico19-test", "wmt24"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEST_SETS)
def test_every_test_set_equals_the_command_line(name, shared_data, tmp_path):
    """bleu, chrf, chrf++ and the length ratio of whole sets; TER, which the command takes a minute for, of 300 sentences."""
    references = read_lines(shared_data / "testsets" / f"{name}.es")
    hypotheses = perturb(references, seed=len(name))

    def command(n: int, *flags: str) -> dict[str, object]:
        for file, lines in (("hyp", hypotheses), ("ref", references)):
            (tmp_path / file).write_text("".join(f"{line}\n" for line in lines[:n]), encoding="utf-8")
        words = [sys.executable, "-m", "sacrebleu", "ref", "-i", "hyp", *flags, "-f", "json", "-w", "6"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SACREBLEU")}
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    n = len(references)
    for metric, n_used, flags in (
        (METRIC.create("bleu"), n, ["-m", "bleu"]),
        (METRIC.create("chrf"), n, ["-m", "chrf"]),
        (METRIC.create("chrf++"), n, ["-m", "chrf", "--chrf-word-order", "2"]),
        (METRIC.create("ter"), 300, ["-m", "ter"]),
    ):
        theirs = command(n_used, *flags)
        ours = metric.score(hypotheses[:n_used], [references[:n_used]], 0)
        assert (round(ours.score, 6), ours.name, ours.signature) == (
            theirs["score"],
            theirs["name"],
            theirs["signature"],
        )
        if flags == ["-m", "bleu"]:
            ratio = LengthRatio().score(hypotheses, [references], 0).score
            assert f"ratio = {ratio / 100:.3f} " in str(theirs["verbose_score"])


def test_exact_match_and_length_ratio(pairs):
    hypotheses, references = (side[:80] for side in pairs)
    mixed = [h if i % 4 else f" {r} " for i, (h, r) in enumerate(zip(hypotheses, references, strict=True))]
    n_equal = sum(h.strip() == r.strip() for h, r in zip(mixed, references, strict=True))
    score = ExactMatch().score(mixed, [references, ["x"] * 80], n_bootstrap=100)
    assert score.score == 100 * n_equal / 80 and 20 <= n_equal < 80
    assert score.low < score.score < score.high
    assert score.signature == "nrefs:2|bs:100|seed:12345|case:mixed|strip:yes|version:recambio-1"
    # words as the 13a tokenizer has them: the full stop is one, and of two references the nearer counts
    ratio = LengthRatio().score(["uno dos.", "uno"], [["uno dos tres cuatro.", "a b"], ["uno dos tres.", "a b c"]], 0)
    assert ratio.score == 100 * (3 + 1) / (4 + 2)
    assert LengthRatio().score(["a"], [[""]], 0).score == 0
    for metric in (ExactMatch(), LengthRatio()):
        rows = metric.statistics(mixed, [references])
        one_by_one = [metric.from_statistics(r) for r in rows]
        assert metric.from_many(rows).tolist() == one_by_one


@pytest.mark.parametrize(("ours", "theirs"), [(BLEU(), LibraryBLEU()), (CHRF(), LibraryCHRF()), (TER(), LibraryTER())])
def test_bootstrap_is_the_librarys_for_every_chunk(ours, theirs, pairs, monkeypatch):
    hypotheses, references = (side[:150] for side in pairs)
    stats = theirs._extract_corpus_statistics(hypotheses, [references])
    _, expected = _bootstrap_resample(stats, theirs, 200)
    rows = ours.statistics(hypotheses, [references])
    assert (rows == np.array(stats)).all()
    for chunk in (1, 150, 4_001, 10_000_000):
        monkeypatch.setattr("recambio.evaluation.base._CHUNK", chunk)
        assert [ours.from_statistics(s) for s in resampled_sums(rows, 200)] == [s.score for s in expected]
    score = ours.score(hypotheses, [references], n_bootstrap=200)
    ranked = sorted(s.score for s in expected)
    assert (score.low, score.high) == (ranked[5], ranked[194])


def test_ter_equals_the_librarys_on_real_and_odd_sentences(pairs):
    hypotheses, references = pairs
    draw = random.Random(3)
    cases = [(h.split(), r.split()) for h, r in zip(hypotheses[:60], references[:60], strict=True)]
    cases += [(h.split(), r.split()) for h, r in zip(draw.sample(references, 30), references[:30], strict=True)]
    # past the beam of 25, very unequal, empty, and few distinct words (many ties and shifts)
    for m, n in ((0, 0), (0, 5), (5, 0), (90, 80), (1, 120), (120, 2), (30, 31)):
        cases.append(([draw.choice("abcdefgh") for _ in range(m)], [draw.choice("abcdefgh") for _ in range(n)]))
    cases += [([draw.choice("abc") for _ in range(draw.randrange(12))], list("abcabcab")) for _ in range(100)]
    for hypothesis, reference in cases:
        assert translation_edits(hypothesis, reference) == translation_edit_rate(hypothesis, reference)[0]


def test_edit_distance_finds_the_librarys_operations():
    from sacrebleu.metrics.lib_ter import BeamEditDistance

    draw = random.Random(0)
    for _ in range(300):
        reference = [draw.choice("abcd") for _ in range(draw.randrange(1, 70))]
        mine, theirs = CostDistance(reference), BeamEditDistance(reference)
        base = [draw.choice("abcd") for _ in range(draw.randrange(0, 70))]
        for hypothesis in (base, draw.sample(base, len(base)), base):  # the second and third meet the cache
            mine.is_traced = True
            assert mine(hypothesis) == theirs(hypothesis)


def test_ter_is_affordable(shared_data):
    """2,000 news sentences with 1,000 resamples in under 15 s; sacreBLEU's own edit distance takes four times as long."""
    references = read_lines(shared_data / "testsets" / "ntrex128.es")
    hypotheses = perturb(references)
    since = time.process_time()
    TER().score(hypotheses[:400], [references[:400]])
    assert (time.process_time() - since) * len(references) / 400 < 15


def test_several_references(pairs):
    hypotheses, references = (side[:100] for side in pairs)
    other = perturb(references, 0.1, seed=5)
    for ours, theirs in ((BLEU(), LibraryBLEU()), (CHRF(), LibraryCHRF()), (TER(), LibraryTER())):
        score = ours.score(hypotheses, [references, other], n_bootstrap=0)
        assert score.score == pytest.approx(theirs.corpus_score(hypotheses, [references, other]).score, abs=1e-12)
        assert score.signature == str(theirs.get_signature()) and "nrefs:2" in score.signature
        assert score.low is None and score.high is None


def test_scores_at_the_ends():
    text = ["el gato come pescado .", "la casa es muy grande ."]
    same = BLEU().score(text, [text], n_bootstrap=50)
    assert (same.score, same.low, same.high) == pytest.approx((100.0, 100.0, 100.0))
    assert BLEU().score(["", ""], [text], n_bootstrap=50).score == 0.0
    assert TER().score(text, [text], n_bootstrap=50).score == 0.0
    assert BLEU.is_higher_better and not TER.is_higher_better


def test_refusals():
    with pytest.raises(InputError, match=r"reference set 1 has 1 lines but there are 2 hypotheses"):
        BLEU().score(["a", "b"], [["a", "b"], ["a"]])
    with pytest.raises(InputError, match="no hypothesis to score"):
        BLEU().score([], [[]])
    with pytest.raises(InputError, match="one list of sentences per reference set"):
        BLEU().score(["a"], ["a"])
    with pytest.raises(InputError, match=r"chrf.char_order: must be at least 1, but is 0"):
        CHRF(char_order=0)


def test_tokenizer_model_that_cannot_be_fetched(monkeypatch):
    def refuse(**_: object) -> None:
        raise OSError("network is\nunreachable")

    monkeypatch.setattr("recambio.evaluation.bleu.LibraryBLEU", refuse)
    with pytest.raises(
        InputError, match=r"^bleu.tokenize: 'flores200' \(spbleu\) needs a model .*network is unreachable.*models$"
    ):
        build_metrics(["spbleu"])


def test_registered_with_typed_options():
    assert {"bleu", "chrf", "ter", "exact_match", "length_ratio"} <= set(METRIC.names())
    assert isinstance(METRIC.create({"name": "bleu", "tokenize": "intl"}), BLEU)
    with pytest.raises(InputError, match=r"tokenize: must be one of .*did you mean '13a'"):
        METRIC.create({"name": "bleu", "tokenize": "13"})
    keys = list(build_metrics(["bleu", {"name": "bleu", "tokenize": "intl"}, "chrf"]))
    assert keys == ["bleu", "bleu_2", "chrf"]
    # a preset's name is the key, also where a config has spelled it out
    pluses: list[object] = ["chrf++", "chrf", {"name": "chrf", "word_order": 2}, {"name": "chrf", "word_order": 1}]
    assert [m.label for m in build_metrics(pluses).values()] == ["chrF2++", "chrF2", "chrF2++", "chrF2+"]
    assert list(build_metrics(pluses)) == ["chrf++", "chrf", "chrf++_2", "chrf_2"]
    with pytest.raises(InputError) as error:
        build_metrics(["blue", {"name": "chrf", "word": 2}])
    assert len(error.value.problems) == 2
    assert "evaluation.metrics[0]: unknown metric 'blue'. Did you mean 'bleu'?" in error.value.problems[0]
