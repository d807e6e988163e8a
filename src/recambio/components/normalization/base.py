"""The contract of a normalization."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from recambio.registry import NORMALIZATION


@NORMALIZATION.define
class Normalization(nn.Module, ABC):
    """Normalises the last axis, token by token.

    Parameters of a normalization are never weight-decayed. Statistics are taken in float32 whatever the input's dtype.
    """

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """x: (..., dim). Returns: (..., dim), of the input's dtype."""
