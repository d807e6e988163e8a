"""Errors that can be seen in the text, and scores of parts of a set."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU as LibraryBLEU

from recambio.evaluation import count_errors, evaluate_set
from recambio.evaluation.slices import ERRORS, length_bucket, rare_buckets

REFERENCE = "¿Sabe María que Tom compró 3,50 kilos de manzanas y 10.000 libros en Londres?"
SOURCE = "Does María know that Tom bought 3.50 kilos of apples and 10,000 books in London?"


@pytest.mark.parametrize(
    ("error", "hypothesis", "detail"),
    [
        ("copied source", SOURCE.upper(), "the source sentence"),
        ("unfinished", " ", "empty"),
        ("unfinished", "¿Sabe María que Tom?", "4 words of 16"),
        ("unfinished", REFERENCE.rstrip("?"), "no closing mark"),
        ("repeated", REFERENCE.replace("kilos", "kilos kilos Kilos"), "kilos kilos kilos"),
        ("repeated", REFERENCE.replace("y 10", "de manzanas y 10"), "de manzanas de manzanas"),
        ("hallucination", "El gobierno anunció nuevas medidas.", "no content word of a reference"),
        ("numbers lost", REFERENCE.replace("3,50", "3,05"), "350"),
        ("names lost", REFERENCE.replace("María", "ella"), "María"),
        ("punctuation pairs", REFERENCE.lstrip("¿"), "0 ¿ for 1 ?"),
        ("punctuation pairs", REFERENCE.replace("Londres", "«Londres"), "1 « for 0 »"),
    ],
)
def test_each_error_is_found_and_named(error, hypothesis, detail):
    found = count_errors([SOURCE], [hypothesis], [[REFERENCE]])[error]
    assert (found.n, found.of) == (1, 1)
    (example,) = found.examples
    assert (example.index, example.detail) == (0, detail)
    assert (example.source, example.reference, example.hypothesis) == (SOURCE, REFERENCE, hypothesis)


@pytest.mark.parametrize(
    ("error", "hypothesis"),
    [
        ("copied source", "Does María know?"),
        ("unfinished", "¿Sabe María que Tom compró 3,50 kilos...»"),
        ("repeated", "poco a poco, no no"),
        ("hallucination", "Das Tomás gobierno anunció mánzanos"),
        ("hallucination", "si"),
        ("numbers lost", REFERENCE.replace("3,50", "3.50").replace("10.000", "10 000")),
        ("names lost", "Tom y María están en 'London'"),
        ("punctuation pairs", "¿¡Qué!? «bien»"),
    ],
)
def test_what_is_no_such_error(error, hypothesis):
    assert count_errors([SOURCE], [hypothesis], [[REFERENCE]])[error].n == 0


def test_what_references_do_is_no_error():
    cases = [
        ("Tom.", ["Tom."], "Tom."),  # a copy that is right
        ("New York Times Square", ["New York Times Square"], "New York Times Square"),
        ("No, no, no!", ["¡No, no, no!"], "¡No, no, no!"),
        ("It costs 5 euros", ["Cuesta cinco euros"], "Cuesta cinco euros"),
        ("in London", ["en Londres"], "en Londres"),
        ("What?!", ["¡¿Qué?"], "¡¡¿Qué?"),  # the reference's marks are uneven too
        ("Hi", [""], ""),
    ]
    for source, references, hypothesis in cases:
        counts = count_errors([source], [hypothesis], [[r] for r in references])
        assert [name for name, count in counts.items() if count.n] == [], source


text = st.text(alphabet="aAbñÉ19 .,?!¿¡«»-'", max_size=30) | st.lists(
    st.sampled_from(["el", "gato", "Tom", "no", "3,50", "come", "¿Qué?", "casa"]), max_size=9
).map(" ".join)


@given(text, st.lists(text, min_size=1, max_size=3), st.data())
def test_no_reference_is_wrong(source, references, data):
    hypothesis = data.draw(st.sampled_from(references))
    for name, error in ERRORS.items():
        assert not error(source, hypothesis, references), name


@given(st.lists(st.tuples(text, text, text), min_size=1, max_size=8))
def test_counts_hold_together(lines):
    sources, hypotheses, references = (list(side) for side in zip(*lines, strict=True))
    counts = count_errors(sources, hypotheses, [references], n_examples=2)
    assert list(counts) == list(ERRORS)
    for name, count in counts.items():
        alone = [count_errors([s], [h], [[r]])[name] for s, h, r in zip(sources, hypotheses, references, strict=True)]
        assert (count.n, count.of) == (sum(c.n for c in alone), sum(c.of for c in alone))
        assert 0 <= count.n <= count.of <= len(lines) and len(count.examples) == min(2, count.n)
        assert all(alone[e.index].n for e in count.examples)


def test_few_real_references_are_called_wrong_beside_one_another(shared_data: Path):
    """A second, independent use: sources against right translations of other sentences, and right against right."""
    lines = [
        (shared_data / "testsets" / f"pud.{side}").read_text(encoding="utf-8").split("\n")[:-1] for side in ("en", "es")
    ]
    sources, references = lines
    right = count_errors(sources, references, [references])
    assert {name: count.n for name, count in right.items()} == dict.fromkeys(ERRORS, 0)
    shifted = count_errors(sources, references[1:] + references[:1], [references])
    assert shifted["numbers lost"].n > 0.8 * shifted["numbers lost"].of > 100
    assert shifted["names lost"].n > 0.8 * shifted["names lost"].of > 100
    assert shifted["hallucination"].n > 100
    copied = count_errors(sources, sources, [references])
    assert copied["copied source"].n == copied["copied source"].of > 0.95 * len(sources)


@given(st.lists(text, min_size=1, max_size=12))
def test_buckets_partition_the_set(sources):
    assert len(rare_buckets(sources)) == len(sources)
    assert set(rare_buckets(sources)) <= {"0", "1", "2", "3+"}
    assert set(rare_buckets([s for s in sources for _ in range(2)])) == {"0"}
    assert [length_bucket(f"{s} {s}") for s in ("a", "a b c", "a " * 30)] == ["1-4", "5-8", "25+"]


def test_scores_of_slices_are_those_of_their_sentences():
    sources = ["a b c", "a b c d e f", "a rare thing here", "a b c d e f g"]
    references = [
        "el gato come el pescado",
        "la casa es muy grande hoy",
        "una cosa muy rara hay aquí",
        "yo no sé qué hacer ahora",
    ]
    hypotheses = ["el gato come el pescado", "la casa es grande", "una cosa muy rara hay", "yo no sé qué hago ahora"]
    result = evaluate_set("s", sources, hypotheses, [references], None, ["bleu"], 0)
    table = result.slices["source words"]
    assert {b: t["n"] for b, t in table.items()} == {"1-4": 2, "5-8": 2}
    for bucket, chosen in (("1-4", (0, 2)), ("5-8", (1, 3))):
        expected = LibraryBLEU().corpus_score([hypotheses[i] for i in chosen], [[references[i] for i in chosen]]).score
        assert table[bucket]["bleu"] == pytest.approx(expected)
    assert list(result.slices["rare source words"]) == ["0", "1", "3+"]
    entry = result.as_dict()
    assert entry["slices"] == result.slices and entry["errors"]["unfinished"]["n"] == result.errors["unfinished"].n
