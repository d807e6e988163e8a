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
from recambio.decoding.searches.beam import Beam, BeamWalk, Candidates
from recambio.decoding.searches.stepwise import Stepwise, Walk


class ConstrainedBeam(Stepwise):
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
        self.beam, self.spelling = beam, spelling
        self.width = beam.width

    def walk(self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]) -> Walk:
        """See :meth:`Stepwise.walk`. A source with phrases is a :class:`recambio.decoding.required.Required`."""
        return _ConstrainedWalk(self, scorer, sources, max_lengths)


class _ConstrainedWalk(BeamWalk):
    """A beam with, for each row, the places (M, k, C) at which its text stands in each of the source's phrases."""

    def __init__(
        self,
        search: ConstrainedBeam,
        scorer: Scorer[Any],
        sources: Sequence[Sequence[int]],
        max_lengths: Sequence[int],
    ) -> None:
        super().__init__(search.beam, scorer, [unwrapped(s) for s in sources], max_lengths)
        self.goes_on = search.spelling.goes_on.to(scorer.device)
        self.tables = PhraseTables(sources, search.spelling.symbols, scorer.device)
        self.places = self.tables.start[:0, None].expand(-1, self.width, -1)
        # The places of the last candidates, (M, Q, C).
        self.after = self.places

    def enter(self, sources: Sequence[int]) -> None:
        """See :meth:`Walk.enter`."""
        super().enter(sources)
        places = self.tables.start[list(sources), None].expand(-1, self.width, -1)
        self.places = torch.cat([self.places, places])

    def candidates(self, log_probabilities: Tensor) -> Candidates:
        """The first 2k in the order of the banks."""
        tokens, values = self._continuations(log_probabilities)
        after = self.tables.read(self.places, tokens)
        totals = (self.sums[..., None] + values).flatten(1)
        order = _allotted(totals, self.tables.met(after).flatten(1))[:, : 2 * self.width]
        self.after = _rows(after.flatten(1, 2), order)
        return Candidates(totals.gather(1, order), tokens.flatten(1).gather(1, order), order // tokens.shape[-1])

    def lacking(self) -> list[list[int]]:
        """See :meth:`BeamWalk.lacking`: phrases."""
        return self.tables.missing(self.after).tolist()  # type: ignore[no-any-return]

    def follow(self, places: Tensor) -> None:
        """See :meth:`BeamWalk.follow`."""
        self.places = _rows(self.after, places)

    def keep(self, sources: Tensor) -> None:
        """See :meth:`BeamWalk.keep`."""
        self.places = self.places[sources]

    def _continuations(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """What each row may go on with, no token twice.

        Args:
            log_probabilities: (M * k, V)

        Returns:
            Tokens and their log-probabilities, (M, k, Q) each; -inf where there is none.
        """
        places, tables = self.places, self.tables
        n_rows, vocabulary = log_probabilities.shape
        if places.shape[-1]:
            is_open = tables.missing(places).view(-1, 1) > 0
            is_eos = torch.arange(vocabulary, device=is_open.device) == self.scorer.eos_id
            log_probabilities = log_probabilities.masked_fill(is_open & is_eos, -math.inf)
        values, ids = best_tokens(log_probabilities, min(2 * self.width, vocabulary))
        proposed = tables.proposals[places].view(n_rows, -1)
        if places.shape[-1]:
            # The last word of a phrase must be able to end there, even if none of the row's best tokens lets it.
            is_pending = tables.is_pending[places].any(-1).view(-1)
            closing = torch.full_like(proposed[:, :1], -1)
            others = log_probabilities[is_pending].masked_fill(self.goes_on, -math.inf)
            closing[is_pending] = others.argmax(-1, keepdim=True)
            proposed = torch.cat([proposed, closing], dim=1)
        repeats = (proposed[:, :, None] == proposed[:, None]).tril(-1).any(-1)
        is_known = repeats | (proposed[:, :, None] == ids[:, None]).any(-1) | (proposed < 0)
        proposed = proposed.clamp_min(0)
        added = log_probabilities.gather(1, proposed).masked_fill(is_known, -math.inf)
        shape = (*places.shape[:2], -1)
        return torch.cat([ids, proposed], dim=1).view(shape), torch.cat([values, added], dim=1).view(shape)


def _rows(x: Tensor, places: Tensor) -> Tensor:
    """x: (M, Q, C) at places (M, Q'). Returns: (M, Q', C)."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[-1]))


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
