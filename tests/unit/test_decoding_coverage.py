"""Translations chosen by what they leave of the source without attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from test_decoding import EOS, TableScorer
from torch import Tensor

import recambio.components
import recambio.decoding  # noqa: F401
from recambio.decoding.alignment import cross_attention_weights
from recambio.decoding.scorer import ModelScorer
from recambio.decoding.scorers import Ensemble, ForcedPrefix
from recambio.decoding.searches.base import Search
from recambio.errors import InputError
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.registry import SEARCH, Node

SOURCES = [[8, 5, 6, 7, EOS], [5, 9, EOS], [6, 8, 8, EOS]]


def beam(**options: Any) -> Search:
    return SEARCH.create({"name": "beam", **options})


def scorer(cross: Node = "multi_head", seed: int = 0) -> ModelScorer:
    torch.manual_seed(seed)
    spec = ModelSpec(
        StackSpec.uniform(1, positions="rope"),
        StackSpec.uniform(2, positions="rope", cross_attention=cross),
        source_vocabulary=13,
        target_vocabulary=13,
        d_model=16,
        n_heads=2,
        d_ff=24,
    )
    model = Transformer(spec).double().eval()
    for parameter in model.parameters():  # sharp attention
        parameter.data *= 4
    return ModelScorer(model, sos_id=2, eos_id=EOS, pad_id=0)


def said(scorer: ModelScorer, source: Sequence[int], target: Sequence[int]) -> float:
    """The formula, number by number."""
    (rows,) = cross_attention_weights(scorer.model, source, [target], 2)
    return sum(math.log(max(1e-6, min(1.0, sum(float(row[i]) for row in rows)))) for i in range(len(source)))


@pytest.mark.parametrize("normalize", ["average", "gnmt"])
def test_finished_translations_are_ranked_by_the_formula(normalize: str) -> None:
    model = scorer()
    options = {"width": 5, "n_best": 5, "normalize": normalize}
    plain = beam(**options)(model, SOURCES, [9] * 3)
    covered = beam(coverage=0.3, **options)(model, SOURCES, [9] * 3)
    is_moved = []
    for source, before, after in zip(SOURCES, plain, covered, strict=True):
        wanted = {
            tuple(h.tokens): h.score + 0.3 * said(model, source, [*h.tokens, *[EOS] * h.is_finished]) for h in before
        }
        assert {tuple(h.tokens): h.score for h in after} == pytest.approx(wanted, abs=1e-5)
        assert {h.log_probability for h in after} == {h.log_probability for h in before}
        scores = [h.score for h in after]
        assert scores == sorted(scores, reverse=True)
        is_moved.append([h.tokens for h in after] != [h.tokens for h in before])
    assert any(is_moved), "coverage changes an order here"


def test_where_nothing_is_asked_for_nobody_looks() -> None:
    beam(width=3)(TableScorer(), [[0, EOS]], [5])
    with pytest.raises(
        InputError, match=r"^decoding\.search\.coverage: TableScorer doesn't tell where it looks; leave it out$"
    ):
        beam(width=3, coverage=0.1)(TableScorer(), [[0, EOS]], [5])
    with pytest.raises(InputError, match="cross-attention 'linear' doesn't compute weights"):
        beam(width=3, coverage=0.1)(Ensemble([scorer(), scorer("linear")]), SOURCES, [5] * 3)
    with pytest.raises(ValueError, match="`coverage` must not be negative, but is -1"):
        beam(coverage=-1)


def test_several_models_look_at_the_mean() -> None:
    members = [scorer(seed=seed) for seed in (1, 2)]
    both = ForcedPrefix(Ensemble(members))
    target = [7, 7, 5, EOS]
    (found,) = both.attention(SOURCES[0], [target])
    each: list[Tensor] = [m.attention(SOURCES[0], [target])[0] for m in members]
    torch.testing.assert_close(found, (each[0] + each[1]) / 2)
    plain, covered = (beam(width=4, coverage=b)(both, SOURCES, [8] * 3) for b in (0.0, 0.2))
    assert [h[0].score for h in covered] != [h[0].score for h in plain]
