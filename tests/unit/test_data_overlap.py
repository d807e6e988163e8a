"""Sentences of evaluation sets in training data: each form of a leak is found, removed and reported, and nothing else is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recambio import config as configs
from recambio.data.cleaning import Cleaner, CleaningReport
from recambio.data.overlap import Finder, HeldOutSet, Overlap
from recambio.data.pairs import Pair
from recambio.data.prepare import prepare
from recambio.errors import InputError
from recambio.experiment.overlap import build_overlap, has_found, overlap_lines
from recambio.experiment.prepare import prepared
from recambio.experiment.prepare import run as print_prepared
from recambio.experiment.report import read_run, render
from recambio.registry import CORPUS

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
COUNTED = "Cuentan hasta trece, luego hasta catorce, y así siguen sin parar."
TEST = [
    ("The old cat drinks milk.", "El gato viejo bebe leche."),
    ("It's raining — isn't it?", "Está lloviendo, ¿no?"),
    ("Thank you.", "Gracias."),
    (f"They count {LONG}.", "Cuentan hasta catorce."),
]
NEWS = [("A second set's sentence.", "Una frase del segundo conjunto.")]


def held_out(name: str, rows: Sequence[tuple[str, str]]) -> HeldOutSet:
    return HeldOutSet(name, name, lambda: [(source, (target,)) for source, target in rows])


def found(pairs: Sequence[tuple[str, str]], *sets: HeldOutSet, **options: Any) -> tuple[list[Pair], CleaningReport]:
    overlap = Overlap(sets or (held_out("test", TEST),), **options)
    report = CleaningReport("train", read=len(pairs), kept=len(pairs))
    finder = Finder(overlap, Cleaner().normalize_line)
    kept = list(finder.without((Pair(s, t, (), i + 1) for i, (s, t) in enumerate(pairs)), report))
    assert report.read == report.kept + sum(report.dropped.values()) == len(kept) + sum(report.dropped.values())
    return kept, report


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("The old cat drinks milk.", "El gato viejo bebe leche.", "exact"),
        ("The old cat drinks milk.", "Otra cosa.", "exact"),
        ("Something else.", "El gato viejo bebe leche.", "exact"),
        ("the OLD cat — drinks milk!", "Otra cosa.", "normalised"),
        ("Something else.", "¡el gato viejo   bebe «leche»", "normalised"),
        ("It ' s raining - is n't it ?", "Otra cosa.", "normalised"),
        ("Something else.", "Esta\u0301 lloviendo ¿ no ?", "normalised"),
        ("It’s raining... isn’t it?", "Otra cosa.", "normalised"),
        (f"We see {LONG}", "Otra cosa.", "ngrams"),
        (f"{LONG.upper().replace(' ', ', ')}!", "Otra cosa.", "ngrams"),
        (LONG.replace("fourteen", "more"), "Otra cosa.", "ngrams"),
    ],
)
def test_a_leak_in_each_form_is_found(source: str, target: str, kind: str) -> None:
    clean = ("The old cat drinks water.", "El gato viejo bebe agua.")
    kept, report = found([clean, (source, target), clean], ngrams="remove")
    assert [p.source for p in kept] == [clean[0]] * 2
    assert report.overlap is not None
    counts = report.overlap["sets"]["test"]
    assert counts == {"size": 4, "exact": 0, "normalised": 0, "ngrams": 0, kind: 1}
    reason = "n-grams of test" if kind == "ngrams" else "overlap with test"
    assert report.dropped == {reason: 1}
    assert [(s["reason"], s["line"], s["source"]) for s in report.samples] == [(reason, 2, source)]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        # The sides don't cross, words count in order and whole, accents are letters.
        ("El gato viejo bebe leche.", "The old cat drinks milk."),
        ("The cat old drinks milk.", "Esta lloviendo, ¿no?"),
        ("The old cat drinks milk. Yes.", "Sí: el gato viejo bebe leche."),
        ("Thank you.", "Gracias."),
        (LONG.replace("seven", "7"), "Cuenta."),
        ("...", "¡!"),
    ],
)
def test_what_is_no_leak_stays(source: str, target: str) -> None:
    kept, report = found([(source, target)], ngrams="remove")
    assert kept and not report.dropped
    assert report.overlap is not None and report.overlap["pairs"] == {"sentences": 0, "ngrams": 0}


def test_short_sentences_count_from_min_words_on() -> None:
    pairs = [("Thank you!", "Se lo agradezco."), ("Thanks a lot.", "Gracias."), ("It's raining, isn't it", "x")]
    assert [len(found(pairs, min_words=n)[0]) for n in (1, 2, 3, 6, 7)] == [0, 1, 2, 2, 3]


def test_ngrams_are_listed_and_stay_by_default() -> None:
    pairs = [(f"{number} {LONG}", f"Frase {number}") for number in range(30)]
    kept, report = found(pairs)
    assert len(kept) == 30 and not report.dropped and not report.samples
    assert report.overlap is not None
    assert report.overlap["sets"]["test"]["ngrams"] == 30 and report.overlap["pairs"] == {"sentences": 0, "ngrams": 30}
    listed = report.overlap["samples"]
    assert len({s["line"] for s in listed}) == 5 and {s["reason"] for s in listed} == {"n-grams of test"}
    assert [len(found([(LONG.rpartition(" ")[0], "x")], ngrams="remove", ngram_words=n)[0]) for n in (13, 14)] == [0, 1]


def test_actions() -> None:
    pairs = [TEST[0], (LONG, "x")]
    kept, report = found(pairs, sentences="report", ngrams="keep")
    assert len(kept) == 2 and report.overlap is not None and report.overlap["pairs"] == {"sentences": 1, "ngrams": 0}
    assert [s["line"] for s in report.overlap["samples"]] == [1]
    kept, report = found(pairs, sentences="keep", ngrams="remove")
    assert [p.source for p in kept] == [TEST[0][0]] and report.dropped == {"n-grams of test": 1}
    lines = overlap_lines(report.overlap or {})
    assert lines == ["training pairs that stood in test: 1 with 13 words of it in a row, removed"]


def test_a_pair_in_two_sets_counts_in_each_and_once() -> None:
    sets = held_out("test", TEST), held_out("news", [*NEWS, TEST[0]])
    _, report = found([TEST[0], NEWS[0], ("Hello there.", "Hola.")], *sets)
    assert report.dropped == {"overlap with test": 1, "overlap with news": 1} and report.kept == 1
    assert report.overlap is not None
    assert {name: counts["exact"] for name, counts in report.overlap["sets"].items()} == {"test": 1, "news": 2}
    assert report.overlap["pairs"] == {"sentences": 2, "ngrams": 0} and has_found(report.overlap)
    assert overlap_lines(report.overlap)[1] == (
        "training pairs that stood in news: 2 removed (2 exact, 0 but for case, punctuation and white space); "
        "0 more with 13 words of it in a row"
    )
    assert CleaningReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_every_reference_is_kept_out() -> None:
    two = HeldOutSet("two", "", lambda: [("A source sentence.", ("Una referencia.", "Otra referencia más."))])
    kept, _ = found([("x", "Otra referencia más"), ("x", "Una referencia")], two, min_words=2)
    assert not kept


@given(
    st.lists(st.tuples(st.text("aA b.é", max_size=8), st.text("aA b.é", max_size=8)), max_size=20), st.integers(0, 5)
)
def test_as_a_naive_search_finds_it(pairs: list[tuple[str, str]], cut: int) -> None:
    normalize = Cleaner().normalize_line
    test, train = pairs[:cut], [(normalize(s), normalize(t)) for s, t in pairs[cut:]]
    kept, _ = found(train, held_out("test", test), min_words=2, ngrams="keep")

    def plain(text: str) -> str:
        return "".join(c for c in normalize(text).lower() if c.isalpha())

    def words(text: str) -> int:
        return len("".join(c if c.isalpha() else " " for c in normalize(text)).split())

    known = [{plain(row[side]) for row in test if words(row[side]) >= 2} for side in (0, 1)]
    expected = [row for row in train if not any(plain(row[side]) in known[side] for side in (0, 1))]
    assert [(p.source, p.target) for p in kept] == expected


# In the preparation ---------------------------------------------------------------------------------------------------


def write(folder: Path, name: str, pairs: Sequence[tuple[str, str]]) -> None:
    for side, language in enumerate(("en", "es")):
        (folder / f"{name}.{language}").write_text("".join(f"{p[side]}\n" for p in pairs), encoding="utf-8")


def filler(count: int) -> list[tuple[str, str]]:
    return [(f"The number {n} is a number.", f"El número {n} es un número.") for n in range(count)]


@pytest.fixture
def corpus_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of 100 pairs with leaks of its own test set and of a set of the config."""
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path / "cache"))
    leaks = [
        TEST[0],
        (TEST[1][0].upper(), "Otra cosa, sin duda."),
        (LONG, COUNTED),
        NEWS[0],
        ("Dev, it is.", "Otra cosa."),
    ]
    write(tmp_path, "train", [*filler(95), *leaks])
    write(tmp_path, "dev", [("Dev it is!", "Es dev, ya.")])
    write(tmp_path, "test", TEST)
    write(tmp_path, "news", NEWS)
    return tmp_path


def config(folder: Path, *overrides: str, **more: Any) -> configs.Config:
    values = {
        "name": "mine",
        "data": {
            "root": str(folder),
            "corpus": {"name": "moses", "train": "train", "dev": "dev", "test": "test"},
            "tokenizer": {"name": "bpe", "vocabulary_size": 340},
        },
        "training": {"max_steps": 1},
        **more,
    }
    return configs.from_dict(values, overrides, check_hardware=False)


SETS = {"evaluation": {"sets": {"news": {"source": "news.en", "reference": "news.es"}}}}


def test_the_corpus_own_sets_and_those_of_the_config_are_kept_out(corpus_folder: Path) -> None:
    report = prepared(config(corpus_folder, **SETS), is_quiet=True).reports["train"]
    assert report.dropped == {"overlap with test": 2, "overlap with dev": 1, "overlap with news": 1}
    assert report.kept == 96
    assert report.overlap is not None
    sets = {n: (s["exact"], s["normalised"], s["ngrams"]) for n, s in report.overlap["sets"].items()}
    assert sets == {"dev": (0, 1, 0), "test": (1, 1, 1), "news": (1, 0, 0)}
    alone = prepared(config(corpus_folder), is_quiet=True).reports["train"]
    assert alone.kept == 97 and alone.overlap is not None and set(alone.overlap["sets"]) == {"dev", "test"}


def test_what_is_removed_is_in_no_store_and_no_vocabulary(corpus_folder: Path) -> None:
    result = prepared(config(corpus_folder, **SETS), is_quiet=True)
    train = result.stores["train"]
    texts = result.tokenizer.decode([train.source(i).tolist() for i in range(len(train))], "source")
    # Places are those of the corpus as read.
    assert train.places.tolist() == [*range(95), 97]
    assert texts == [p[0] for p in filler(95)] + [LONG]
    pieces = {
        text for path in (corpus_folder / "cache").glob("clean/*/source.txt") for text in path.read_text().split("\n")
    }
    assert TEST[0][0] not in pieces and LONG in pieces


def test_options_and_sets_make_other_stores(corpus_folder: Path) -> None:
    def store(*overrides: str, **more: Any) -> Path:
        return prepared(config(corpus_folder, *overrides, **more), ["train"], is_quiet=True).stores["train"].folder

    first = store()
    variants = [
        store("data.overlap.sentences=report"),
        store("data.overlap.sentences=keep", "data.overlap.ngrams=keep"),
        store("data.overlap.ngrams=remove"),
        store("data.overlap.min_words=1"),
        store("data.overlap.ngram_words=12"),
        store(**SETS),
    ]
    assert len({first, *variants}) == 7
    assert store() == first
    write(corpus_folder, "test", [*TEST, ("The number 7 is a number.", "Cambió.")])
    assert store() not in (first, *variants)


def test_a_second_run_reads_no_set(corpus_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(config(corpus_folder, **SETS), is_quiet=True)
    monkeypatch.setattr("recambio.data.overlap.Finder.__init__", lambda *_: pytest.fail("the sets were read again"))
    second = prepared(config(corpus_folder, **SETS), is_quiet=True)
    assert (second.hashes, second.reports) == (first.hashes, first.reports)


def test_keep_looks_for_nothing(corpus_folder: Path) -> None:
    (corpus_folder / "news.en").unlink()
    kept = config(corpus_folder, "data.overlap.sentences=keep", "data.overlap.ngrams=keep", **SETS)
    report = prepared(kept, is_quiet=True).reports["train"]
    assert report.overlap is None and report.kept == 100
    alone = config(corpus_folder, data={"root": str(corpus_folder), "corpus": {"name": "moses", "train": "train"}})
    assert build_overlap(alone, CORPUS.create(alone.values.data.corpus, root=corpus_folder)) is None


def test_a_name_twice_stands_for_two_sets(corpus_folder: Path) -> None:
    sets = {"evaluation": {"sets": {"test": {"source": "news.en", "reference": "news.es"}}}}
    report = prepared(config(corpus_folder, **sets), is_quiet=True).reports["train"]
    assert report.overlap is not None
    assert list(report.overlap["sets"]) == ["dev", "test", "evaluation.sets.test"]
    assert report.overlap["sets"]["evaluation.sets.test"]["exact"] == 1


def test_a_missing_set_is_named_before_training(corpus_folder: Path) -> None:
    sets = {"evaluation": {"sets": {"a": {"source": "no.en", "reference": ["news.es", "no.es"]}}}}
    with pytest.raises(InputError) as caught:
        prepared(config(corpus_folder, **sets), is_quiet=True)
    assert caught.value.problems == [
        f"evaluation.sets.a: no file {corpus_folder / name}; its sentences must be kept out of training"
        for name in ("no.en", "no.es")
    ]


def test_wrong_options_are_refused(corpus_folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        config(corpus_folder, "data.overlap.sentences=delete", "data.overlap.min_words=0", "data.overlap.ngram_words=1")
    texts = "\n".join(caught.value.problems)
    assert "data.overlap.sentences: must be one of 'remove' | 'report' | 'keep', but is 'delete'" in texts
    assert "data.overlap.min_words: must be at least 1, but is 0" in texts
    assert "data.overlap.ngram_words: must be at least 2, but is 1" in texts
    with pytest.raises(
        InputError, match=r"data\.overlap: must be a mapping of sentences, ngrams, min_words, ngram_words"
    ):
        config(corpus_folder, "data.overlap=keep")


def test_data_prepare_prints_it(corpus_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_prepared(config(corpus_folder, **SETS))
    out = capsys.readouterr().out
    assert "train: 96 of 100 pairs kept (1 overlap with dev, 1 overlap with news, 2 overlap with test)" in out
    assert (
        "training pairs that stood in test: 2 removed (1 exact, 1 but for case, punctuation and white space); "
        "1 more with 13 words of it in a row, kept" in out
    )
    assert f"train.en:98: {LONG} | {COUNTED}" in out
    print_prepared(config(corpus_folder, "data.overlap.sentences=keep", "data.overlap.ngrams=keep"))
    assert "evaluation sets: not looked for in the training pairs; see data.overlap" in capsys.readouterr().out


def test_data_prepare_prints_samples_from_the_whole_corpus(
    corpus_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(corpus_folder, "train", [*filler(95), *filler(1) * 30])
    print_prepared(config(corpus_folder))
    out = capsys.readouterr().out
    head, _, rest = out.partition("  duplicate, 5 of 30 at random:\n")
    assert "95 of 125 pairs kept (30 duplicate)" in head
    lines = [int(re.search(r"train\.en:(\d+): The number 0 is", line)[1]) for line in rest.splitlines()[:5]]  # type: ignore[index]
    assert lines == sorted(set(lines)) and lines[0] > 95 and lines != [96, 97, 98, 99, 100]
    assert "train.en" not in rest.splitlines()[5]


def test_the_report_of_a_run_says_it(tmp_path: Path) -> None:
    _, report = found([TEST[0], ("Hello there.", "Hola.")])
    (tmp_path / "manifest.json").write_text(json.dumps({"data": {"train": report.to_dict()}}), encoding="utf-8")
    page = render(read_run(tmp_path))
    assert "Training pairs that stood in evaluation sets" in page
    assert "1 removed (1 exact, 0 but for case, punctuation and white space)" in page


def test_the_embedded_corpus_trains_on_what_it_always_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path))
    corpus = {"name": "embedded", "train_size": 5_000, "dev_size": 200, "test_size": 500}
    node = {"name": "unigram", "vocabulary_size": 600}
    values = {"data": {"corpus": corpus, "tokenizer": node}, "training": {"max_steps": 1}}
    # Whatever its length, no sentence of a set stands in it, on either side.
    loaded = configs.from_dict(values, ["data.overlap.min_words=1"], check_hardware=False)
    now = prepared(loaded, ["train"], is_quiet=True)
    overlap = now.reports["train"].overlap
    assert overlap is not None and list(overlap["sets"]) == ["dev", "test", "recombination", "length"]
    assert overlap["pairs"] == {"sentences": 0, "ngrams": 0}
    five = ["normalize", "length", "ratio", "copies", "duplicates"]
    before = prepare(CORPUS.create(corpus), cleaning=five, tokenizer=node, max_length=128, splits=["train"])
    assert now.hashes == before.hashes
    assert now.reports["train"].dropped == before.reports["train"].dropped


def test_no_sentence_of_a_shared_test_set_is_in_the_shared_training_text(shared_data: Path, tmp_path: Path) -> None:
    names = ("newstest2013", "flores200-devtest", "ntrex128", "pud")
    sets = {n: {"source": f"testsets/{n}.en", "reference": f"testsets/{n}.es"} for n in names}
    corpus = {"name": "moses", "train": "europarl-sample/train", "dev": "tatoeba/dev", "test": "tatoeba/test"}
    values = {"data": {"root": str(shared_data), "corpus": corpus}, "evaluation": {"sets": sets}}
    loaded = configs.from_dict({**values, "training": {"max_steps": 1}}, check_hardware=False)
    overlap = build_overlap(loaded, CORPUS.create(corpus, root=shared_data))
    assert overlap is not None
    # The makers of the data have removed them all; a planted one shows that the search sees.
    cleaner, report = Cleaner(["normalize"]), CleaningReport("train")
    pairs = CORPUS.create(corpus, root=shared_data).read("train")
    planted = Pair("x", (shared_data / "testsets/pud.es").read_text(encoding="utf-8").split("\n")[7].upper())

    def all_pairs() -> Any:
        yield from pairs
        yield planted

    clean = cleaner.clean(all_pairs(), report)
    for _ in Finder(overlap, cleaner.normalize_line).without(clean, report):
        pass
    assert report.dropped == {"overlap with pud": 1}
    assert report.overlap is not None and report.overlap["sets"]["newstest2013"]["size"] == 3_000


def test_a_corpus_that_is_its_own_test_set_is_named(corpus_folder: Path) -> None:
    write(corpus_folder, "dev", filler(95))
    write(corpus_folder, "train", filler(95))
    with pytest.raises(InputError, match=r"leaves none of 95 training pairs \(95 overlap with dev\).*data\.overlap"):
        prepared(config(corpus_folder), is_quiet=True)
