"""The loop of the searches that go token by token: finished sources leave the batch, and waiting ones take their places where that pays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, Search

_ENTER_SHARE = 4
"""Waiting sources enter once the free places are one in this many: entering costs a pass of the encoder and a copy of the caches."""

_FEW_ROWS = 32
"""Up to so many rows a CPU's step costs nearly the same whatever their number. A larger batch is let run empty there: rows that stand at
one length need no mask, and what a step costs shrinks with them (benchmarks/README.md)."""


class Walk(ABC):
    """What a search holds of the sources that are in the batch, and what it has found.

    Rows stand source by source, as many for each.

    Args:
        scorer: Gives log-probabilities.
        sources: All that are to be translated, as the scorer reads them.
        max_lengths: The most tokens of each, EOS included.
        width: Rows that a source takes.

    Attributes:
        alive: The sources in the batch, by number, in the order of their rows.
        tokens: (R,) the last token of each row.
    """

    def __init__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int], width: int
    ) -> None:
        self.scorer, self.sources, self.max_lengths, self.width = scorer, sources, max_lengths, width
        self.alive: list[int] = []
        self.tokens = torch.empty(0, dtype=torch.long, device=scorer.device)

    def enter(self, sources: Sequence[int]) -> None:
        """Sources come into the batch, after those that are there."""
        self.alive += sources
        first = torch.full((len(sources) * self.width,), self.scorer.sos_id, device=self.tokens.device)
        self.tokens = torch.cat([self.tokens, first])

    @abstractmethod
    def advance(self, log_probabilities: Tensor) -> Tensor | None:
        """One token more: log_probabilities (R, V). Returns: which of the R rows the batch now has, in order; None if the same."""

    @abstractmethod
    def results(self) -> list[list[Hypothesis]]:
        """For each source its hypotheses, best first, once none is in the batch."""


class GrowingWalk(Walk):
    """A walk whose rows move: which row continues which is chosen anew at each step.

    Attributes:
        lengths: What each of ``alive`` has said, in tokens.
        history: (R, T), what each row has said: the last tokens of a row, as many as its source's length.
    """

    def __init__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int], width: int
    ) -> None:
        super().__init__(scorer, sources, max_lengths, width)
        self.lengths: list[int] = []
        self.history = self.tokens.new_empty(0, 0)

    def enter(self, sources: Sequence[int]) -> None:
        """See :meth:`Walk.enter`."""
        super().enter(sources)
        longest = max(self.lengths, default=0)
        self.lengths += [0] * len(sources)
        silent = self.history.new_zeros(len(sources) * self.width, longest)
        self.history = torch.cat([self.history[:, self.history.shape[1] - longest :], silent])

    def grow(self) -> list[bool]:
        """Count one token more. Returns: for each of ``alive`` whether it may say no other."""
        self.lengths = [n + 1 for n in self.lengths]
        return [n >= self.max_lengths[i] for i, n in zip(self.alive, self.lengths, strict=True)]

    def said(self, source: int, place: int) -> list[int]:
        """What the row at a place of one of ``alive`` had said before the token that is being counted."""
        row, length = self.history[source * self.width + place], self.lengths[source] - 1
        return row[len(row) - length :].tolist()  # type: ignore[no-any-return]

    def go_on(self, staying: Sequence[int], parents: Tensor, tokens: Tensor) -> tuple[Tensor | None, Tensor]:
        """Take the step.

        Args:
            staying: Which of the M sources.
            parents: (M, width), the places that rows continue.
            tokens: (M, width), what they say.

        Returns:
            ``staying`` as a tensor, None if all do; and what :meth:`advance` returns.
        """
        rows = parents + torch.arange(len(self.alive), device=parents.device)[:, None] * self.width
        kept = None
        if len(staying) < len(self.alive):
            kept = torch.tensor(staying, dtype=torch.long, device=rows.device)
            rows, tokens = rows[kept], tokens[kept]
            self.alive, self.lengths = [self.alive[s] for s in staying], [self.lengths[s] for s in staying]
        rows, self.tokens = rows.reshape(-1), tokens.reshape(-1)
        self.history = torch.cat([self.history[rows], self.tokens[:, None]], dim=1)
        return kept, rows


class Stepwise(Search):
    """A search over a batch in which every source may stand at a token of its own."""

    @abstractmethod
    def walk(self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]) -> Walk:
        """The search's own side of the loop, before any source is in the batch."""

    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """See :meth:`Search.__call__`. All enter at once."""
        return self.run(scorer, sources, max_lengths, lambda longest: len(sources))

    @torch.inference_mode()
    def run(
        self,
        scorer: Scorer[Any],
        sources: Sequence[Sequence[int]],
        max_lengths: Sequence[int],
        room: Callable[[int], int],
    ) -> list[list[Hypothesis]]:
        """Translate any number of sources, as many at a time as there is room for.

        Args:
            scorer: Gives log-probabilities of next tokens.
            sources: Token ids, EOS included, in the order in which they enter: the longest first wastes least.
            max_lengths: The most target tokens of each, EOS included.
            room: From the longest source, in tokens, to how many fit into the batch.

        Returns:
            For each source its hypotheses, best first; at least one.
        """
        walk = self.walk(scorer, sources, max_lengths)
        state: Any = None
        n_entered = 0
        while walk.alive or n_entered < len(sources):
            if n_entered < len(sources):
                places = max(1, room(max(len(sources[i]) for i in (*walk.alive, n_entered))))
                n_free = places - len(walk.alive)
                is_kept_full = scorer.device.type != "cpu" or places * self.width <= _FEW_ROWS
                if not walk.alive or (is_kept_full and n_free * _ENTER_SHARE >= places):
                    entering = range(n_entered, min(len(sources), n_entered + n_free))
                    entered = self._start(walk, entering)
                    state = scorer.join(state, entered) if walk.alive else entered
                    walk.enter(entering)
                    n_entered = entering.stop
            rows = walk.advance(scorer.step(state, walk.tokens))
            if rows is not None and walk.alive:
                state = scorer.select(state, rows)
        return walk.results()

    def _start(self, walk: Walk, sources: Sequence[int]) -> Any:
        """The scorer's state of sources that enter, as many rows for each as it takes."""
        longest = max(walk.max_lengths[i] for i in sources)
        state = walk.scorer.start([walk.sources[i] for i in sources], longest)
        if walk.width == 1:
            return state
        rows = torch.arange(len(sources), device=walk.scorer.device).repeat_interleave(walk.width)
        return walk.scorer.select(state, rows)
