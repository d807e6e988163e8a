"""The contract of an activation."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from recambio.registry import ACTIVATION


@ACTIVATION.define
class Activation(nn.Module, ABC):
    """An elementwise function."""

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """x: any shape. Returns: the same shape and dtype."""
