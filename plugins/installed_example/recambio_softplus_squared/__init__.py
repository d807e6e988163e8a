"""The activation softplus_squared: a smooth relative of the squared rectifier.

pip install ./plugins/installed_example
recambio plugin check softplus_squared
"""

from __future__ import annotations

from torch import Tensor, nn

from recambio.components.activation import Activation
from recambio.registry import ACTIVATION, Card


@ACTIVATION.register(
    "softplus_squared",
    Card(
        claim="The square of softplus: near the squared rectifier where large, smooth at zero.",
        formula="y = log(1 + exp(x))^2",
        paper='After So et al. 2021, "Primer", https://arxiv.org/abs/2109.08668, section 4 (the squared rectifier)',
        departures="Softplus in place of the rectifier.",
    ),
)
class SoftplusSquared(Activation):
    """The square of softplus."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x).square()
