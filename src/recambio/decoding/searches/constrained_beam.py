"""Beam search for translations that hold given phrases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recambio.decoding.best import best_tokens
from recambio.decoding.required import PhraseTables, Spelling, unwrapped
from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.decoding.searches.beam import Beam


class ConstrainedBeam(Search):
    """Lexically constrained decoding with dynamic beam allocation.

    A hypothesis belongs to the bank of as many tokens of its phrases as it has said. Its continuations are its best tokens and those that
    bring a phrase forward or let it end; the beam's places go to the best of each bank in turn, the fullest bank first, then to the second
    best of each, and so on. EOS is possible once all phrases are said. A source without phrases is searched as :class:`Beam` does.

    Papers: Post and Vilar 2018, "Fast Lexically Constrained Decoding with Dynamic Beam Allocation for Neural Machine Translation",
    https://arxiv.org/abs/1804.06609; Hu et al. 2019, "Improved Lexically Constrained Decoding for Translation and Monolingual
    Rewriting", https://aclanthology.org/N19-1090 (phrases of a whole batch at once).
    Differs from the papers: a phrase is a text, found by an automaton over the bytes that tokens spell, so one that the model says in other
    tokens than the tokenizer's counts as well; phrases may share words. Of each hypothesis the best ``2 * width`` tokens are
    ranked, of which the paper takes those that are also among the best of the source, and the first.

    What is cut at the length limit comes after what ended, the fewest missing phrases first.

    Args:
        beam: Its width, length penalty, stop and number of hypotheses are taken over.
        spelling: What tokens spell.
    """

    def __init__(self, beam: Beam, spelling: Spelling) -> None:
        self.width, self.penalty, self.stop, self.n_best = beam.width, beam.penalty, beam.stop, beam.n_best
        self.spelling = spelling

    @torch.inference_mode()
    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """See :meth:`Search.__call__`. A source with phrases is a :class:`recambio.decoding.required.Required`."""
        k, device, longest = self.width, scorer.device, max(max_lengths)
        tables = PhraseTables(sources, self.spelling.symbols, device)
        state = scorer.start([unwrapped(s) for s in sources], longest)
        state = scorer.select(state, torch.arange(len(sources), device=device).repeat_interleave(k))
        alive = list(range(len(sources)))
        # With each hypothesis the number of phrases that it lacks.
        found: list[list[tuple[int, Hypothesis]]] = [[] for _ in sources]
        tokens = torch.full((len(alive) * k,), scorer.sos_id, dtype=torch.long, device=device)
        # All rows of a source start equal: only the first may continue, or the beam would hold k copies of one hypothesis.
        sums = torch.full((len(alive), k), -math.inf, device=device)
        sums[:, 0] = 0.0
        places = tables.start[:, None].expand(-1, k, -1)
        history = torch.empty(len(alive) * k, 0, dtype=torch.long, device=device)
        for t in range(1, longest + 1):
            ids, values = self._candidates(scorer.step(state, tokens), places, tables, scorer.eos_id)
            width = ids.shape[-1]
            after = tables.read(places, ids)
            totals = (sums[..., None] + values).flatten(1)
            order = _allotted(totals, tables.met(after).flatten(1))[:, : 2 * k]
            best, ids, parents = totals.gather(1, order), ids.flatten(1).gather(1, order), order // width
            after = after.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, places.shape[-1]))
            is_end = ids == scorer.eos_id
            at_limit = [t >= max_lengths[i] for i in alive]
            if bool(is_end[:, :k].any()) or any(at_limit):
                rows = history.view(len(alive), k, -1)
                self._finish(scorer.eos_id, alive, at_limit, best, ids, parents, tables.missing(after), rows, found)
            # The first k that go on: an ended or impossible one sorts last, the others keep their order.
            going = (is_end | best.isneginf()).to(torch.int8).argsort(dim=1, stable=True)[:, :k]
            sums = best.gather(1, going).masked_fill(is_end.gather(1, going), -math.inf)
            next_tokens, parents = ids.gather(1, going), parents.gather(1, going)
            places = after.gather(1, going[..., None].expand(-1, -1, places.shape[-1]))
            staying = self._staying(alive, at_limit, sums, found, max_lengths)
            if not staying:
                break
            rows = parents + torch.arange(len(alive), device=device)[:, None] * k
            if len(staying) < len(alive):
                kept = torch.tensor(staying, device=device)
                rows, sums, next_tokens, places = rows[kept], sums[kept], next_tokens[kept], places[kept]
                alive = [alive[s] for s in staying]
            rows, tokens = rows.reshape(-1), next_tokens.reshape(-1)
            state = scorer.select(state, rows)
            history = torch.cat([history[rows], tokens[:, None]], dim=1)
        return [[h for _, h in sorted(f, key=lambda item: (item[0], -item[1].score))[: self.n_best]] for f in found]

    def _candidates(
        self, log_probabilities: Tensor, places: Tensor, tables: PhraseTables, eos_id: int
    ) -> tuple[Tensor, Tensor]:
        """What each row may go on with, no token twice.

        Args:
            log_probabilities: (M * k, V)
            places: (M, k, C)
            tables: The phrases.
            eos_id: Impossible where a phrase is missing.

        Returns:
            Tokens and their log-probabilities, (M, k, Q) each; -inf where there is none.
        """
        n_rows, vocabulary = log_probabilities.shape
        if places.shape[-1]:
            is_open = tables.missing(places).view(-1, 1) > 0
            is_eos = torch.arange(vocabulary, device=is_open.device) == eos_id
            log_probabilities = log_probabilities.masked_fill(is_open & is_eos, -math.inf)
        values, ids = best_tokens(log_probabilities, min(2 * self.width, vocabulary))
        proposed = tables.proposals[places].view(n_rows, -1)
        if places.shape[-1]:
            # The last word of a phrase must be able to end there, even if none of the row's best tokens lets it.
            is_pending = tables.is_pending[places].any(-1).view(-1)
            closing = torch.full_like(proposed[:, :1], -1)
            others = log_probabilities[is_pending].masked_fill(self.spelling.goes_on.to(closing.device), -math.inf)
            closing[is_pending] = others.argmax(-1, keepdim=True)
            proposed = torch.cat([proposed, closing], dim=1)
        repeats = (proposed[:, :, None] == proposed[:, None]).tril(-1).any(-1)
        is_known = repeats | (proposed[:, :, None] == ids[:, None]).any(-1) | (proposed < 0)
        proposed = proposed.clamp_min(0)
        added = log_probabilities.gather(1, proposed).masked_fill(is_known, -math.inf)
        shape = (*places.shape[:2], -1)
        return torch.cat([ids, proposed], dim=1).view(shape), torch.cat([values, added], dim=1).view(shape)

    def _finish(
        self,
        eos_id: int,
        alive: list[int],
        at_limit: list[bool],
        best: Tensor,
        ids: Tensor,
        parents: Tensor,
        missing: Tensor,
        history: Tensor,
        found: list[list[tuple[int, Hypothesis]]],
    ) -> None:
        """Store what ends at this step; at the length limit also what is cut there, after what ended."""
        length = history.shape[-1] + 1
        columns = zip(best.tolist(), ids.tolist(), parents.tolist(), missing.tolist(), strict=True)
        for s, (i, ranked) in enumerate(zip(alive, columns, strict=True)):
            cut: list[tuple[int, Hypothesis]] = []
            for rank, (total, token, parent, n_missing) in enumerate(zip(*ranked, strict=True)):
                if not math.isfinite(total):
                    continue
                words, score = history[s, parent].tolist(), total / self.penalty(length)
                if token != eos_id:
                    cut.append((n_missing, Hypothesis([*words, token], total, score, False)))
                elif rank < self.width:
                    found[i].append((0, Hypothesis(words, total, score, True)))
            if at_limit[s]:
                cut.sort(key=lambda item: (item[0], -item[1].score))
                found[i] += cut[: max(0, self.n_best - len(found[i]))]

    def _staying(
        self,
        alive: list[int],
        at_limit: list[bool],
        sums: Tensor,
        found: list[list[tuple[int, Hypothesis]]],
        max_lengths: Sequence[int],
    ) -> list[int]:
        """Places in ``alive`` of the sources that go on."""
        best_open = sums.max(dim=1).values.tolist()
        staying = []
        for s, i in enumerate(alive):
            is_full = len(found[i]) >= self.width
            if is_full and self.stop == "exact":
                # A sum only falls and the penalty only grows: no open hypothesis can end above this.
                bound = best_open[s] / self.penalty(max_lengths[i])
                is_full = bound <= sorted((h.score for _, h in found[i]), reverse=True)[self.width - 1]
            if not at_limit[s] and not is_full:
                staying.append(s)
        return staying


def _allotted(totals: Tensor, banks: Tensor) -> Tensor:
    """The order in which candidates get a place: the best of each bank, the fullest bank first, then the second best, and so on.

    Args:
        totals: (M, Q) log-probabilities; what is impossible comes last.
        banks: (M, Q), from 0.

    Returns:
        (M, Q) places of the candidates.
    """
    by_total = totals.argsort(dim=1, descending=True, stable=True)
    banks = banks.gather(1, by_total).masked_fill(totals.gather(1, by_total).isneginf(), -1)
    banks, order = banks.sort(dim=1, descending=True, stable=True)
    by_bank = by_total.gather(1, order)
    column = torch.arange(banks.shape[1], device=banks.device).expand_as(banks)
    is_first = torch.ones_like(banks, dtype=torch.bool)
    is_first[:, 1:] = banks[:, 1:] != banks[:, :-1]
    rank = column - column.masked_fill(~is_first, 0).cummax(dim=1).values
    turn = rank.masked_fill(banks < 0, banks.shape[1])
    # Sorted by bank before, the fullest first: a stable sort by turn keeps that.
    return by_bank.gather(1, turn.argsort(dim=1, stable=True))
