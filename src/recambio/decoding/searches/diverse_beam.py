"""Beam search in groups that keep away from each other's words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, LengthPenalty, LengthRule
from recambio.decoding.searches.stepwise import GrowingWalk, Stepwise, Walk
from recambio.registry import SEARCH, Card


@SEARCH.register(
    "diverse_beam",
    card=Card(
        claim="Several beams a source, each kept from the words of those before it: n-best lists that differ in more than a comma.",
        formula="group g ranks y_<t v by log p(y_<t v | x) - strength * |{beams of groups < g whose token at t is v}|",
        paper="Vijayakumar et al. 2018, Diverse Beam Search for Improved Description of Images, https://arxiv.org/abs/1610.02424, "
        "section 4 (Hamming diversity)",
        departures="Ending a sentence is never penalised. Finished translations are ranked as beam's are.",
        fast_path="all groups advance in one step of the model; they share their source's projected memory; "
        "finished sources leave, waiting ones enter where that pays",
    ),
)
class DiverseBeam(Stepwise):
    """Diverse beam search with Hamming diversity.

    The ``width`` partial hypotheses of a source form ``groups`` beams of equal size. At each step they choose in turn, and a word that
    beams of earlier groups chose at this step costs ``strength`` for each of them. The penalty moves the choice and
    stays out of the sums, so log-probabilities are the model's own. With one group this is ``beam``.

    Args:
        width: Partial hypotheses a source keeps, over all groups.
        groups: Divides ``width``.
        strength: What a word costs for each earlier beam that chose it, in nats.
        length_penalty: Exponent a of the length normalisation; 0 ranks by the plain sum.
        normalize: ``average`` divides by |y|^a, ``gnmt`` by ((5 + |y|) / 6)^a.
        stop: ``width``: a group is done when as many hypotheses as it keeps have finished. ``exact``: only when no partial one can
            still beat the worst of them.
        n_best: Hypotheses to return: the best of every group before the second best of any, without repetitions. They
            come in the order of their scores, and are fewer where the groups found fewer.
    """

    def __init__(
        self,
        width: int = 4,
        groups: int = 4,
        strength: float = 0.5,
        length_penalty: float = 1.0,
        normalize: LengthRule = "average",
        stop: Literal["width", "exact"] = "width",
        n_best: int = 1,
    ) -> None:
        if width < 1:
            raise ValueError(f"`width` must be at least 1, but is {width}")
        if groups < 1 or width % groups:
            raise ValueError(f"`width` must be divisible by `groups` ({groups}), but is {width}")
        if strength < 0:
            raise ValueError(f"`strength` must not be negative, but is {strength}")
        if not 1 <= n_best <= width:
            raise ValueError(f"`n_best` must be between 1 and `width` ({width}), but is {n_best}")
        self.width, self.groups, self.strength = width, groups, strength
        self.penalty = LengthPenalty(length_penalty, normalize)
        self.stop, self.n_best = stop, n_best

    def walk(self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]) -> Walk:
        """See :meth:`Stepwise.walk`."""
        return _DiverseWalk(self, scorer, sources, max_lengths)


class _DiverseWalk(GrowingWalk):
    """M sources in the batch, G groups of k places each."""

    def __init__(
        self,
        search: DiverseBeam,
        scorer: Scorer[Any],
        sources: Sequence[Sequence[int]],
        max_lengths: Sequence[int],
    ) -> None:
        super().__init__(scorer, sources, max_lengths, search.width)
        self.search, self.k = search, search.width // search.groups
        self.sums = torch.empty(0, search.groups, self.k, device=scorer.device)
        self.found: list[list[list[Hypothesis]]] = [[[] for _ in range(search.groups)] for _ in max_lengths]

    def enter(self, sources: Sequence[int]) -> None:
        """See :meth:`Walk.enter`."""
        super().enter(sources)
        # The rows of a group start equal: only the first may continue, or the group would hold k copies of one hypothesis.
        sums = self.sums.new_full((len(sources), *self.sums.shape[1:]), -math.inf)
        sums[:, :, 0] = 0.0
        self.sums = torch.cat([self.sums, sums])

    def advance(self, log_probabilities: Tensor) -> Tensor | None:
        """See :meth:`Walk.advance`."""
        (n_sources, n_groups, k), device = self.sums.shape, self.sums.device
        log_probabilities = log_probabilities.view(n_sources, n_groups, k, -1)
        at_limit = self.grow()
        chosen = torch.zeros(n_sources, log_probabilities.shape[-1], device=device)
        tokens = torch.empty(n_sources, n_groups, k, dtype=torch.long, device=device)
        parents = torch.empty_like(tokens)
        for g in range(n_groups):
            best, ids, origin = self._candidates(log_probabilities[:, g], self.sums[:, g], chosen)
            is_end = ids == self.scorer.eos_id
            if bool(is_end[:, :k].any()) or any(at_limit):
                self._finish(g, at_limit, best, ids, origin)
            # The best k that go on, in rank order: an ended or impossible one sorts last, ties keep their order.
            is_out = is_end | best.isneginf()
            order = is_out.to(torch.int8).argsort(dim=1, stable=True)[:, :k]
            going = self._stopped(g, best.gather(1, order).masked_fill(is_out.gather(1, order), -math.inf))
            self.sums[:, g], tokens[:, g], parents[:, g] = going, ids.gather(1, order), origin.gather(1, order) + g * k
            chosen.scatter_add_(1, tokens[:, g], going.isfinite().float())
        is_open = self.sums.isfinite().flatten(1).any(1).tolist()
        staying = [s for s in range(n_sources) if is_open[s] and not at_limit[s]]
        kept, rows = self.go_on(staying, parents.flatten(1), tokens.flatten(1))
        if kept is not None:
            self.sums = self.sums[kept]
        return rows

    def results(self) -> list[list[Hypothesis]]:
        """See :meth:`Walk.results`."""
        return [self._best(groups) for groups in self.found]

    def _candidates(self, log_probabilities: Tensor, sums: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The 2k best continuations of a group, best first, by log-probability less what earlier groups make them cost.

        Args:
            log_probabilities: (M, k, V)
            sums: (M, k)
            chosen: (M, V), earlier beams that chose each token at this step.

        Returns:
            Sums without the cost, tokens, and rows of the group they continue; (M, 2k) each.
        """
        k, vocabulary = log_probabilities.shape[1:]
        totals = sums[:, :, None] + log_probabilities
        wanted = min(2 * k, k * vocabulary)
        # As in `beam`: the best of a group are among the best of each row.
        row_best, row_tokens = (totals - self.search.strength * chosen[:, None]).topk(min(2 * k, vocabulary), dim=-1)
        place = row_best.flatten(1).topk(min(wanted, row_best[0].numel()), dim=-1).indices
        ids = row_tokens.flatten(1).gather(1, place)
        origin = place // row_best.shape[-1]
        return totals.flatten(1).gather(1, origin * vocabulary + ids), ids, origin

    def _finish(self, group: int, at_limit: list[bool], best: Tensor, ids: Tensor, origin: Tensor) -> None:
        """Store what ends at this step; at the length limit also what is cut there, if too little has ended."""
        candidates = zip(best.tolist(), ids.tolist(), origin.tolist(), strict=True)
        for s, (i, length, ranked) in enumerate(zip(self.alive, self.lengths, candidates, strict=True)):
            found = self.found[i][group]
            cut: list[Hypothesis] = []
            for rank, (total, token, parent) in enumerate(zip(*ranked, strict=True)):
                ends = token == self.scorer.eos_id
                if not math.isfinite(total) or not (at_limit[s] or (ends and rank < self.k)):
                    continue
                words, score = self.said(s, group * self.k + parent), total / self.search.penalty(length)
                if not ends:
                    cut.append(Hypothesis([*words, token], total, score, False))
                elif rank < self.k:
                    found.append(Hypothesis(words, total, score, True))
            found += cut[: max(0, self.search.n_best - len(found))]

    def _stopped(self, group: int, going: Tensor) -> Tensor:
        """The sums of a group (M, k), those of sources for which it is done at -inf: it chooses nothing more."""
        full = [s for s, i in enumerate(self.alive) if len(self.found[i][group]) >= self.k]
        if self.search.stop == "exact" and full:
            highest = going.max(dim=1).values.tolist()
            # A sum only falls and the penalty only grows: no open hypothesis can end above this.
            full = [
                s
                for s in full
                if highest[s] / self.search.penalty(self.max_lengths[self.alive[s]])
                <= sorted((h.score for h in self.found[self.alive[s]][group]), reverse=True)[self.k - 1]
            ]
        return going.index_fill(0, torch.tensor(full, device=going.device), -math.inf) if full else going

    def _best(self, groups: list[list[Hypothesis]]) -> list[Hypothesis]:
        """``n_best`` hypotheses out of all groups, the best of each group before any second."""
        ranked = [sorted(group, key=lambda h: -h.score) for group in groups]
        found: dict[tuple[tuple[int, ...], bool], Hypothesis] = {}
        for level in range(max(map(len, ranked))):
            for h in sorted((group[level] for group in ranked if level < len(group)), key=lambda h: -h.score):
                if len(found) < self.search.n_best:
                    found.setdefault((tuple(h.tokens), h.is_finished), h)
        return sorted(found.values(), key=lambda h: -h.score)
