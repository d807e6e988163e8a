"""Diverse beam search against the paper's algorithm in plain loops, and against beam search."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoding import EOS, SOS, TableScorer, V
from torch import Tensor

from recambio.registry import SEARCH


def diverse(**options):  # type: ignore[no-untyped-def]
    return SEARCH.create({"name": "diverse_beam", **options})


@settings(max_examples=30)
@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(1, 7),
    st.sampled_from(["width", "exact"]),
    st.sampled_from(["average", "gnmt"]),
)
def test_one_group_is_beam(seed: int, width: int, limit: int, stop: str, normalize: str) -> None:
    scorer, sources = TableScorer(seed, 0.8), [[0], [1], [2]]
    limits = [limit, limit + 1, 2]
    options = {"width": width, "stop": stop, "normalize": normalize, "n_best": width}
    beam = SEARCH.create({"name": "beam", **options})(scorer, sources, limits)
    assert diverse(groups=1, strength=3.0, **options)(scorer, sources, limits) == beam


def by_loops(
    scorer: TableScorer, source: int, limit: int, groups: int, k: int, strength: float
) -> set[tuple[int, ...]]:
    """All that finishes, or is cut at the limit where a group has finished nothing."""
    beams: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(groups)]
    finished: list[list[tuple[int, ...]]] = [[] for _ in range(groups)]
    for t in range(1, limit + 1):
        chosen: list[int] = []
        for g in range(groups):
            options = []
            for total, tokens in beams[g]:
                row = scorer.row(source, (SOS, *tokens))
                for v in range(V):
                    if math.isfinite(row[v]):
                        value = total + float(row[v])
                        options.append((value - strength * chosen.count(v), value, (*tokens, v)))
            options = sorted(options, reverse=True)[: 2 * k]
            finished[g] += [y for _, _, y in options[:k] if y[-1] == EOS]
            going = [(value, y) for _, value, y in options if y[-1] != EOS]
            if t == limit and not finished[g] and going:
                finished[g].append(going[0][1])
            beams[g] = [] if len(finished[g]) >= k else going[:k]
            chosen += [y[-1] for _, y in beams[g]]
    return {y for group in finished for y in group}


@pytest.mark.parametrize(("groups", "k", "strength"), [(2, 1, 0.7), (3, 2, 0.7), (4, 1, 5.0), (2, 3, 0.1)])
def test_the_algorithm_in_loops_finds_the_same(groups: int, k: int, strength: float) -> None:
    for seed in range(5):
        scorer, limit = TableScorer(seed, 0.8), 4
        search = diverse(width=groups * k, groups=groups, strength=strength, n_best=groups * k, length_penalty=0.0)
        for source, found in enumerate(search(scorer, [[0], [1]], [limit] * 2)):
            ours = {(*h.tokens, EOS) if h.is_finished else tuple(h.tokens) for h in found}
            finished = {y for y in by_loops(scorer, source, limit, groups, k, strength) if y[-1] == EOS}
            assert {y for y in ours if y[-1] == EOS} <= finished
            assert len(found) == groups * k or finished <= ours


class Long(TableScorer):
    """Ends nothing before three words."""

    def row(self, source: int, past: tuple[int, ...]) -> Tensor:
        row = super().row(source, past)
        if len(past) <= 3:
            row[EOS] = -math.inf
        return row


def test_groups_begin_differently_where_repeating_costs_enough() -> None:
    words = V - 4
    for seed in range(5):
        (found,) = diverse(width=words, groups=words, strength=100.0, n_best=words)(Long(seed, 0.5), [[0]], [8])
        assert {h.tokens[0] for h in found} == set(range(4, V)), "a word each"


def test_without_a_cost_all_groups_are_the_same_beam() -> None:
    scorer, sources, limits = TableScorer(4, 0.8), [[0], [1]], [5, 7]
    beam = SEARCH.create({"name": "beam", "width": 2, "n_best": 2})(scorer, sources, limits)
    assert [f[:2] for f in diverse(width=6, groups=3, strength=0.0, n_best=2)(scorer, sources, limits)] == beam


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": 4, "groups": 3}, r"`width` must be divisible by `groups` \(3\), but is 4"),
        ({"strength": -1.0}, "`strength` must not be negative"),
        ({"n_best": 5}, "`n_best` must be between 1 and `width`"),
        ({"width": 0}, "`width` must be at least 1"),
        ({"length_penalty": -1.0}, "`length_penalty` must not be negative"),
    ],
)
def test_impossible_options_are_refused(options: dict, text: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=text):
        diverse(**options)
