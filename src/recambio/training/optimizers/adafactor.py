"""Adaptive steps with a second moment of rows and columns."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from recambio.registry import OPTIMIZER, Card
from recambio.training.optimizers.base import OptimizerPart, ParameterGroups


@OPTIMIZER.register(
    "adafactor",
    card=Card(
        claim="Adam without momentum, whose second moment of a matrix is kept as one number a row and a column; steps are relative to "
        "the size of the weights.",
        formula="w -= max(1e-3, rms(w)) * min(lr, 1 / sqrt(s)) * u / max(1, rms(u) / clip), u = g / sqrt(v), v = row column^T / mean(row)",
        paper="Shazeer & Stern 2018, Adafactor, https://arxiv.org/abs/1804.04235, algorithm 4",
        departures="torch.optim.Adafactor: a floor of 1e-30 under v instead of 1e-30 added to the squared gradient. The schedule scales "
        "lr, which caps the paper's 1 / sqrt(s). Fused maps count as one matrix. Norms, biases and gains are not decayed.",
        fast_path="none: two norms of each tensor are read on the host",
    ),
)
class Adafactor(OptimizerPart):
    """torch.optim.Adafactor.

    Args:
        lr: Peak of the step relative to the size of the weights.
        beta2_decay: The second moment's decay at step s is ``1 - s^-beta2_decay``.
        clip: Largest root mean square of an update before it is scaled; at least 1.
        weight_decay: Of matrices.
    """

    def __init__(
        self, lr: float = 1e-2, beta2_decay: float = 0.8, clip: float = 1.0, weight_decay: float = 0.0
    ) -> None:
        if clip < 1.0:
            raise ValueError(f"`clip` must be at least 1, but is {clip}")
        self.lr = lr
        self.beta2_decay = beta2_decay
        self.clip = clip
        self.weight_decay = weight_decay

    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        """See :meth:`OptimizerPart.build`."""
        groups = parameters.groups(self.weight_decay)
        # torch squares the first epsilon; its default, the dtype's, is larger than the squared gradient of a token mean.
        return torch.optim.Adafactor(groups, lr=self.lr, beta2_decay=-self.beta2_decay, eps=(1e-15, 1e-3), d=self.clip)
