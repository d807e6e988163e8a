"""Who takes part. Loading one imports its toolkit, and no other's."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from benchmarks.peers.contender import Contender
from benchmarks.peers.sizes import Row, Size


@dataclass(frozen=True)
class Entry:
    """Where a contender's class is."""

    module: str
    cls: str

    def load(self) -> type[Contender]:
        """Import it."""
        found: type[Contender] = getattr(importlib.import_module(self.module), self.cls)
        return found


OURS = "recambio"
CONTENDERS = {
    OURS: Entry("benchmarks.peers.ours", "Ours"),
    "marian": Entry("benchmarks.peers.marian", "Marian"),
    "torch": Entry("benchmarks.peers.torch_loop", "TorchLoop"),
}
LARGEST_WITHOUT_CACHE = 32
"""Beyond this batch, a row waits for nobody but the contender that decodes without a cache."""


def taking_part(row: Row) -> list[str]:
    """The contenders of a row."""
    leaves_out_torch = row.task != "train" and row.batch > LARGEST_WITHOUT_CACHE
    return [name for name in CONTENDERS if not (name == "torch" and leaves_out_torch)]


def same_weights(size: Size, change: Callable[[nn.Module], None] | None = None) -> Mapping[str, Contender]:
    """One contender of each kind; all compute the same function.

    Args:
        size: Of the models.
        change: Done to our model before its weights are copied.
    """
    from benchmarks.peers.marian import Marian
    from benchmarks.peers.ours import Ours
    from benchmarks.peers.torch_loop import TorchLoop
    from benchmarks.peers.weights import copy_to_marian, copy_to_torch

    ours, marian, torch = Ours(size), Marian(size), TorchLoop(size)
    if change is not None:
        change(ours.model)
    copy_to_marian(ours, marian)
    copy_to_torch(ours, torch)
    return {OURS: ours, "marian": marian, "torch": torch}
