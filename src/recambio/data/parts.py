"""Parts of a training set that come more or less often than once an epoch: which sentences an epoch holds, and how often."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
"""Whole numbers. Ints of sentences, of which there are as many as an epoch is long, take 32 bits where these suffice."""


def index_type(count: int) -> type[np.int32] | type[np.int64]:
    """The narrowest integers that count so many."""
    return np.int32 if count < 1 << 31 else np.int64


@dataclass(frozen=True, slots=True)
class Part:
    """Sentences that stand together in the token store.

    Attributes:
        name: What reports call it.
        pairs: How many there are.
        weight: How many times they come in an epoch: the whole number of times each, and of a fraction as large a share.
    """

    name: str
    pairs: int
    weight: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        return {"name": self.name, "pairs": self.pairs, "weight": self.weight, "per_epoch": self.per_epoch}

    @property
    def times(self) -> int:
        """How often each comes in every epoch."""
        return int(self.weight)

    @property
    def share(self) -> int:
        """How many come once more in an epoch."""
        fraction = self.weight - self.times
        return max(1, int(fraction * self.pairs + 0.5)) if fraction and self.pairs else 0

    @property
    def per_epoch(self) -> int:
        """How many pairs of it an epoch holds, repetitions counted."""
        return self.times * self.pairs + self.share


def epoch_sentences(parts: Sequence[Part], epoch: int, seed: int, data_hash: str) -> Ints:
    """Ints of the sentences of an epoch, part by part; those that come several times stand there as often.

    The share that comes once more is a run of a random order of the part. The next epoch takes the next run, so that all have
    come after ``ceil(pairs / share)`` epochs; then another order is drawn.

    Args:
        parts: All of the token store, in order.
        epoch: From 0.
        seed: The run's seed.
        data_hash: Hash of the token store's content.
    """
    chosen: list[Ints] = []
    dtype = index_type(sum(part.pairs for part in parts))
    start = 0
    for number, part in enumerate(parts):
        chosen += [np.arange(start, start + part.pairs, dtype=dtype)] * part.times
        if share := part.share:
            order_number, turn = divmod(epoch, -(-part.pairs // share))
            bits = bit_generator(seed, order_number, f"{data_hash}/{number}")
            order = np.argsort(bits.random_raw(part.pairs), kind="stable")
            chosen.append((start + order[(turn * share + np.arange(share)) % part.pairs]).astype(dtype))
        start += part.pairs
    return np.concatenate(chosen) if len(chosen) > 1 else chosen[0]


def bit_generator(seed: int, number: int, what: str) -> np.random.PCG64:
    """Random bits that follow from its arguments.

    Raw output only may be drawn: numpy keeps that the same over its versions, unlike its permutations.
    """
    digest = hashlib.blake2b(f"{seed}/{number}/{what}".encode(), digest_size=16).digest()
    return np.random.PCG64(int.from_bytes(digest, "little"))
