"""Adam with decoupled weight decay."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from recambio.registry import OPTIMIZER, Card
from recambio.training.optimizers.base import OptimizerPart, ParameterGroups


@OPTIMIZER.register(
    "adamw",
    card=Card(
        claim="Adam whose weight decay acts on the weights rather than through the gradient.",
        formula="w -= lr * (m / (sqrt(v) + eps) + weight_decay * w)",
        paper="Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, https://arxiv.org/abs/1711.05101",
        departures="torch.optim.AdamW; norms, biases and gains are not decayed.",
        fast_path="torch's fused kernel",
    ),
)
class AdamW(OptimizerPart):
    """torch.optim.AdamW.

    Args:
        lr: Peak learning rate.
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        eps: Added to the root of the second moment.
        weight_decay: Of matrices.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.98,
        eps: float = 1e-9,
        weight_decay: float = 0.01,
    ) -> None:
        self.lr = lr
        self.betas = (beta1, beta2)
        self.eps = eps
        self.weight_decay = weight_decay

    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        """See :meth:`OptimizerPart.build`."""
        groups = parameters.groups(self.weight_decay)
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=is_fused)
