"""Beam search with length normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch

from recambio.decoding.best import best_tokens
from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, LengthPenalty, LengthRule, Search
from recambio.registry import SEARCH, Card


@SEARCH.register(
    "beam",
    card=Card(
        claim="Keeps the best partial translations of each source and returns the best finished ones.",
        formula="score(y) = log p(y | x) / lp(y);  gnmt: lp = ((5 + |y|) / 6)^a;  average: lp = |y|^a;  |y| counts EOS",
        paper="Wu et al. 2016, Google's Neural Machine Translation System, https://arxiv.org/abs/1609.08144, section 7",
        departures="No coverage penalty.",
        fast_path="the beam shares its source's projected memory; caches move only when the order changes; finished sources leave",
    ),
)
class Beam(Search):
    """Beam search over all sources of a batch at once.

    At each step the 2 * width best continuations of a source are ranked. Those that end and stand among the first ``width``
    become finished hypotheses, the best ``width`` that go on are the next beam.

    Args:
        width: Partial hypotheses a source keeps.
        length_penalty: Exponent a of the length normalisation; 0 ranks by the plain sum.
        normalize: ``average`` divides by |y|^a, ``gnmt`` by ((5 + |y|) / 6)^a.
        stop: ``width``: a source is done when ``width`` hypotheses have finished. ``exact``: only when no partial one can
            still beat the worst of them.
        n_best: Hypotheses to return.
    """

    def __init__(
        self,
        width: int = 4,
        length_penalty: float = 1.0,
        normalize: LengthRule = "average",
        stop: Literal["width", "exact"] = "width",
        n_best: int = 1,
    ) -> None:
        if width < 1:
            raise ValueError(f"`width` must be at least 1, but is {width}")
        if not 1 <= n_best <= width:
            raise ValueError(f"`n_best` must be between 1 and `width` ({width}), but is {n_best}")
        self.width = width
        self.penalty = LengthPenalty(length_penalty, normalize)
        self.stop = stop
        self.n_best = n_best

    @torch.inference_mode()
    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """See :meth:`Search.__call__`."""
        k, device, longest = self.width, scorer.device, max(max_lengths)
        state = scorer.start(sources, longest)
        state = scorer.select(state, torch.arange(len(sources), device=device).repeat_interleave(k))
        alive = list(range(len(sources)))
        finished: list[list[Hypothesis]] = [[] for _ in sources]
        tokens = torch.full((len(alive) * k,), scorer.sos_id, dtype=torch.long, device=device)
        # All rows of a source start equal: only the first may continue, or the beam would hold k copies of one hypothesis.
        sums = torch.full((len(alive), k), -math.inf, device=device)
        sums[:, 0] = 0.0
        history = torch.empty(len(alive) * k, 0, dtype=torch.long, device=device)
        for t in range(1, longest + 1):
            log_probabilities = scorer.step(state, tokens)
            vocabulary = log_probabilities.shape[-1]
            wanted = min(2 * k, vocabulary)
            # The best of a source are among the best of each of its rows: rank those, not the whole vocabulary of the beam.
            row_best, row_tokens = best_tokens(log_probabilities, wanted)
            totals = sums.view(-1, 1) + row_best
            best, place = totals.view(len(alive), k * wanted).topk(min(2 * k, k * wanted), dim=-1)
            next_tokens = row_tokens.view(len(alive), k * wanted).gather(1, place)
            parents = place // wanted
            is_end = next_tokens == scorer.eos_id
            at_limit = [t >= max_lengths[i] for i in alive]
            if bool(is_end[:, :k].any()) or any(at_limit):
                self._finish(scorer, alive, at_limit, best, next_tokens, parents, history, t, finished)
            # The best k that go on, in rank order: an ended or impossible one sorts last, ties keep their order.
            order = (is_end | best.isneginf()).to(torch.int8).argsort(dim=1, stable=True)[:, :k]
            sums = best.gather(1, order).masked_fill(is_end.gather(1, order), -math.inf)
            next_tokens = next_tokens.gather(1, order)
            parents = parents.gather(1, order)
            # The order within a beam is nobody's business: a child that stands where its parent stood moves no cache.
            order = in_their_parents_place(parents)
            sums, next_tokens, parents = (x.gather(1, order) for x in (sums, next_tokens, parents))
            staying = self._staying(alive, at_limit, sums, finished, max_lengths)
            if not staying:
                break
            offsets = torch.arange(len(alive), device=device)[:, None] * k
            rows = parents + offsets
            if len(staying) < len(alive):
                kept = torch.tensor(staying, device=device)
                rows, sums, next_tokens = rows[kept], sums[kept], next_tokens[kept]
                alive = [alive[s] for s in staying]
            rows = rows.reshape(-1)
            tokens = next_tokens.reshape(-1)
            state = scorer.select(state, rows)
            history = torch.cat([history[rows], tokens[:, None]], dim=1)
        ranked = [sorted(hypotheses, key=lambda h: -h.score)[: self.n_best] for hypotheses in finished]
        return ranked

    def _finish(
        self,
        scorer: Scorer[Any],
        alive: list[int],
        at_limit: list[bool],
        best: torch.Tensor,
        next_tokens: torch.Tensor,
        parents: torch.Tensor,
        history: torch.Tensor,
        length: int,
        finished: list[list[Hypothesis]],
    ) -> None:
        """Store what ends at this step; at the length limit also what is cut there, ranked after what ended."""
        k = self.width
        sums, ids, origin = best.tolist(), next_tokens.tolist(), parents.tolist()
        for s, i in enumerate(alive):
            for rank in range(len(ids[s])):
                ends = ids[s][rank] == scorer.eos_id
                if not math.isfinite(sums[s][rank]) or not (ends and rank < k):
                    continue
                words = history[s * k + origin[s][rank]].tolist()
                finished[i].append(Hypothesis(words, sums[s][rank], sums[s][rank] / self.penalty(length), True))
            if at_limit[s]:
                for rank in range(len(ids[s])):
                    if len(finished[i]) >= self.n_best:
                        break
                    if ids[s][rank] != scorer.eos_id and math.isfinite(sums[s][rank]):
                        words = [*history[s * k + origin[s][rank]].tolist(), ids[s][rank]]
                        finished[i].append(
                            Hypothesis(words, sums[s][rank], sums[s][rank] / self.penalty(length), False)
                        )

    def _staying(
        self,
        alive: list[int],
        at_limit: list[bool],
        sums: torch.Tensor,
        finished: list[list[Hypothesis]],
        max_lengths: Sequence[int],
    ) -> list[int]:
        """Places in ``alive`` of the sources that go on."""
        staying = []
        best_open: list[float] | None = None
        for s, i in enumerate(alive):
            if at_limit[s]:
                continue
            if len(finished[i]) >= self.width:
                if self.stop == "width":
                    continue
                if best_open is None:
                    best_open = sums.max(dim=1).values.tolist()
                # A sum only falls and the penalty only grows: no open hypothesis can end above this.
                bound = best_open[s] / self.penalty(max_lengths[i])
                if bound <= sorted((h.score for h in finished[i]), reverse=True)[self.width - 1]:
                    continue
            staying.append(s)
        return staying


def in_their_parents_place(parents: torch.Tensor) -> torch.Tensor:
    """An order of the new beam in which the first child of each parent stands at the parent's place.

    Args:
        parents: (M, k), places in the old beam.

    Returns:
        (M, k): which child comes to each place.
    """
    k = parents.shape[1]
    places = torch.arange(k, device=parents.device)
    same = parents[:, :, None] == parents[:, None, :]
    is_first = ~(same & (places[:, None] > places)).any(2)
    free = torch.ones_like(parents).scatter_(1, parents, 0)  # no child has this parent
    empty = free.argsort(dim=1, descending=True, stable=True)
    nth = (~is_first).cumsum(1) - 1
    goes_to = torch.where(is_first, parents, empty.gather(1, nth.clamp_min(0)))
    return torch.empty_like(parents).scatter_(1, goes_to, places.expand_as(parents))
