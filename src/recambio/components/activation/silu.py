"""The sigmoid linear unit."""

from __future__ import annotations

from torch import Tensor, nn

from recambio.components.activation.base import Activation
from recambio.registry import ACTIVATION, Card


@ACTIVATION.register(
    "silu",
    Card(
        claim="Weighs each input by its own sigmoid: smooth, and slightly negative below zero. Also called swish.",
        formula="y = x sigmoid(x)",
        paper='Elfwing et al. 2017, "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in '
        'Reinforcement Learning", https://arxiv.org/abs/1702.03118, section 2',
        flops="0; elementwise work",
        fast_path="torch.nn.functional.silu",
    ),
)
class SiLU(Activation):
    """Weighs each input by its own sigmoid.

    ``y = x sigmoid(x)``

    Paper: Elfwing et al. 2017, "Sigmoid-Weighted Linear Units for Neural Network Function Approximation in Reinforcement
    Learning", https://arxiv.org/abs/1702.03118, section 2. Ramachandran et al. 2017, https://arxiv.org/abs/1710.05941,
    found it again by search and called it swish (with beta = 1).
    """

    def forward(self, x: Tensor) -> Tensor:
        """See :meth:`Activation.forward`."""
        return nn.functional.silu(x)
