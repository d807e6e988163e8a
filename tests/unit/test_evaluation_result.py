"""The evaluation of a set: accuracy tables, warnings, samples and files."""

from __future__ import annotations

import hashlib
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU as LibraryBLEU

from recambio.errors import InputError
from recambio.evaluation import (
    Accuracy,
    accuracy_by_length,
    accuracy_by_tag,
    choose_samples,
    evaluate_set,
    phenomena_rows,
    read_results,
    write_results,
)
from recambio.evaluation.result import file_stem, read_text_file

SOURCES = ["The cat eats fish.", "The house is big.", "I like the book.", "She does not sleep."]
REFERENCES = ["El gato come pescado.", "La casa es grande.", "Me gusta el libro.", "Ella no duerme."]
HYPOTHESES = ["El gato come pescado.", "La casa está grande.", " Me gusta el libro. ", "No duerme."]
TAGS = [("agreement",), ("agreement", "ser_estar"), ("gustar",), ("negation", "dropped_pronoun")]


def evaluate(hypotheses=HYPOTHESES, sources=SOURCES, references=REFERENCES, tags=None, **options):
    return evaluate_set("tiny/test", sources, hypotheses, [references], tags, n_bootstrap=20, **options)


@given(n=st.integers(1, 400), share=st.floats(0, 1))
def test_wilson_interval_solves_its_equation(n, share):
    """The interval's ends are the p at which the observed share is 1.96 standard errors away."""
    accuracy = Accuracy(n, round(share * n))
    low, high = (x / 100 for x in accuracy.interval)
    observed = accuracy.correct / n
    assert 0 <= low <= observed <= high <= 1
    for p in (low, high):
        if 0 < p < 1:
            assert abs(observed - p) == pytest.approx(1.959963984540054 * math.sqrt(p * (1 - p) / n), abs=1e-9)


def test_wilson_interval_of_published_example():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I: 81 of 263, 0 of 20
    assert Accuracy(263, 81).interval == pytest.approx((25.53, 36.62), abs=0.005)
    assert Accuracy(20, 0).interval == pytest.approx((0.0, 16.11), abs=0.005)


def test_accuracy_by_tag_and_length():
    table = accuracy_by_tag([True, False, True, False], TAGS)
    assert table["agreement"] == Accuracy(2, 1)
    assert table["gustar"].exact == 100.0
    assert list(table) == sorted(table)
    rows = phenomena_rows(table, {"negation": "no before the verb", "agreement": "gender and number"})
    assert [tag for tag, _, _ in rows] == ["negation", "agreement", "dropped_pronoun", "gustar", "ser_estar"]
    assert rows[0][1] == "no before the verb"
    lengths = accuracy_by_length([True, False, True], ["a b", "a " * 30, "a b c d e"])
    assert lengths == {"1-4": Accuracy(1, 1), "5-8": Accuracy(1, 1), "25+": Accuracy(1, 0)}


def test_result_and_files(tmp_path):
    result = evaluate(tags=TAGS, metrics=["bleu", {"name": "chrf", "word_order": 2}, "ter"])
    assert result.exact_match == Accuracy(4, 2)
    written = write_results(tmp_path, [result])
    file = tmp_path / "eval" / "tiny__test.hyp"
    assert json.loads((tmp_path / "eval" / "tiny__test.json").read_text(encoding="utf-8")) == written
    entry = written["sets"]["tiny/test"]
    assert entry["hypotheses"] == "eval/tiny__test.hyp" and entry["n"] == 4 and entry["exact_match"] == 50.0
    assert entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(entry["bleu"]) == {"score", "signature", "low", "high"}
    assert entry["phenomena"]["agreement"]["n"] == 2 and entry["phenomena"]["agreement"]["exact"] == 50.0
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    assert entry["bleu"]["score"] == LibraryBLEU().corpus_score(lines, [REFERENCES]).score
    assert read_results(tmp_path) == written["sets"]
    assert [p.name for p in sorted((tmp_path / "eval").iterdir())] == [
        f"tiny__test.{end}" for end in ("hyp", "json", "ref", "src")
    ]
    for file, lines in ((entry["source"], SOURCES), (entry["references"][0], REFERENCES)):
        assert (tmp_path / file["file"]).read_text(encoding="utf-8") == "".join(f"{line}\n" for line in lines)
        assert read_text_file(tmp_path, file["file"], file["sha256"]) == lines


def test_exact_match_as_a_metric_has_an_interval():
    entry = evaluate(metrics=["exact_match", "length_ratio"]).as_dict()
    assert entry["exact_match"]["score"] == 50.0 and entry["exact_match"]["signature"].startswith("nrefs:1|bs:20|")
    assert entry["length_ratio"]["score"] == pytest.approx(100 * 18 / 19)


def test_line_breaks_become_blanks_before_scoring(tmp_path):
    broken = ["El gato\ncome pescado.", "La casa\r\nes grande.", *REFERENCES[2:]]
    result = evaluate(broken)
    write_results(tmp_path, [result])
    assert (tmp_path / "eval" / "tiny__test.hyp").read_bytes().count(b"\n") == 4
    assert result.scores["bleu"].score == pytest.approx(100.0)
    assert "line_breaks: 2 hypotheses held a line break, written as a blank" in result.warnings


@pytest.mark.parametrize(
    ("hypotheses", "name"),
    [
        (["", "  ", *REFERENCES[2:]], "empty_hypotheses: 2 of 4"),
        (SOURCES, "copied_sources: 4 of 4"),
        (["▁El ▁gato", *REFERENCES[1:]], "leftover_tokens: 1 hypotheses hold .*'▁'"),
        (["El gato </s>", *REFERENCES[1:]], "leftover_tokens: 1 .*'</s>'"),
        ([r.replace(".", " .") for r in REFERENCES], "tokenised: 4"),
        ([r.lower() for r in REFERENCES], "lowercased"),
    ],
)
def test_doubtful_hypotheses_are_named(hypotheses, name):
    result = evaluate(hypotheses)
    assert len(result.warnings) == 1

    assert re.match(name, result.warnings[0])


def test_sound_hypotheses_raise_no_warning():
    assert evaluate(REFERENCES).warnings == []
    # names and numbers are the same in both languages
    assert evaluate(["Tom.", *REFERENCES[1:]], ["Tom.", *SOURCES[1:]], ["Tom.", *REFERENCES[1:]]).warnings == []


def test_counts_that_differ_are_refused():
    with pytest.raises(InputError, match="tiny/test: 3 source lines but 4 hypotheses"):
        evaluate(sources=SOURCES[:3])
    with pytest.raises(InputError, match="tiny/test: there is no hypothesis"):
        evaluate([], [], [])


def test_samples_mix_right_and_wrong_and_are_seeded():
    sources = [f"s{i}" for i in range(100)]
    references = [f"r{i}" for i in range(100)]
    hypotheses = [f"r{i}" if i % 10 else "x" for i in range(100)]
    chosen = choose_samples(sources, hypotheses, [references], n=5, seed=3)
    assert sum(s.is_exact for s in chosen) == 2 and len(chosen) == 5
    assert chosen == choose_samples(sources, hypotheses, [references], n=5, seed=3)
    assert chosen != choose_samples(sources, hypotheses, [references], n=5, seed=4)
    assert all(s.reference == f"r{s.index}" and s.source == f"s{s.index}" for s in chosen)
    for all_same in (references, ["x"] * 100):
        assert len(choose_samples(sources, all_same, [references], n=5)) == 5
    assert len(choose_samples(sources[:2], hypotheses[:2], [references[:2]], n=5)) == 2


def test_file_stems_stay_in_the_folder():
    assert file_stem("tatoeba/test") == "tatoeba__test"
    assert file_stem("newstest2013") == "newstest2013"
    assert "/" not in file_stem("../../x") and not file_stem("../../x").startswith(".")


def test_texts_that_changed_since_they_were_scored_are_refused(tmp_path):
    result = evaluate_set("s", SOURCES, HYPOTHESES, [REFERENCES, SOURCES], n_bootstrap=0)
    entry = write_results(tmp_path, [result])["sets"]["s"]
    assert [r["file"] for r in entry["references"]] == ["eval/s.ref", "eval/s.ref2"]
    (tmp_path / "eval" / "s.ref2").write_text("x\n" * 4, encoding="utf-8")
    with pytest.raises(InputError, match=r"s.ref2: has changed since it was scored; score the run again"):
        read_text_file(tmp_path, **entry["references"][1])
    with pytest.raises(InputError, match=r"s.ref3: can't be read \(No such file or directory\); score the run again"):
        read_text_file(tmp_path, "eval/s.ref3", "")


def test_what_is_no_evaluation_is_passed_over(tmp_path):
    write_results(tmp_path, [evaluate()])
    (tmp_path / "eval" / "broken.json").write_text('{"sets": {"x"', encoding="utf-8")
    (tmp_path / "eval" / "list.json").write_text("[1]", encoding="utf-8")
    assert list(read_results(tmp_path)) == ["tiny/test"]
    assert read_results(tmp_path / "absent") == {}
