"""Samples against the distribution that they are drawn from, which a table scorer knows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_decoding import EOS, PAD, SOS, UNK, TableScorer, V, every_translation
from torch import Tensor

from recambio.decoding.searches.base import Hypothesis
from recambio.decoding.searches.sample import Sample
from recambio.registry import SEARCH


def sample(scorer: TableScorer, sources: Sequence[Sequence[int]], limit: int, **options) -> list[list[Hypothesis]]:  # type: ignore[no-untyped-def]
    found: list[list[Hypothesis]] = SEARCH.create({"name": "sample", **options})(
        scorer, sources, [limit] * len(sources)
    )
    return found


class Memory(TableScorer):
    """Remembers its rows: a table is asked for the same ones thousands of times."""

    def __init__(self, seed: int, sharpness: float = 1.5) -> None:
        super().__init__(seed, sharpness)
        self.known: dict[tuple[int, tuple[int, ...]], Tensor] = {}

    def row(self, source: int, past: tuple[int, ...]) -> Tensor:
        if (source, past) not in self.known:
            self.known[source, past] = super().row(source, past)
        return self.known[source, past]


def test_translations_come_as_often_as_they_are_probable() -> None:
    scorer, n, longest = Memory(2), 4000, 3
    for source, found in enumerate(sample(scorer, [[0], [1]], longest, n=n)):
        counts = Counter(tuple(h.tokens) for h in found if h.is_finished)
        for tokens, log_probability in every_translation(scorer, source, longest):
            p = math.exp(log_probability)
            assert abs(counts[tuple(tokens)] / n - p) < 4 * math.sqrt(p * (1 - p) / n) + 1e-3, tokens


def kept(log_p: Tensor, temperature: float, top_k: int, top_p: float, min_p: float) -> dict[int, float]:
    """The distribution over next tokens after all limits, by sorting and counting."""
    p = {v: math.exp(float(log_p[v]) / temperature) for v in range(V) if v not in (PAD, UNK, SOS)}
    if top_k:
        p = dict(sorted(p.items(), key=lambda item: -item[1])[:top_k])
    nucleus: dict[int, float] = {}
    for v, value in sorted(p.items(), key=lambda item: -item[1]):
        if sum(nucleus.values()) < top_p * sum(p.values()):
            nucleus[v] = value
    best = max(nucleus.values())
    left = {v: value for v, value in nucleus.items() if value >= min_p * best}
    return {v: value / sum(left.values()) for v, value in left.items()}


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 2},
        {"top_p": 0.7},
        {"min_p": 0.3},
        {"temperature": 1.5, "top_k": 3, "top_p": 0.9, "min_p": 0.2},
    ],
    ids=str,
)
def test_temperature_and_limits(options: dict) -> None:  # type: ignore[type-arg]
    n = 3000
    for seed in range(3):
        scorer = Memory(seed, 1.0)
        (found,) = sample(scorer, [[0]], 1, n=n, **options)
        counts = Counter(EOS if h.is_finished else h.tokens[0] for h in found)
        filled = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **options}
        wanted = kept(scorer.row(0, (SOS,)), **filled)
        assert set(counts) <= set(wanted), "a token that a limit leaves out was drawn"
        for v, p in wanted.items():
            assert abs(counts[v] / n - p) < 4 * math.sqrt(p * (1 - p) / n) + 1e-3


@pytest.mark.parametrize("sharpness", [0.1, 5.0])
def test_a_nucleus_may_hold_most_of_a_large_vocabulary(sharpness: float) -> None:
    g = torch.Generator().manual_seed(0)
    log_p = torch.log_softmax(torch.randn(1, 1000, generator=g) * sharpness, -1)
    numbers = torch.linspace(0, 1 - 1e-9, 40_001, dtype=torch.float64)
    drawn = Sample(top_p=0.8)._draw(log_p.expand(len(numbers), -1), numbers)
    p, nucleus, total = log_p[0].double().exp().tolist(), set(), 0.0
    for v in sorted(range(1000), key=lambda v: -p[v]):
        if total < 0.8:
            nucleus.add(v)
            total += p[v]
    assert (len(nucleus) > 256) == (sharpness == 0.1)
    assert set(drawn.tolist()) <= nucleus
    assert {v for v in nucleus if p[v] > 1e-4} <= set(drawn.tolist())


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_most_probable_token_alone_is_greedy(seed: int, limit: int) -> None:
    scorer, sources = TableScorer(seed), [[i] for i in range(4)]
    greedy = SEARCH.create("greedy")(scorer, sources, [limit] * 4)
    for source, (found,) in zip(range(4), greedy, strict=True):
        said = [*found.tokens, *[EOS] * found.is_finished]
        for t in range(len(said)):  # what is nearly as probable is drawn at any temperature
            first, second = scorer.row(source, (SOS, *said[:t])).topk(2).values.tolist()
            assume(first - second > 5e-3)
    for options in ({"top_k": 1}, {"min_p": 1.0}, {"top_p": 1e-9}, {"temperature": 1e-4}):
        for a, b in zip(sample(scorer, sources, limit, **options), greedy, strict=True):
            assert a[0].tokens == b[0].tokens and a[0].is_finished == b[0].is_finished


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(3, 9))
def test_a_sample_is_fixed_by_seed_source_and_number(seed: int, fewer: int, limit: int) -> None:
    """More samples begin with the same; longer limits only let them go on; another seed gives others."""
    scorer = TableScorer(seed, 0.5)

    def drawn(n: int, limit: int, seed: int = 1) -> Counter[tuple[int, ...]]:
        return Counter(tuple(h.tokens) for h in sample(scorer, [[0], [1]], limit, n=n, seed=seed)[1])

    assert drawn(fewer, limit) <= drawn(fewer + 3, limit)
    assert Counter(t[:2] for t in drawn(fewer, limit).elements()) == Counter(
        t[:2] for t in drawn(fewer, limit + 5).elements()
    )
    assert drawn(20, 9) != drawn(20, 9, seed=2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n": 0}, "`n` must be at least 1, but is 0"),
        ({"temperature": 0.0}, "`temperature` must be greater than 0, but is 0.0; 'greedy' is its limit at 0"),
        ({"top_k": -1}, "`top_k` must not be negative"),
        ({"top_p": 0.0}, "`top_p` must be in"),
        ({"min_p": 1.5}, "`min_p` must be in"),
    ],
)
def test_impossible_options_are_refused(options: dict, text: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=text):
        SEARCH.create({"name": "sample", **options})
