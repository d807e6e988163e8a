"""The Gaussian error linear unit."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from recambio.components.activation.base import Activation
from recambio.registry import ACTIVATION, Card


@ACTIVATION.register(
    "gelu",
    Card(
        claim="Weighs each input by the probability that a standard normal number is smaller: a smooth rectifier.",
        formula='y = x Phi(x), Phi the normal distribution; with approximate "tanh": '
        "y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
        paper='Hendrycks & Gimpel 2016, "Gaussian Error Linear Units (GELUs)", https://arxiv.org/abs/1606.08415, '
        "section 2",
        flops="0; elementwise work",
        fast_path="torch.nn.functional.gelu",
    ),
)
class GELU(Activation):
    """Weighs each input by the probability that a standard normal number is smaller.

    ``y = x Phi(x)``, or with ``approximate="tanh"``: ``y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``

    Paper: Hendrycks & Gimpel 2016, "Gaussian Error Linear Units (GELUs)", https://arxiv.org/abs/1606.08415, section 2.

    Args:
        approximate: "none" for the exact function, "tanh" for the paper's approximation, which some checkpoints were trained with.
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """See :meth:`Activation.forward`."""
        return nn.functional.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"approximate={self.approximate!r}"
