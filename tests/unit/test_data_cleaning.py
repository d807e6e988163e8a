"""Cleaning: what each step does, and that every pair is accounted for."""

from __future__ import annotations

import json
import random
import tracemalloc
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recambio.data  # noqa: F401
from recambio.data.cleaning import DEFAULT_CLEANING, Cleaner, CleaningReport
from recambio.data.cleaning.duplicates import Duplicates, HashSet
from recambio.data.cleaning.normalize import Normalize
from recambio.data.pairs import BadLine, Pair, read_lines, read_moses
from recambio.errors import InputError
from recambio.registry import CLEANING, Node

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
AWKWARD = st.lists(
    st.sampled_from(
        [
            "a",
            "é",
            " ",
            "¿",
            "«",
            "\u0301",
            "\u00a0",
            "\u200b",
            "\u00ad",
            "\t",
            "\u2028",
            "\x85",
            "\ufeff",
            "e\u200b\u0301",
        ]
    ),
    max_size=8,
).map("".join)


def one(node: Node, source: str, target: str) -> Pair | str:
    step = CLEANING.create(node)
    step.begin()
    result: Pair | str = step(Pair(source, target))
    return result


@given(TEXT | AWKWARD)
def test_normalised_text_is_a_fixed_point_in_nfc_with_single_spaces(text: str) -> None:
    line = Normalize().normalize_line(text)
    assert Normalize().normalize_line(line) == line
    assert unicodedata.is_normalized("NFC", line)
    assert line == " ".join(line.split())
    assert not any(unicodedata.category(c) == "Cc" or c in "\u00ad\u200b\u200d\u2060\ufeff" for c in line)


def test_normalising_keeps_spanish_as_it_is() -> None:
    spanish = "¿Qué? ¡Ñandú! «Él dijo: 3,50 €» — 1.º, 2.ª… ‘güe’ “ó” ☀️ 😀"
    assert Normalize().normalize_line(spanish) == spanish
    assert Normalize().normalize_line("\ufeff nin\u0303o\u00a0\u202f \tco\u00adche\u200b \r") == "niño coche"
    pair = Pair("as it is", spanish, ("tag",), 3, "f")
    assert Normalize()(pair) is pair
    changed = Normalize()(Pair(" a", "b", ("tag",), 3, "f"))
    assert isinstance(changed, Pair) and (changed.source, changed.tags, changed.line, changed.file) == (
        "a",
        ("tag",),
        3,
        "f",
    )


SPANISH = st.text("aábcdeéfghiíjklmnñoópqrstuúüvwxyzAÁEÉIÍOÓUÚÜÑ¿?¡!«»—…ªº.,:;()\"'0123456789€% ", max_size=60)
SPACES = st.sampled_from(["\u00a0", "\u202f", "\t", "  ", "\u2009", " \u00ad"])


@given(SPANISH, SPANISH, SPACES, st.booleans())
def test_no_step_changes_a_letter_of_spanish(left: str, right: str, space: str, is_decomposed: bool) -> None:
    plain = " ".join(f"{left} {right}".split())
    given_text = left + space + right
    if is_decomposed:
        given_text = unicodedata.normalize("NFD", given_text)
    for nodes in (["normalize"], ["normalize", "markup"], list(DEFAULT_CLEANING)):
        cleaner = Cleaner(nodes)
        line = cleaner.normalize_line(given_text)
        assert line == plain
        assert cleaner.normalize_line(line) == line
        # A pair is dropped whole or comes out so, and once clean it stays as it is.
        for pair in cleaner.clean([Pair(given_text, f"{given_text} sí")], CleaningReport("train")):
            assert (pair.source, pair.target) == (plain, f"{plain} sí".strip())
            assert list(cleaner.clean([pair], CleaningReport("train"))) == [pair]


@pytest.mark.parametrize("words, expected", [(1, "too short"), (2, None), (4, None), (5, "too long"), (0, "too short")])
def test_length_counts_words_on_both_sides(words: int, expected: str | None) -> None:
    node = {"name": "length", "max_words": 4, "min_words": 2}
    for letters in ("a", "a" * 30):
        text = " ".join([letters] * words)
        for result in (one(node, text, "b b b"), one(node, "b b b", text)):
            assert result == expected if expected else isinstance(result, Pair)


def test_length_counts_characters_and_by_default_refuses_blank_sides() -> None:
    assert one({"name": "length", "max_chars": 3}, "abc", "abcd") == "too long"
    assert isinstance(one({"name": "length", "max_chars": 4}, "abc", "abcd"), Pair)
    assert one("length", "", "a") == "too short"
    assert one("length", " ", "a") == "too short"
    assert isinstance(one("length", " ".join("a" * 120), "a"), Pair)
    assert one("length", " ".join("a" * 121), "a") == "too long"


def test_ratio_has_floors_and_a_limit_that_still_passes() -> None:
    assert isinstance(one("ratio", "a a", "a a a a a a"), Pair)
    assert one("ratio", "a a", "a a a a a a a") == "length ratio"
    assert isinstance(one("ratio", "a", "a a a a a a"), Pair)  # one word counts as two
    assert isinstance(one("ratio", "a", "b" * 30), Pair)  # one character counts as ten
    assert one("ratio", "a", "b" * 31) == "length ratio"
    assert one("ratio", "b" * 31, "a") == "length ratio"
    assert one({"name": "ratio", "max_ratio": 1.5}, "b" * 16, "a" * 10) == "length ratio"


def test_copies_and_duplicates() -> None:
    assert one("copies", "No", "No") == "copy"
    assert isinstance(one("copies", "No", "no"), Pair)
    step = Duplicates()
    step.begin()
    results = [step(Pair(*p)) for p in [("a", "b"), ("a", "c"), ("b", "a"), ("a", "b"), ("ab", ""), ("", "ab")]]
    assert [isinstance(r, Pair) for r in results] == [True, True, True, False, True, True]
    step.begin()
    assert isinstance(step(Pair("a", "b")), Pair)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3), max_size=200))
def test_hashes_are_kept_as_a_set_keeps_them(values: list[int]) -> None:
    ours, known = HashSet(first_bits=2), set()
    for value in values:
        # 0 marks a free place, so it counts as 1.
        is_new = (value or 1) not in known
        known.add(value or 1)
        assert ours.add(value) == is_new
        assert len(ours) == len(known)


def test_duplicates_hold_no_text() -> None:
    step, draw, count = Duplicates(), random.Random(0), 300_000
    tracemalloc.start()
    kept = sum(isinstance(step(Pair(f"{draw.getrandbits(60)} " * 20, "x")), Pair) for _ in range(count))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept == count
    # 20 million pairs under 700 MB are 35 bytes a pair, the moment of growth included.
    assert 8 * count <= held < 24.5 * count and peak < 36.5 * count


@given(st.lists(st.tuples(AWKWARD, AWKWARD), max_size=30))
def test_every_pair_is_kept_or_counted(texts: Sequence[tuple[str, str]]) -> None:
    cleaner = Cleaner(["normalize", {"name": "length", "max_words": 3}, "ratio", "copies", "duplicates"])
    report = CleaningReport("train")
    kept = list(cleaner.clean((Pair(s, t, (), i + 1) for i, (s, t) in enumerate(texts)), report))
    assert report.read == len(texts) == len(kept) + sum(report.dropped.values())
    assert report.kept == len(kept) == len({(p.source, p.target) for p in kept})
    assert [p.line for p in kept] == sorted(p.line for p in kept)
    assert CleaningReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


def test_what_is_dropped_is_counted_by_reason_with_samples() -> None:
    report = CleaningReport("train")
    cleaner = Cleaner(["normalize", "copies"])
    pairs = [Pair("x", "x", (), n, "f.en") for n in range(1, 9)] + [Pair("a", "\u200b", (), 9, "f.en"), Pair("a", "b")]
    cleaner.bad_line(report, BadLine("f.en", 0, "not UTF-8"))
    assert [p.source for p in cleaner.clean(pairs, report)] == ["a"]
    assert report.dropped == {"not UTF-8": 1, "copy": 8, "empty": 1}
    assert (report.read, report.kept) == (11, 1)
    lines = [s["line"] for s in report.samples if s["reason"] == "copy"]
    assert len(set(lines)) == 5 and set(lines) <= set(range(1, 9))
    assert {"reason": "empty", "file": "f.en", "line": 9, "source": "a", "target": "\u200b"} in report.samples
    assert str(report) == "train: 1 of 11 pairs kept (8 copy, 1 empty, 1 not UTF-8)"


def drawn(count: int, split: str = "train", reason: str = "r") -> list[int]:
    """The lines that a report shows of this many dropped for one reason, other reasons in between."""
    report = CleaningReport(split)
    for line in range(count):
        report.drop(reason, "f", line)
        report.drop("other", "f", line)
    return [s["line"] for s in report.samples if s["reason"] == reason]


def test_samples_are_drawn_from_the_whole_corpus_the_same_each_time() -> None:
    assert drawn(3) == [0, 1, 2] and drawn(5) == [0, 1, 2, 3, 4]
    assert drawn(1_000) == drawn(1_000)
    assert len({tuple(drawn(1_000)), tuple(drawn(1_000, "other")), tuple(drawn(1_000, reason="s"))}) == 3
    # Each of 40 lines is drawn by an eighth of 4,000 reports: 500 times, standard deviation 21.
    hits = Counter(line for number in range(4_000) for line in drawn(40, reason=f"r{number}"))
    assert sum(hits.values()) == 20_000 and len(hits) == 40
    assert all(abs(count - 500) < 5 * 21 for count in hits.values())


def test_a_line_break_inside_a_sentence_never_reaches_the_files() -> None:
    report = CleaningReport("train")
    assert not list(Cleaner([]).clean([Pair("a\nb", "c")], report))
    assert report.dropped == {"newline": 1}


def test_a_line_to_be_translated_is_normalised_and_never_dropped() -> None:
    cleaner = Cleaner()
    assert cleaner.normalize_line(" nin\u0303o\u00a0 x") == "niño x"
    assert cleaner.normalize_line("") == ""
    assert cleaner.normalize_line("a " * 500) == ("a " * 500).strip()
    assert Cleaner(["copies"]).normalize_line(" a ") == " a "


def test_all_problems_of_a_pipeline_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        Cleaner(["normalise", {"name": "length", "max_word": 3}, {"name": "ratio", "max_ratio": "3"}])
    assert [p.split(":")[0] for p in caught.value.problems] == [
        "data.cleaning[0]",
        "data.cleaning[1].max_word",
        "data.cleaning[2].max_ratio",
    ]
    assert "Did you mean 'normalize'?" in caught.value.problems[0]
    for node in ({"name": "length", "min_words": 9, "max_words": 3}, {"name": "ratio", "max_ratio": 0.5}):
        with pytest.raises(InputError, match=r"data\.cleaning"):
            Cleaner([node])


def test_the_key_of_a_pipeline_follows_steps_options_and_order() -> None:
    pipelines: list[list[Node]] = [
        ["normalize", "length"],
        ["length", "normalize"],
        ["normalize"],
        ["normalize", {"name": "length", "max_words": 100}],
    ]
    keys = {json.dumps(Cleaner(nodes).key) for nodes in pipelines}
    assert len(keys) == 4
    assert Cleaner(["normalize", {"name": "length", "max_words": 120}]).key == Cleaner(["normalize", "length"]).key


def test_clean_real_text_passes_untouched(shared_data: Path) -> None:
    folder = shared_data / "tatoeba"
    report = CleaningReport("train")
    pairs = list(read_moses(folder / "train.en.xz", folder / "train.es.xz", strict=True))
    kept = list(Cleaner().clean(pairs, report))
    # A proverb in Spanish stands on both sides.
    foreign = [pair for pair in pairs if pair.source == "Mi casa, su casa."]
    assert kept == [pair for pair in pairs if pair not in foreign]
    assert (report.read, report.kept, report.dropped) == (157_031, 157_030, {"language": 1})
    normalize = Cleaner().normalize_line
    for language in ("en", "es"):
        for line in read_lines(folder / f"test.{language}"):
            assert normalize(line) == line
