"""The contract of an optimizer part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recambio.components.embedding.base import TokenEmbedding
from recambio.components.linear import Linear
from recambio.model.transformer import no_decay_names
from recambio.registry import OPTIMIZER


@dataclass(frozen=True)
class ParameterGroups:
    """A model's parameters by how an optimizer may treat them. ``decayed`` and ``plain`` together hold each once.

    Attributes:
        decayed: Matrices, which weight decay shrinks, in the model's order.
        plain: Norms, biases and gains, which it leaves alone.
        hidden: Of the decayed ones the weights of linear maps, without embeddings and the output projection; each with the numbers of
            rows of the maps that are fused in it.
    """

    decayed: Sequence[nn.Parameter]
    plain: Sequence[nn.Parameter]
    hidden: Mapping[nn.Parameter, tuple[int, ...]]

    @classmethod
    def of(cls, model: nn.Module) -> ParameterGroups:
        """The groups of a model."""
        left_alone = no_decay_names(model)
        decayed = [p for n, p in model.named_parameters() if n not in left_alone]
        tables = {p for m in model.modules() if isinstance(m, TokenEmbedding | nn.Embedding) for p in m.parameters()}
        rows = {
            m.weight: tuple(m.splits.values()) if isinstance(m, Linear) else (m.out_features,)
            for m in model.modules()
            if isinstance(m, nn.Linear) and m.weight not in tables
        }
        return cls(
            decayed,
            [p for n, p in model.named_parameters() if n in left_alone],
            {p: rows[p] for p in decayed if p in rows},
        )

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """As a torch optimizer takes them: what decays, and what doesn't."""
        return [
            {"params": list(self.decayed), "weight_decay": weight_decay},
            {"params": list(self.plain), "weight_decay": 0.0},
        ]


@OPTIMIZER.define
class OptimizerPart(ABC):
    """Makes a torch optimizer for a model's parameters.

    Before each step the trainer sets every group's ``lr`` to the schedule's rate, times the group's ``lr_scale`` where it has one. An
    optimizer that trains other weights than those it recommends has methods ``eval()`` and ``train()``, which put the one or the
    other into the parameters: the recommended ones are validated and saved.

    Attributes:
        lr: Peak learning rate, which the schedule scales.
    """

    lr: float

    @abstractmethod
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        """Make the optimizer.

        Args:
            parameters: Each belongs in one group of the optimizer.
            is_fused: Whether one kernel may update all parameters (not with a gradient scaler and clipping).
        """


class GroupwiseOptimizer(Optimizer, ABC):
    """A torch optimizer that updates one group after the other."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step. Returns: what the closure returned."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            pairs = [(p, p.grad) for p in group["params"] if p.grad is not None]
            if pairs:
                self.update(group, [p for p, _ in pairs], [g for _, g in pairs])
        return result

    @abstractmethod
    def update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Update the parameters of a group in place."""

    def buffers(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        """A tensor of each parameter's shape from the optimizer's state; zero at first."""
        for p in parameters:
            if name not in self.state[p]:
                self.state[p][name] = torch.zeros_like(p)
        return [self.state[p][name] for p in parameters]
