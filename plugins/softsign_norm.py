"""A normalization without statistics, in one file.

recambio plugin check plugins/softsign_norm.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recambio.components.normalization import Normalization
from recambio.registry import NORMALIZATION, Card


@NORMALIZATION.register(
    "softsign_norm",
    Card(
        claim="Squashes each element instead of measuring the token: dynamic tanh with a cheaper curve.",
        formula="y = weight * a x / (1 + |a x|) + bias, a learned",
        paper='After Zhu et al. 2025, "Transformers without Normalization", https://arxiv.org/abs/2503.10622, section 4',
        departures="Softsign in place of tanh.",
        parameters="2 * D + 1",
    ),
)
class SoftsignNorm(Normalization):
    """Elementwise squashing with a learned steepness."""

    def __init__(self, dim: int, steepness: float = 0.5) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(steepness))
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.softsign(self.steepness.float() * x.float())
        return (self.weight * y + self.bias).to(x.dtype)
