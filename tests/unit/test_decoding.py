"""Searches against brute force on scorers whose every probability is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

import recambio.components  # noqa: F401
from recambio.decoding import ModelScorer, Scorer, generate
from recambio.decoding.generate import batches, length_limit
from recambio.decoding.searches.base import Search
from recambio.model import Transformer
from recambio.registry import SEARCH
from recambio.testing.searches import small_scorer

PAD, UNK, SOS, EOS, V = 0, 1, 2, 3, 7


@dataclass
class Table:
    """Rows of a table scorer: which source, which tokens so far."""

    rows: list[tuple[int, tuple[int, ...]]]


class TableScorer(Scorer[Table]):
    """Random log-probabilities that depend on the source and every earlier token."""

    sos_id, eos_id, pad_id, device = SOS, EOS, PAD, torch.device("cpu")

    def __init__(self, seed: int = 0, sharpness: float = 1.5) -> None:
        self.seed, self.sharpness = seed, sharpness

    def row(self, source: int, past: tuple[int, ...]) -> Tensor:
        g = torch.Generator().manual_seed(hash((self.seed, source, past)) & 0x7FFFFFFF)
        logits = torch.randn(V, generator=g) * self.sharpness
        logits[[PAD, UNK, SOS]] = -math.inf
        return torch.log_softmax(logits, -1)

    def start(self, sources: Sequence[Sequence[int]], max_length: int) -> Table:
        return Table([(s[0], ()) for s in sources])

    def step(self, state: Table, tokens: Tensor) -> Tensor:
        state.rows = [(s, (*past, int(t))) for (s, past), t in zip(state.rows, tokens, strict=True)]
        return torch.stack([self.row(s, past) for s, past in state.rows])

    def select(self, state: Table, rows: Tensor) -> Table:
        return Table([state.rows[r] for r in rows.tolist()])

    def join(self, state: Table, other: Table) -> Table:
        return Table(state.rows + other.rows)

    def log_probability(self, source: int, tokens: Sequence[int]) -> float:
        """Of tokens, EOS included if they hold it."""
        past: tuple[int, ...] = (SOS,)
        total = 0.0
        for t in tokens:
            total += float(self.row(source, past)[t])
            past = (*past, t)
        return total


def every_translation(scorer: TableScorer, source: int, longest: int) -> list[tuple[list[int], float]]:
    """All finished translations of at most ``longest`` tokens, EOS included."""
    words = [v for v in range(V) if v not in (PAD, UNK, SOS, EOS)]
    found = []
    for n in range(longest):
        for tokens in itertools.product(words, repeat=n):
            found.append((list(tokens), scorer.log_probability(source, [*tokens, EOS])))
    return found


def beam(**options) -> Search:  # type: ignore[no-untyped-def]
    return SEARCH.create({"name": "beam", **options})


@pytest.mark.parametrize("normalize", ["average", "gnmt"])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_a_beam_as_wide_as_the_tree_finds_the_best_translation(normalize: str, alpha: float) -> None:
    scorer, longest = TableScorer(3), 4
    search = beam(width=64, length_penalty=alpha, normalize=normalize, stop="exact", n_best=5)
    found = search(scorer, [[0], [1], [2]], [longest] * 3)
    for source in range(3):
        wanted = sorted(
            ((p / search.penalty(len(t) + 1), t, p) for t, p in every_translation(scorer, source, longest)),
            reverse=True,
        )[:5]
        for hypothesis, (score, tokens, log_probability) in zip(found[source], wanted, strict=True):
            assert hypothesis.tokens == tokens
            assert hypothesis.score == pytest.approx(score, abs=1e-5)
            assert hypothesis.log_probability == pytest.approx(log_probability, abs=1e-5)
            assert hypothesis.is_finished


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_a_beam_of_one_is_greedy(seed: int, limit: int) -> None:
    scorer = TableScorer(seed)
    sources = [[i] for i in range(5)]
    ours = beam(width=1)(scorer, sources, [limit] * 5)
    greedy = SEARCH.create("greedy")(scorer, sources, [limit] * 5)
    for a, b in zip(ours, greedy, strict=True):
        assert a[0].tokens == b[0].tokens and a[0].is_finished == b[0].is_finished
        assert a[0].log_probability == pytest.approx(b[0].log_probability, abs=1e-4)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from(["greedy", "beam"]))
def test_scores_are_those_of_the_tokens_and_limits_hold(seed: int, width: int, name: str) -> None:
    scorer = TableScorer(seed, sharpness=0.7)
    limits = [1, 2, 5, 9]
    search = SEARCH.create("greedy") if name == "greedy" else beam(width=width, n_best=width)
    for source, (found, limit) in enumerate(zip(search(scorer, [[0], [1], [2], [3]], limits), limits, strict=True)):
        assert found
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            tokens = [*h.tokens, EOS] if h.is_finished else h.tokens
            assert len(tokens) <= limit and EOS not in h.tokens
            assert h.log_probability == pytest.approx(scorer.log_probability(source, tokens), abs=1e-4)
        assert len({(*h.tokens, h.is_finished) for h in found}) == len(found), "no hypothesis twice"


def test_the_first_eos_does_not_end_the_search() -> None:
    """A short translation finishes first; a longer one is better per token."""

    class Late(TableScorer):
        def row(self, source: int, past: tuple[int, ...]) -> Tensor:
            p = torch.full((V,), 1e-9)
            if past == (SOS,):
                p[EOS], p[4] = 0.5, 0.45
            elif past[-1] == 4 and len(past) < 4:
                p[4] = 0.98
            else:
                p[EOS] = 0.98
            return torch.log(p / p.sum())

    best = beam(width=2, length_penalty=1.0, stop="exact")(Late(), [[0]], [8])[0][0]
    assert best.tokens == [4, 4, 4]
    assert SEARCH.create("greedy")(Late(), [[0]], [8])[0][0].tokens == []


@pytest.fixture(scope="module")
def scorer() -> ModelScorer:
    return small_scorer()


def sentences(n: int = 40) -> list[list[int]]:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 12, (n,), generator=g).tolist()
    return [[*torch.randint(4, 23, (length,), generator=g).tolist(), EOS] for length in lengths]


def test_the_encoder_side_is_computed_once(scorer: ModelScorer, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"encode": 0, "memory": 0}
    attention = type(scorer.model.decoder.layers[0].cross_attention)
    encode, project = Transformer.encode, attention._project

    def counted(name, function):  # type: ignore[no-untyped-def]
        def wrapped(*args, **kwargs):  # type: ignore[no-untyped-def]
            calls[name] += 1
            return function(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(Transformer, "encode", counted("encode", encode))
    monkeypatch.setattr(attention, "_project", counted("memory", project))
    beam(width=3)(scorer, sentences(5), [12] * 5)
    assert calls == {"encode": 1, "memory": 2}, "one projection of the memory per decoder layer and batch"


def test_special_tokens_are_never_generated(scorer: ModelScorer) -> None:
    state = scorer.start(sentences(3), 8)
    log_p = scorer.step(state, torch.full((3,), SOS))
    assert torch.isneginf(log_p[:, [SOS, PAD]]).all()
    assert_close(log_p.exp().sum(-1), torch.ones(3))


def test_empty_sources_stay_empty(scorer: ModelScorer) -> None:
    found = generate(scorer, SEARCH.create("greedy"), [[EOS], [5, 6, EOS], [EOS]], batch_tokens=100)
    assert found[0][0].tokens == [] and found[2][0].tokens == [] and found[1][0].tokens


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 500), st.integers(1, 5))
def test_batches_hold_every_source_once_within_bounds(lengths: list[int], batch_tokens: int, width: int) -> None:
    cut = list(batches(lengths, batch_tokens, width))
    assert sorted(itertools.chain(*cut)) == [i for i, n in enumerate(lengths) if n > 1]
    for batch in cut:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) * width <= batch_tokens


class CountingScorer(TableScorer):
    """Counts the rows of every step, and what enters at a time."""

    def __init__(self) -> None:
        super().__init__(1, sharpness=1.0)
        self.rows: list[int] = []
        self.entered: list[int] = []

    def start(self, sources: Sequence[Sequence[int]], max_length: int) -> Table:
        self.entered.append(len(sources))
        return super().start(sources, max_length)

    def step(self, state: Table, tokens: Tensor) -> Tensor:
        self.rows.append(len(tokens))
        return super().step(state, tokens)


@pytest.mark.parametrize("name", ["greedy", "beam", "diverse_beam"])
def test_waiting_sources_take_the_places_of_finished_ones(name: str) -> None:
    sources = [[i, EOS] for i in range(40)]
    search = SEARCH.create(name)
    apart, together = CountingScorer(), CountingScorer()
    wanted = [h for i in range(0, 40, 8) for h in search(apart, sources[i : i + 8], [14] * 8)]
    found = generate(together, search, sources, batch_tokens=16 * search.width)
    assert [[h.tokens for h in one] for one in found] == [[h.tokens for h in one] for one in wanted]
    assert sum(together.entered) == 40 and together.entered[0] == 8 and len(together.entered) > 6
    assert max(together.rows) == 8 * search.width, "never more than there is room for"
    assert len(together.rows) < 0.8 * len(apart.rows), "places don't stay empty"


def test_a_large_batch_runs_empty_on_a_cpu() -> None:
    scorer = CountingScorer()
    generate(scorer, SEARCH.create("greedy"), [[i, EOS] for i in range(100)], batch_tokens=80)
    assert scorer.entered == [40, 40, 20]


def test_padding_goes_with_the_sources_that_needed_it(scorer: ModelScorer) -> None:
    long, short = [*range(4, 20), EOS], [5, 6, EOS]
    state = scorer.start([long, short], 8)
    scorer.step(state, torch.tensor([SOS, SOS]))
    left = scorer.select(state, torch.tensor([1]))
    joined = scorer.join(left, scorer.start([[7, EOS]], 8))
    assert joined.memory_length == 3 and joined.caches[0].cross_attention.k.shape[2] == 3  # type: ignore[attr-defined]
    alone = scorer.start([short], 8)
    scorer.step(alone, torch.tensor([SOS]))
    found, wanted = scorer.step(joined, torch.tensor([9, SOS]))[0], scorer.step(alone, torch.tensor([9]))[0]
    assert_close(found, wanted)


def test_length_limits() -> None:
    assert length_limit(10, 2.0, 10) == 30
    assert length_limit(10, 2.0, 10, 24) == 24
    assert length_limit(1, 0.1, 0) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"width": 0}, "`width` must be at least 1"),
        ({"width": 2, "n_best": 3}, "`n_best` must be between 1 and `width`"),
        ({"length_penalty": -1.0}, "`length_penalty` must not be negative"),
    ],
)
def test_impossible_options_are_refused(options: dict, text: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=text):
        beam(**options)
