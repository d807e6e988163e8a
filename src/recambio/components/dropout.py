"""Dropout that does not spend the step on random numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Zeroes each element with probability p and scales the rest by 1 / (1 - p); the identity in evaluation.

    On CPU `torch`'s generator draws one number an element, serially, which costs more than a layer norm. Here one 64-bit
    draw decides four elements, 16 bits each: p is rounded to a multiple of 2^-16 and the scale follows the rounded value,
    so the expectation is exact. On other devices this is `torch.nn.functional.dropout`.

    Paper: Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", section 4.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"`dropout` must be in [0, 1), but is {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape. Returns: the same shape and dtype."""
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return nn.functional.dropout(x, self.p)
        return x * keep_mask(x, self.p)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"p={self.p}"


def keep_mask(x: Tensor, p: float) -> Tensor:
    """A tensor like x with 0 where dropped and 1 / (1 - p) where kept; p in steps of 2^-16."""
    dropped = round(p * _LEVELS)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    draws = bits.view(torch.int16)[: x.numel()].view(x.shape)
    return (draws >= dropped - _LEVELS // 2).to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
