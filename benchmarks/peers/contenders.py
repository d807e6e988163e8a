"""Who takes part. Loading one imports its toolkit, and no other's."""

from __future__ import annotations

import importlib
import importlib.util
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
if importlib.util.find_spec("joeynmt") is not None:
    CONTENDERS["joeynmt"] = Entry("benchmarks.peers.joey", "Joey")
LARGEST_WITHOUT_CACHE = 32
"""Beyond this batch, a row waits for nobody but the contender that decodes without a cache."""


def taking_part(row: Row) -> list[str]:
    """The contenders of a row. JoeyNMT, where it is installed, trains only."""
    left_out = set()
    if row.task != "train":
        left_out.add("joeynmt")
        if row.batch > LARGEST_WITHOUT_CACHE:
            left_out.add("torch")
    return [name for name in CONTENDERS if name not in left_out]


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
    made: dict[str, Contender] = {OURS: ours, "marian": marian, "torch": torch}
    if "joeynmt" in CONTENDERS:
        from benchmarks.peers.joey import Joey, copy_to_joey

        made["joeynmt"] = joey = Joey(size)
        copy_to_joey(ours, joey)
    return made
