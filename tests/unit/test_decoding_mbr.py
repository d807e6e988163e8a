"""Utilities against sacreBLEU's, pair by pair, and the choice against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoding import TableScorer

from recambio.decoding.utility import pairwise_utility
from recambio.errors import InputError
from recambio.registry import SEARCH

SENTENCES = [
    "El gato negro come pescado.",
    "El gato negro come pescado",
    "¿Come pescado el gato negro?",
    "El el el el gato, gato; gato... 3,50 €",
    "Ella lee.",
    "a",
    "",
    "  ",
    "Una frase mucho más larga que las demás, con ñ, ¡signos! y «comillas», que no se parece a ninguna.",
]
PIECES = ["el ", "gato", " come", "s", " ", ".", ",", "¿", "ñ", "3", "aa"]


def one_by_one(utility: str, hypotheses: list[str], references: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    score = sacrebleu.sentence_chrf if utility == "chrf" else sacrebleu.sentence_bleu
    return np.array([[score(h, [r]).score for r in references] for h in hypotheses])


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
def test_the_utility_of_every_pair_is_sacrebleus(utility: str) -> None:
    ours = pairwise_utility(utility, SENTENCES, SENTENCES[::-1])  # type: ignore[arg-type]
    np.testing.assert_allclose(ours, one_by_one(utility, SENTENCES, SENTENCES[::-1]), rtol=1e-12, atol=1e-12)


@settings(max_examples=50)
@given(
    st.sampled_from(["chrf", "bleu"]),
    st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), min_size=1, max_size=5),
    st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), min_size=1, max_size=5),
)
def test_and_of_any_texts(utility: str, hypotheses: list[str], references: list[str]) -> None:
    ours = pairwise_utility(utility, hypotheses, references)  # type: ignore[arg-type]
    np.testing.assert_allclose(ours, one_by_one(utility, hypotheses, references), rtol=1e-12, atol=1e-12)


def spelled(rows: list[list[int]]) -> list[str]:
    """Two of the three words of the table scorers are spelled alike, so that different ids can be one text."""
    return ["".join({4: "aba ", 5: "abc ", 6: "abc "}[t] for t in row) for row in rows]


@pytest.mark.parametrize("utility", ["chrf", "bleu"])
@pytest.mark.parametrize("weights", ["equal", "probability"])
def test_it_takes_what_is_most_like_all(utility: str, weights: str) -> None:
    drawn = {"name": "sample", "n": 12}
    node = {"name": "mbr", "candidates": drawn, "utility": utility, "weights": weights, "n_best": 3}
    for seed in range(4):
        scorer = TableScorer(seed, 0.5)
        (found,) = SEARCH.create(node, detokenize=spelled)(scorer, [[0]], [5])
        (samples,) = SEARCH.create(drawn)(scorer, [[0]], [5])
        texts = spelled([h.tokens for h in samples])
        expected: dict[str, float] = {}
        shares = [1.0 if weights == "equal" else math.exp(h.log_probability) for h in samples]
        for text in texts:
            values = one_by_one(utility, [text], texts)[0]
            expected[text] = sum(w * u for w, u in zip(shares, values, strict=True)) / sum(shares)
        best = sorted(expected.values(), reverse=True)[:3]
        assert [h.score for h in found] == pytest.approx(best)
        for h, text in zip(found, spelled([h.tokens for h in found]), strict=True):
            assert h.score == pytest.approx(expected[text])
        assert len({*spelled([h.tokens for h in found])}) == len(found), "no text twice"


def test_references_of_their_own() -> None:
    """A beam chooses its own best under samples that never contain it."""
    beam, drawn = {"name": "beam", "width": 3, "n_best": 3}, {"name": "sample", "n": 6, "seed": 3}
    node = {"name": "mbr", "candidates": beam, "references": drawn}
    scorer = TableScorer(1, 0.5)
    search = SEARCH.create(node, detokenize=spelled)
    assert search.width == 6
    (found,) = search(scorer, [[0]], [5])
    ours = spelled([h.tokens for h in SEARCH.create(beam)(scorer, [[0]], [5])[0]])
    theirs = spelled([h.tokens for h in SEARCH.create(drawn)(scorer, [[0]], [5])[0]])
    assert found[0].score == pytest.approx(one_by_one("chrf", ours, theirs).mean(1).max())


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(InputError, match=r"candidates: unknown search 'bean'\. Did you mean 'beam'\?"):
        SEARCH.create({"name": "mbr", "candidates": "bean"}, detokenize=spelled)
    with pytest.raises(ValueError, match="`n_best` must be at least 1"):
        SEARCH.create({"name": "mbr", "n_best": 0}, detokenize=spelled)
    (problem,) = SEARCH.problems({"name": "mbr", "detokenize": 1})
    assert "comes from the model and can't be an option" in problem
