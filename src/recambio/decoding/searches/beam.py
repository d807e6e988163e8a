"""Beam search with length normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from recambio.decoding.best import best_tokens
from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, LengthPenalty, LengthRule
from recambio.decoding.searches.stepwise import GrowingWalk, Stepwise, Walk
from recambio.errors import InputError
from recambio.registry import SEARCH, Card

_LEAST = 1e-6
"""What a source token that no token looks at counts as: some attentions give exact zeros, whose logarithm would end every comparison."""


@SEARCH.register(
    "beam",
    card=Card(
        claim="Keeps the best partial translations of each source and returns the best finished ones.",
        formula="score(y) = log p(y | x) / lp(y) + b sum_i log min(1, sum_t attention(y_t, x_i));  gnmt: lp = ((5 + |y|) / 6)^a;  "
        "average: lp = |y|^a;  |y| counts EOS",
        paper="Wu et al. 2016, Google's Neural Machine Translation System, https://arxiv.org/abs/1609.08144, section 7",
        departures="Coverage chooses among what has finished, and doesn't steer the search; its attention is the mean over the heads of "
        "the last decoder layer.",
        fast_path="the beam shares its source's projected memory; caches move only when the order changes; "
        "finished sources leave, waiting ones enter where that pays",
    ),
)
class Beam(Stepwise):
    """Beam search over all sources of a batch at once.

    At each step the 2 * width best continuations of a source are ranked. Those that end and stand among the first ``width``
    become finished hypotheses, the best ``width`` that go on are the next beam.

    Args:
        width: Partial hypotheses a source keeps.
        length_penalty: Exponent a of the length normalisation; 0 ranks by the plain sum.
        normalize: ``average`` divides by |y|^a, ``gnmt`` by ((5 + |y|) / 6)^a.
        stop: ``width``: a source is done when ``width`` hypotheses have finished. ``exact``: only when no partial one can
            still beat the worst of them; of ``coverage`` it knows nothing.
        n_best: Hypotheses to return.
        coverage: b, what it costs a finished translation to leave source tokens without attention; 0 doesn't look at it.
    """

    def __init__(
        self,
        width: int = 4,
        length_penalty: float = 1.0,
        normalize: LengthRule = "average",
        stop: Literal["width", "exact"] = "width",
        n_best: int = 1,
        coverage: float = 0.0,
    ) -> None:
        if width < 1:
            raise ValueError(f"`width` must be at least 1, but is {width}")
        if not 1 <= n_best <= width:
            raise ValueError(f"`n_best` must be between 1 and `width` ({width}), but is {n_best}")
        if coverage < 0:
            raise ValueError(f"`coverage` must not be negative, but is {coverage}")
        self.width = width
        self.coverage = coverage
        self.penalty = LengthPenalty(length_penalty, normalize)
        self.stop = stop
        self.n_best = n_best

    def walk(self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]) -> Walk:
        """See :meth:`Stepwise.walk`."""
        return BeamWalk(self, scorer, sources, max_lengths)


class Candidates(NamedTuple):
    """What the sources of a batch may go on with, the first choice first: (M, Q) each.

    Attributes:
        sums: Log-probability of the whole; -inf for what is impossible.
        tokens: The last one.
        parents: The place in the beam that it continues.
    """

    sums: Tensor
    tokens: Tensor
    parents: Tensor

    def at(self, places: Tensor) -> Candidates:
        """Those at these places (M, Q')."""
        return Candidates(*(x.gather(1, places) for x in self))


class BeamWalk(GrowingWalk):
    """M sources in the batch, k places in each beam."""

    def __init__(
        self, search: Beam, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> None:
        super().__init__(scorer, sources, max_lengths, search.width)
        if search.coverage and (problem := scorer.attention_problem()):
            raise InputError(f"decoding.search.coverage: {problem}; leave it out")
        self.search = search
        self.sums = torch.empty(0, self.width, device=scorer.device)
        # With each hypothesis what it lacks, which counts before its score.
        self.found: list[list[tuple[int, Hypothesis]]] = [[] for _ in max_lengths]

    def enter(self, sources: Sequence[int]) -> None:
        """See :meth:`Walk.enter`."""
        super().enter(sources)
        # All rows of a source start equal: only the first may continue, or the beam would hold k copies of one hypothesis.
        sums = torch.full((len(sources), self.width), -math.inf, device=self.sums.device)
        sums[:, 0] = 0.0
        self.sums = torch.cat([self.sums, sums])

    def candidates(self, log_probabilities: Tensor) -> Candidates:
        """The 2k best of each source; log_probabilities: (M * k, V)."""
        k, n_sources = self.width, len(self.alive)
        wanted = min(2 * k, log_probabilities.shape[-1])
        # The best of a source are among the best of each of its rows: rank those, not the whole vocabulary of the beam.
        values, tokens = best_tokens(log_probabilities, wanted)
        totals = (self.sums.view(-1, 1) + values).view(n_sources, k * wanted)
        sums, place = totals.topk(min(2 * k, k * wanted), dim=-1)
        return Candidates(sums, tokens.view(n_sources, -1).gather(1, place), place // wanted)

    def lacking(self) -> list[list[int]] | None:
        """What each of the last candidates lacks of what it must say; None where nothing must be said."""
        return None

    def follow(self, places: Tensor) -> None:
        """The beams are now the candidates at these places (M, k): for what a walk keeps besides."""

    def keep(self, sources: Tensor) -> None:
        """Only these of the M sources stay: for what a walk keeps besides."""

    def advance(self, log_probabilities: Tensor) -> Tensor | None:
        """See :meth:`Walk.advance`."""
        k = self.width
        candidates = self.candidates(log_probabilities)
        is_end = candidates.tokens == self.scorer.eos_id
        at_limit = self.grow()
        if any(at_limit) or bool(is_end[:, :k].any()):
            self._finish(candidates, at_limit)
        # The first k that go on: an ended or impossible one sorts last, the others keep their order.
        order = (is_end | candidates.sums.isneginf()).to(torch.int8).argsort(dim=1, stable=True)[:, :k]
        # The order within a beam is nobody's business: a child that stands where its parent stood moves no cache.
        order = order.gather(1, in_their_parents_place(candidates.parents.gather(1, order)))
        going = candidates.at(order)
        self.sums = going.sums.masked_fill(is_end.gather(1, order), -math.inf)
        self.follow(order)
        kept, rows = self.go_on(self._staying(at_limit), going.parents, going.tokens)
        if kept is not None:
            self.sums = self.sums[kept]
            self.keep(kept)
        return rows

    def results(self) -> list[list[Hypothesis]]:
        """See :meth:`Walk.results`."""
        n_best = self.search.n_best
        if self.search.coverage:
            self.found = [self._covered(*one) for one in zip(self.sources, self.found, strict=True)]
        return [[h for _, h in sorted(found, key=lambda x: (x[0], -x[1].score))[:n_best]] for found in self.found]

    def _covered(self, source: Sequence[int], found: list[tuple[int, Hypothesis]]) -> list[tuple[int, Hypothesis]]:
        """What was found for a source, its scores lowered by what each leaves without attention."""
        targets = [[*h.tokens, *[self.scorer.eos_id] * h.is_finished] for _, h in found]
        return [
            (missing, replace(h, score=h.score + self.search.coverage * coverage(weights)))
            for (missing, h), weights in zip(found, self.scorer.attention(source, targets), strict=True)
        ]

    def _finish(self, candidates: Candidates, at_limit: list[bool]) -> None:
        """Store what ends at this step; at the length limit also what is cut there, if too little has ended."""
        sums, tokens, parents = (x.tolist() for x in candidates)
        lacking = self.lacking()
        for s, (i, length) in enumerate(zip(self.alive, self.lengths, strict=True)):
            cut: list[tuple[int, Hypothesis]] = []
            for rank, (total, token) in enumerate(zip(sums[s], tokens[s], strict=True)):
                ends = token == self.scorer.eos_id
                if not math.isfinite(total) or not (at_limit[s] or (ends and rank < self.width)):
                    continue
                words, score = self.said(s, parents[s][rank]), total / self.search.penalty(length)
                if not ends:
                    missing = 0 if lacking is None else lacking[s][rank]
                    cut.append((missing, Hypothesis([*words, token], total, score, False)))
                elif rank < self.width:
                    self.found[i].append((0, Hypothesis(words, total, score, True)))
            cut.sort(key=lambda item: (item[0], -item[1].score))
            self.found[i] += cut[: max(0, self.search.n_best - len(self.found[i]))]

    def _staying(self, at_limit: list[bool]) -> list[int]:
        """Places in ``alive`` of the sources that go on."""
        best_open: list[float] | None = None
        staying = []
        for s, i in enumerate(self.alive):
            is_full = len(self.found[i]) >= self.width
            if is_full and not at_limit[s] and self.search.stop == "exact":
                if best_open is None:
                    best_open = self.sums.max(dim=1).values.tolist()
                # A sum only falls and the penalty only grows: no open hypothesis can end above this.
                bound = best_open[s] / self.search.penalty(self.max_lengths[i])
                is_full = bound <= sorted((h.score for _, h in self.found[i]), reverse=True)[self.width - 1]
            if not at_limit[s] and not is_full:
                staying.append(s)
        return staying


def coverage(attention: Tensor) -> float:
    """``sum_i log min(1, sum_t a_ti)`` of a translation's attention (T, S): 0 where every source token got 1 in all, else below.

    Paper: Wu et al. 2016, https://arxiv.org/abs/1609.08144, equation 14.
    """
    return float(attention.sum(0).clamp(_LEAST, 1.0).log().sum())


def in_their_parents_place(parents: Tensor) -> Tensor:
    """An order of the new beam in which the first child of each parent stands at the parent's place.

    Args:
        parents: (M, k), places in the old beam.

    Returns:
        (M, k): which child comes to each place.
    """
    order = []
    for row in parents.tolist():
        firsts: list[int | None] = [None] * len(row)
        others = []
        for child, parent in enumerate(row):
            if firsts[parent] is None:
                firsts[parent] = child
            else:
                others.append(child)
        rest = iter(others)
        order.append([next(rest) if child is None else child for child in firsts])
    return torch.tensor(order, dtype=torch.long, device=parents.device).view_as(parents)
