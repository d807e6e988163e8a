"""Steps by the sign of the momentum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recambio.registry import OPTIMIZER, Card
from recambio.training.optimizers.base import GroupwiseOptimizer, OptimizerPart, ParameterGroups


@OPTIMIZER.register(
    "lion",
    card=Card(
        claim="Every weight moves by the same amount, in the direction of its momentum's sign: half of AdamW's memory.",
        formula="w -= lr * (sign(beta1 m + (1 - beta1) g) + weight_decay * w); m = beta2 m + (1 - beta2) g",
        paper="Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, https://arxiv.org/abs/2302.06675, algorithm 2",
        departures="Norms, biases and gains are not decayed.",
        fast_path="one kernel for a list of tensors each (foreach)",
    ),
)
class Lion(OptimizerPart):
    """Evolved sign momentum.

    The authors advise a learning rate 3 to 10 times smaller than AdamW's, and a weight decay as much larger.

    Args:
        lr: Peak learning rate.
        beta1: Share of the momentum in the direction.
        beta2: Decay of the momentum.
        weight_decay: Of matrices.
    """

    def __init__(self, lr: float = 1e-4, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.1) -> None:
        self.lr = lr
        self.betas = (beta1, beta2)
        self.weight_decay = weight_decay

    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        """See :meth:`OptimizerPart.build`."""
        groups = parameters.groups(self.weight_decay)
        return _Lion(groups, {"lr": self.lr, "betas": self.betas})


class _Lion(GroupwiseOptimizer):
    def update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        momenta = self.buffers(parameters, "momentum")
        directions = torch._foreach_lerp(momenta, gradients, 1 - beta1)
        torch._foreach_sign_(directions)
        torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        torch._foreach_add_(parameters, directions, alpha=-lr)
        torch._foreach_lerp_(momenta, gradients, 1 - beta2)
