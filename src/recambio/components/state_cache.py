"""The cache of the parts that keep a running state instead of every token: sums, recurrences, windows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recambio.components.context import Cache


class StateCache(Cache):
    """Tensors of a fixed size a row, whatever number of tokens the row has seen.

    Args:
        **state: By name, each (R, ...): what a row starts with. Whoever owns the cache reads and replaces the entries of
            ``state`` and says how far it came with :meth:`advance`.
    """

    def __init__(self, **state: Tensor) -> None:
        self.state = state
        first = next(iter(state.values()))
        self.lengths = torch.zeros(first.shape[0], dtype=torch.long, device=first.device)

    def advance(self, n_new: int, **state: Tensor) -> None:
        """Every row has seen ``n_new`` more tokens; its new state."""
        self.lengths = self.lengths + n_new
        self.state = state

    def select(self, rows: Tensor) -> StateCache:
        """See :meth:`Cache.select`."""
        return self._with({name: x[rows] for name, x in self.state.items()}, self.lengths[rows])

    def join(self, other: Cache) -> StateCache:
        """See :meth:`Cache.join`."""
        assert isinstance(other, StateCache)
        joined = {name: torch.cat([x, other.state[name]]) for name, x in self.state.items()}
        return self._with(joined, torch.cat([self.lengths, other.lengths]))

    def shortened(self, length: int) -> StateCache:
        """See :meth:`Cache.shortened`: sums hold no padding."""
        return self

    def lengthened(self, length: int) -> StateCache:
        """See :meth:`Cache.lengthened`: sums hold no padding."""
        return self

    def tensors(self, n_slots: int) -> tuple[Tensor, ...] | None:
        """See :meth:`Cache.tensors`."""
        return tuple(x.contiguous() for x in self.state.values()) if type(self) is StateCache else None

    def standing_in(self, tensors: Sequence[Tensor], lengths: Tensor) -> StateCache:
        """See :meth:`Cache.standing_in`."""
        return self._with(dict(zip(self.state, tensors, strict=True)), lengths)

    def take(self, tensors: Sequence[Tensor], lengths: Tensor) -> None:
        """See :meth:`Cache.take`."""
        self.state, self.lengths = dict(zip(self.state, tensors, strict=True)), lengths

    @staticmethod
    def _with(state: dict[str, Tensor], lengths: Tensor) -> StateCache:
        cache = StateCache(**state)
        cache.lengths = lengths
        return cache
