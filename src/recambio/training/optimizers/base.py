"""The contract of an optimizer part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer

from recambio.registry import OPTIMIZER


@OPTIMIZER.define
class OptimizerPart(ABC):
    """Makes a torch optimizer from two groups of parameters.

    Attributes:
        lr: Peak learning rate, which the schedule scales.
    """

    lr: float

    @abstractmethod
    def build(self, decayed: Sequence[nn.Parameter], plain: Sequence[nn.Parameter], *, is_fused: bool) -> Optimizer:
        """Make the optimizer.

        Args:
            decayed: Matrices, which weight decay shrinks.
            plain: Norms, biases and gains, which it leaves alone.
            is_fused: Whether one kernel may update all parameters (not with a gradient scaler and clipping).
        """
