"""``trainer.compile``: the layers compiled, and how many graphs that took.

All layers run the same code, :meth:`recambio.model.stack.Layer.forward`, of which torch makes a graph for every layer (its place among the
norms is a constant of the graph; the kernels of equal graphs come from torch's cache) and again for what it treats as another case: with
and without a mask, with and without gradients, a dimension of size 1. Lengths are symbols and make none. Torch stops at 8 for one piece of
code and says nothing but a warning: from there on the layers run as if they had never been compiled. So the limit is set by the
number of layers here, and what is used of it is counted and told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from rich.console import Console
from torch import nn

from recambio.model import Transformer

GRAPHS_A_LAYER = 8
"""The budget: with and without a mask are two; sizes of 1 take some more."""

SPENT = "the budget is spent, and what is new runs uncompiled; TORCH_LOGS=recompiles tells why"


def layers_of(model: Transformer) -> list[nn.Module]:
    """What is compiled: the repeated blocks only. What stands once would take as long to compile as all of them."""
    return [*model.encoder.layers, *model.decoder.layers]


def compile_layers(model: Transformer, backend: str | Callable[..., Any] = "inductor") -> int:
    """Compile the layers of a model, which happens at their first call.

    Args:
        model: The model.
        backend: One of torch's by name, of which ``eager`` traces only, or what takes a graph and inputs for it.

    Returns:
        The budget: how many graphs may be made before torch gives up.
    """
    import torch._dynamo

    layers = layers_of(model)
    budget = GRAPHS_A_LAYER * len(layers)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, budget)
    torch._dynamo.config.accumulated_recompile_limit = max(torch._dynamo.config.accumulated_recompile_limit, budget)
    for layer in layers:
        layer.compile(backend=backend, dynamic=True)
    return budget


def graphs() -> int:
    """Graphs that this process has made so far."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


class Compilation(L.Callback):
    """Keeps validations uncompiled, and tells how many graphs training has made, and when the budget is spent.

    A search runs a few short steps of every width through the caches: to compile the layers for these would take longer than they run.

    Args:
        budget: What :func:`compile_layers` returned.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.made = 0
        self._before = graphs()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count the graphs made so far; from here on the layers run as they are."""
        made = graphs() - self._before
        if trainer.is_global_zero and made > self.made:
            console = Console(stderr=True, soft_wrap=True, highlight=False)
            console.print(f"trainer.compile: {made} graphs of {self.budget} by step {trainer.global_step}")
            if made >= self.budget:
                console.print(f"warning: trainer.compile: {SPENT}")
        self.made = made
        torch.compiler.set_stance("force_eager")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compiled again."""
        torch.compiler.set_stance("default")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """A validation may have been broken off."""
        torch.compiler.set_stance("default")
