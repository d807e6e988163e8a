"""Beam search in groups that keep away from each other's words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, LengthPenalty, LengthRule, Search
from recambio.registry import SEARCH, Card


@SEARCH.register(
    "diverse_beam",
    card=Card(
        claim="Several beams a source, each kept from the words of those before it: n-best lists that differ in more than a comma.",
        formula="group g ranks y_<t v by log p(y_<t v | x) - strength * |{beams of groups < g whose token at t is v}|",
        paper="Vijayakumar et al. 2018, Diverse Beam Search for Improved Description of Images, https://arxiv.org/abs/1610.02424, "
        "section 4 (Hamming diversity)",
        departures="Ending a sentence is never penalised. Finished translations are ranked as beam's are.",
        fast_path="all groups advance in one step of the model; they share their source's projected memory; finished sources leave",
    ),
)
class DiverseBeam(Search):
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

    @torch.inference_mode()
    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """See :meth:`Search.__call__`."""
        n_groups, k, device, longest = self.groups, self.width // self.groups, scorer.device, max(max_lengths)
        state = scorer.start(sources, longest)
        state = scorer.select(state, torch.arange(len(sources), device=device).repeat_interleave(self.width))
        alive = list(range(len(sources)))
        finished: list[list[list[Hypothesis]]] = [[[] for _ in range(n_groups)] for _ in sources]
        tokens = torch.full((len(alive) * self.width,), scorer.sos_id, dtype=torch.long, device=device)
        # The rows of a group start equal: only the first may continue, or the group would hold k copies of one hypothesis.
        sums = torch.full((len(alive), n_groups, k), -math.inf, device=device)
        sums[:, :, 0] = 0.0
        history = torch.empty(len(tokens), 0, dtype=torch.long, device=device)
        for t in range(1, longest + 1):
            log_probabilities = scorer.step(state, tokens).view(len(alive), n_groups, k, -1)
            at_limit = [t >= max_lengths[i] for i in alive]
            chosen = torch.zeros(len(alive), log_probabilities.shape[-1], device=device)
            next_tokens = torch.empty(len(alive), n_groups, k, dtype=torch.long, device=device)
            parents = torch.empty_like(next_tokens)
            for g in range(n_groups):
                best, ids, origin = self._candidates(log_probabilities[:, g], sums[:, g], chosen)
                is_end = ids == scorer.eos_id
                if bool(is_end[:, :k].any()) or any(at_limit):
                    place = origin + (torch.arange(len(alive), device=device)[:, None] * n_groups + g) * k
                    self._finish(scorer.eos_id, alive, g, at_limit, best, ids, history, place, t, finished)
                # The best k that go on, in rank order: an ended or impossible one sorts last, ties keep their order.
                is_out = is_end | best.isneginf()
                order = is_out.to(torch.int8).argsort(dim=1, stable=True)[:, :k]
                going = best.gather(1, order).masked_fill(is_out.gather(1, order), -math.inf)
                going = self._stopped(alive, g, going, finished, max_lengths)
                sums[:, g], next_tokens[:, g], parents[:, g] = going, ids.gather(1, order), origin.gather(1, order)
                chosen.scatter_add_(1, next_tokens[:, g], going.isfinite().float())
            is_open = sums.isfinite().flatten(1).any(1).tolist()
            staying = [s for s, i in enumerate(alive) if is_open[s] and not at_limit[s]]
            if not staying:
                break
            rows = parents + torch.arange(len(alive) * n_groups, device=device).view(-1, n_groups, 1) * k
            if len(staying) < len(alive):
                kept = torch.tensor(staying, device=device)
                rows, sums, next_tokens = rows[kept], sums[kept], next_tokens[kept]
                alive = [alive[s] for s in staying]
            rows, tokens = rows.reshape(-1), next_tokens.reshape(-1)
            state = scorer.select(state, rows)
            history = torch.cat([history[rows], tokens[:, None]], dim=1)
        return [self._best(groups) for groups in finished]

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
        row_best, row_tokens = (totals - self.strength * chosen[:, None]).topk(min(2 * k, vocabulary), dim=-1)
        place = row_best.flatten(1).topk(min(wanted, row_best[0].numel()), dim=-1).indices
        ids = row_tokens.flatten(1).gather(1, place)
        origin = place // row_best.shape[-1]
        return totals.flatten(1).gather(1, origin * vocabulary + ids), ids, origin

    def _finish(
        self,
        eos_id: int,
        alive: list[int],
        group: int,
        at_limit: list[bool],
        best: Tensor,
        ids: Tensor,
        history: Tensor,
        place: Tensor,
        length: int,
        finished: list[list[list[Hypothesis]]],
    ) -> None:
        """Store what ends at this step; at the length limit also what is cut there, ranked after what ended."""
        k = self.width // self.groups
        candidates = zip(best.tolist(), ids.tolist(), place.tolist(), strict=True)
        for s, (i, ranked) in enumerate(zip(alive, candidates, strict=True)):
            found = finished[i][group]
            cut: list[Hypothesis] = []
            for rank, (total, token, row) in enumerate(zip(*ranked, strict=True)):
                if not math.isfinite(total):
                    continue
                score = total / self.penalty(length)
                if token != eos_id:
                    cut.append(Hypothesis([*history[row].tolist(), token], total, score, False))
                elif rank < k:
                    found.append(Hypothesis(history[row].tolist(), total, score, True))
            if at_limit[s]:
                found += cut[: max(0, self.n_best - len(found))]

    def _stopped(
        self,
        alive: list[int],
        group: int,
        going: Tensor,
        finished: list[list[list[Hypothesis]]],
        max_lengths: Sequence[int],
    ) -> Tensor:
        """The sums of a group (M, k), those of sources for which it is done at -inf: it chooses nothing more."""
        k = self.width // self.groups
        full = [s for s, i in enumerate(alive) if len(finished[i][group]) >= k]
        if self.stop == "exact" and full:
            highest = going.max(dim=1).values.tolist()
            # A sum only falls and the penalty only grows: no open hypothesis can end above this.
            full = [
                s
                for s in full
                if highest[s] / self.penalty(max_lengths[alive[s]])
                <= sorted((h.score for h in finished[alive[s]][group]), reverse=True)[k - 1]
            ]
        return going.index_fill(0, torch.tensor(full, device=going.device), -math.inf) if full else going

    def _best(self, groups: list[list[Hypothesis]]) -> list[Hypothesis]:
        """``n_best`` hypotheses out of all groups, the best of each group before any second."""
        ranked = [sorted(group, key=lambda h: -h.score) for group in groups]
        found: dict[tuple[tuple[int, ...], bool], Hypothesis] = {}
        for level in range(max(map(len, ranked))):
            for h in sorted((group[level] for group in ranked if level < len(group)), key=lambda h: -h.score):
                if len(found) < self.n_best:
                    found.setdefault((tuple(h.tokens), h.is_finished), h)
        return sorted(found.values(), key=lambda h: -h.score)
