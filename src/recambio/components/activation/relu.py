"""The rectifier."""

from __future__ import annotations

from torch import Tensor, nn

from recambio.components.activation.base import Activation
from recambio.registry import ACTIVATION, Card


@ACTIVATION.register(
    "relu",
    Card(
        claim="Passes what is positive and zeroes the rest: the activation of the original Transformer.",
        formula="y = max(0, x)",
        paper='Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.3',
        flops="0; elementwise work",
        fast_path="torch.nn.functional.relu",
    ),
)
class ReLU(Activation):
    """Passes what is positive and zeroes the rest.

    ``y = max(0, x)``

    Paper: Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.3.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See :meth:`Activation.forward`."""
        return nn.functional.relu(x)
