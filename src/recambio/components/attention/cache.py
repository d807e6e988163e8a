"""Key-value caches of the softmax attentions."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from recambio.components.context import Cache

_held = threading.local()


def moves(rows: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    """What a selection of ``count`` rows from as many changes, if it can be done in place.

    All caches of a model are asked with the same two tensors, one for the rows and one for their sources: the last answers are kept.

    Returns:
        The places that change and the rows that come there, none of which changes itself; empty if nothing does, None if a row that
        changes is wanted elsewhere, or rows leave or enter.
    """
    if rows.numel() != count:
        return None
    known: list[tuple[Tensor, tuple[Tensor, Tensor] | None]] = getattr(_held, "answers", [])
    for held, answer in known:
        if held is rows:
            return answer
    places = (rows != torch.arange(count, device=rows.device)).nonzero()[:, 0]
    sources = rows[places]
    in_place = places.numel() == 0 or bool((rows[sources] == sources).all())
    answer = (places, sources) if in_place else None
    _held.answers = [*known[-1:], (rows, answer)]
    return answer


def is_identity(rows: Tensor, count: int) -> bool:
    """Whether selecting these rows from ``count`` changes nothing."""
    found = moves(rows, count)
    return found is not None and found[0].numel() == 0


class KeyValueCache(Cache):
    """Keys and values of the tokens decoded so far, in preallocated storage.

    Row r keeps its token at position p in slot p, so rows of different lengths stand side by side. While all rows hold
    equally many tokens, as in a plain batch, appending is a slice copy and no mask is needed.

    Args:
        rows: R.
        max_length: Slots to allocate at first; the storage doubles when a row outgrows it.
    """

    def __init__(self, rows: int, max_length: int) -> None:
        self.max_length = max(1, max_length)
        self.lengths = torch.zeros(rows, dtype=torch.long)
        self._uniform: int | None = 0
        self._longest = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None
        # The storage that the last selection copied from: the next one writes there, so a beam that reorders at every step
        # takes no new memory.
        self._spare: tuple[Tensor, Tensor] | None = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store T new tokens a row and hand out all that is held.

        Args:
            k: (R, H, T, Dk); v: (R, H, T, Dv).

        Returns:
            Keys (R, H, S, Dk) and values (R, H, S, Dv), views with S = the longest row. A shorter row's slots past its length
            hold anything; the context's mask hides them.
        """
        n_new = k.shape[2]
        needed = self._longest + n_new
        if self._keys is None or self._values is None:
            self.max_length = max(self.max_length, needed)
            self._keys = k.new_zeros(*k.shape[:2], self.max_length, k.shape[3])
            self._values = v.new_zeros(*v.shape[:2], self.max_length, v.shape[3])
            self.lengths = self.lengths.to(k.device)
        elif needed > self.max_length:
            self._grow(max(needed, 2 * self.max_length))
        if self._uniform is not None:
            self._keys.narrow(2, self._uniform, n_new).copy_(k)
            self._values.narrow(2, self._uniform, n_new).copy_(v)
            self._uniform = needed
        else:
            rows = torch.arange(k.shape[0], device=k.device)[:, None]
            slots = self.lengths[:, None] + torch.arange(n_new, device=k.device)
            # (R, H, T, Dk) -> (R, T, H, Dk), the order in which a pair of index tensors around a slice addresses storage
            self._keys[rows, :, slots] = k.transpose(1, 2)
            self._values[rows, :, slots] = v.transpose(1, 2)
        self.lengths = self.lengths + n_new
        self._longest = needed
        return self._keys.narrow(2, 0, needed), self._values.narrow(2, 0, needed)

    def select(self, rows: Tensor) -> KeyValueCache:
        """See :meth:`Cache.select`. Only rows that change are copied, and only as far as they are filled."""
        if (found := moves(rows, len(self.lengths))) is not None:
            self._move(*found)
            return self
        chosen = KeyValueCache(len(rows), self.max_length)
        chosen.lengths = self.lengths.to(rows.device)[rows]
        chosen._uniform, chosen._longest = self._uniform, self._longest
        if chosen._uniform is None:
            chosen._longest = int(chosen.lengths.max()) if len(rows) else 0
            chosen._uniform = chosen._longest if bool((chosen.lengths == chosen._longest).all()) else None
        if self._keys is not None and self._values is not None:
            spare_keys, spare_values = self._spare or (None, None)
            chosen._keys = self._pick(self._keys, spare_keys, rows, chosen)
            chosen._values = self._pick(self._values, spare_values, rows, chosen)
            chosen._spare = self._keys, self._values
        return chosen

    def join(self, other: Cache) -> KeyValueCache:
        """See :meth:`Cache.join`."""
        assert isinstance(other, KeyValueCache)
        joined = KeyValueCache(0, max(self.max_length, other.max_length))
        joined.lengths = torch.cat([self.lengths.to(other.lengths.device), other.lengths])
        joined._longest = max(self._longest, other._longest)
        joined._uniform = self._uniform if self._uniform == other._uniform else None
        joined._keys = self._stack(self._keys, other._keys, other, joined)
        joined._values = self._stack(self._values, other._values, other, joined)
        return joined

    def _move(self, places: Tensor, sources: Tensor) -> None:
        if places.numel() == 0:
            return
        if self._uniform is None:
            self.lengths[places.to(self.lengths.device)] = self.lengths[sources.to(self.lengths.device)]
        for storage in (self._keys, self._values):
            if storage is not None:
                filled = storage[:, :, : self._longest]
                with torch.no_grad():  # nobody trains through decoding
                    filled.index_copy_(0, places, filled.index_select(0, sources))

    def _grow(self, slots: int) -> None:
        assert self._keys is not None and self._values is not None
        for name in ("_keys", "_values"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros(*old.shape[:2], slots, old.shape[3])
            new[:, :, : self._longest] = old[:, :, : self._longest]
            setattr(self, name, new)
        self.max_length = slots

    @staticmethod
    def _pick(storage: Tensor, spare: Tensor | None, rows: Tensor, chosen: KeyValueCache) -> Tensor:
        filled = chosen._longest
        if spare is not None and spare.shape[0] >= len(rows) and spare.shape[1:] == storage.shape[1:]:
            picked = spare[: len(rows)]
        else:
            picked = storage.new_empty(len(rows), *storage.shape[1:])
        with torch.no_grad():  # nobody trains through decoding, and `out` saves a copy
            torch.index_select(storage[:, :, :filled], 0, rows, out=picked[:, :, :filled])
        if chosen._uniform is None:
            # A shorter row's slots are read before they are written: masked, but a weight of 0 doesn't silence a NaN.
            picked[:, :, filled:] = 0
        return picked

    def _stack(
        self, ours: Tensor | None, theirs: Tensor | None, other: KeyValueCache, joined: KeyValueCache
    ) -> Tensor | None:
        like = ours if ours is not None else theirs
        if like is None:
            return None
        n_ours = len(self.lengths)
        storage = like.new_zeros(len(joined.lengths), like.shape[1], joined.max_length, like.shape[3])
        # Only what each side has filled: its other slots may hold anything while its rows are equally long.
        if ours is not None:
            storage[:n_ours, :, : self._longest] = ours[:, :, : self._longest]
        if theirs is not None:
            storage[n_ours:, :, : other._longest] = theirs[:, :, : other._longest]
        return storage


class MemoryCache(Cache):
    """Keys and values of the encoder's output for cross-attention: made once, never appended to.

    Args:
        k: (M, H, S, Dk) keys of M sources.
        v: (M, H, S, Dv) values.
    """

    def __init__(self, k: Tensor, v: Tensor) -> None:
        self.k, self.v = k.contiguous(), v.contiguous()
        self.lengths = torch.full((k.shape[0],), k.shape[2], device=k.device)

    def select(self, rows: Tensor) -> MemoryCache:
        """See :meth:`Cache.select`."""
        if is_identity(rows, self.k.shape[0]):
            return self
        return MemoryCache(self.k[rows], self.v[rows])

    def join(self, other: Cache) -> MemoryCache:
        """See :meth:`Cache.join`. The shorter side is padded; the context's mask hides the padding."""
        assert isinstance(other, MemoryCache)
        longest = max(self.k.shape[2], other.k.shape[2])
        return MemoryCache(*(torch.cat([_padded(a, longest), _padded(b, longest)])
                             for a, b in ((self.k, other.k), (self.v, other.v))))  # fmt: skip

    def shortened(self, length: int) -> MemoryCache:
        """See :meth:`Cache.shortened`."""
        return MemoryCache(self.k[:, :, :length], self.v[:, :, :length])


def _padded(x: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[2]))
