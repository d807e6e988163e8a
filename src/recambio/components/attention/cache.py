"""Key-value caches of the softmax attentions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recambio.components.context import Cache

_held = threading.local()


class Moves(NamedTuple):
    """What a selection of as many rows as there are changes.

    Attributes:
        pairs: The places that change, each with the row that comes there, none of which changes itself.
        places, sources: The two as tensors.
    """

    pairs: list[tuple[int, int]]
    places: Tensor
    sources: Tensor

    def within(self, group: int) -> bool:
        """Whether every row stays in its group of ``group`` neighbours."""
        return all(place // group == source // group for place, source in self.pairs)


def moves(rows: Tensor, count: int) -> Moves | None:
    """What a selection of ``count`` rows from as many changes, if it can be done in place.

    All caches of a model are asked with the same two tensors, one for the rows and one for their sources: the last answers are kept.

    Returns:
        None if a row that changes is wanted elsewhere, or rows leave or enter.
    """
    if rows.numel() != count:
        return None
    known: list[tuple[Tensor, Moves | None]] = getattr(_held, "answers", [])
    for held, answer in known:
        if held is rows:
            return answer
    wanted = rows.tolist()
    pairs = [(place, source) for place, source in enumerate(wanted) if source != place]
    answer = None
    if all(wanted[source] == source for _, source in pairs):
        places, sources = torch.tensor(pairs, dtype=torch.long, device=rows.device).view(-1, 2).T.contiguous()
        answer = Moves(pairs, places, sources)
    _held.answers = [*known[-1:], (rows, answer)]
    return answer


def is_identity(rows: Tensor, count: int) -> bool:
    """Whether selecting these rows from ``count`` changes nothing."""
    found = moves(rows, count)
    return found is not None and not found.pairs


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
            self._resize(max(needed, 2 * self.max_length))
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
            self._move(found)
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

    def tensors(self, n_slots: int) -> tuple[Tensor, ...] | None:
        """See :meth:`Cache.tensors`."""
        if type(self) is not KeyValueCache or self._keys is None or self._values is None or self._longest >= n_slots:
            return None
        if self.max_length != n_slots:
            self._resize(n_slots)
        return self._keys, self._values

    def standing_in(self, tensors: Sequence[Tensor], lengths: Tensor) -> FixedCache:
        """See :meth:`Cache.standing_in`."""
        keys, values = tensors
        return FixedCache(keys, values, lengths)

    def take(self, tensors: Sequence[Tensor], lengths: Tensor) -> None:
        """See :meth:`Cache.take`. The storage has been written to."""
        self.lengths = lengths
        self._longest += 1
        if self._uniform is not None:
            self._uniform += 1

    def _move(self, found: Moves) -> None:
        if not found.pairs:
            return
        places, sources = found.places, found.sources
        if self._uniform is None:
            sources_of_lengths = sources.to(self.lengths.device)
            self.lengths = self.lengths.index_copy(0, places.to(self.lengths.device), self.lengths[sources_of_lengths])
            self._longest = int(self.lengths.max())
        for storage in (self._keys, self._values):
            if storage is not None:
                filled = storage[:, :, : self._longest]
                with torch.no_grad():  # nobody trains through decoding
                    filled.index_copy_(0, places, filled.index_select(0, sources))

    def _resize(self, slots: int) -> None:
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
            picked = storage.new_zeros(len(rows), *storage.shape[1:])
        with torch.no_grad():  # nobody trains through decoding, and `out` saves a copy
            torch.index_select(storage[:, :, :filled], 0, rows, out=picked[:, :, :filled])
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


class FixedCache(KeyValueCache):
    """The same while a step is recorded: what it does depends on shapes alone, and all slots are handed out.

    Args:
        keys: (R, H, S, Dk), written to.
        values: (R, H, S, Dv), likewise.
        lengths: (R,) tokens each row holds, fewer than S.
    """

    def __init__(self, keys: Tensor, values: Tensor, lengths: Tensor) -> None:
        super().__init__(0, keys.shape[2])
        self._keys, self._values, self.lengths = keys, values, lengths

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`KeyValueCache.append`; k: (R, H, 1, Dk), v: (R, H, 1, Dv)."""
        assert self._keys is not None and self._values is not None
        for storage, new in ((self._keys, k), (self._values, v)):
            if len(self.lengths) == 1:
                storage.index_copy_(2, self.lengths, new)
            else:
                rows = torch.arange(len(self.lengths), device=new.device)
                storage.transpose(1, 2).index_put_((rows, self.lengths), new[:, :, 0])
        return self._keys, self._values

    def tensors(self, n_slots: int) -> tuple[Tensor, ...]:
        """See :meth:`Cache.tensors`."""
        assert self._keys is not None and self._values is not None
        return self._keys, self._values


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

    def lengthened(self, length: int) -> MemoryCache:
        """See :meth:`Cache.lengthened`."""
        return MemoryCache(_padded(self.k, length), _padded(self.v, length))

    def tensors(self, n_slots: int) -> tuple[Tensor, ...] | None:
        """See :meth:`Cache.tensors`."""
        return (self.k, self.v) if type(self) is MemoryCache else None

    def standing_in(self, tensors: Sequence[Tensor], lengths: Tensor) -> MemoryCache:
        """See :meth:`Cache.standing_in`."""
        return MemoryCache(*tensors)

    def take(self, tensors: Sequence[Tensor], lengths: Tensor) -> None:
        """See :meth:`Cache.take`. A step only reads."""


def _padded(x: Tensor, length: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[2]))
