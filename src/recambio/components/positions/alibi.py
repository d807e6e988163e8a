"""Attention with linear biases."""

from __future__ import annotations

import torch
from torch import Tensor

from recambio.components.positions.base import PositionalEncoding
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "alibi",
    Card(
        claim="Lowers each score in proportion to the distance of query and key, each head with a slope of its own; "
        "nothing is learned, and longer sentences than trained on need no new numbers.",
        formula="score[h, t, s] -= slope[h] * |t - s|; slope[h] = 2^(-8 (h+1) / H), h = 0 ... H-1",
        paper='Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases Enables Input Length '
        'Extrapolation", https://arxiv.org/abs/2108.12409, section 3',
        departures="The distance is symmetric in the encoder; the paper treats causal models only. Where H is no power of "
        "two: the slopes of the next lower power, then every second one of the next higher, as the authors' code has it.",
        flops="0; one bias a pass",
        fast_path="A bias added to the mask once a pass.",
    ),
)
class ALiBi(PositionalEncoding):
    """Linear distance penalty on attention scores.

    ``score[h, t, s] -= slope[h] * |t - s|``

    Paper: Press et al. 2022, "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation",
    https://arxiv.org/abs/2108.12409, section 3.
    Differs from the paper: the distance is symmetric in the encoder.
    """

    steps: Tensor

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        # slope[h] = 2^(-4 steps[h] / lower), in whole numbers because those survive a cast of the module to bfloat16
        self.lower = 1 << (n_heads.bit_length() - 1)
        steps = [*range(2, 2 * self.lower + 1, 2), *range(1, 2 * (n_heads - self.lower), 2)]
        self.register_buffer("steps", torch.tensor(steps), persistent=False)

    def attention_bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.attention_bias`."""
        distance = (query_positions[:, None, :, None] - key_positions[:, None, None, :]).abs()
        slopes = torch.exp2(self.steps * (-4.0 / self.lower))
        return distance * -slopes[:, None, None]
