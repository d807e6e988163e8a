"""Gated linear units: swiglu, geglu, reglu and their kin."""

from __future__ import annotations

from torch import Tensor

from recambio.components.activation.base import Activation
from recambio.components.context import Cache, TokenContext
from recambio.components.dropout import Dropout
from recambio.components.feed_forward.base import FeedForward
from recambio.components.linear import Linear
from recambio.registry import FEED_FORWARD, Card


@FEED_FORWARD.register(
    "glu",
    Card(
        claim="A feed-forward whose activated half gates a linear half; presets swiglu, geglu and reglu name the activation.",
        formula="y = W2 (act(W1 x) * V x)",
        paper='Shazeer 2020, "GLU Variants Improve Transformer", https://arxiv.org/abs/2002.05202, section 2',
        departures="d_ff is taken as given. The paper shrinks it by 2/3 so that the three matrices weigh what mlp's two do: "
        "compare at d_ff * 2/3.",
        parameters="3 * D * F + bias * (D + 2 * F) + activation",
        flops="6 * D * F; the activation and the product are not counted",
        fast_path="W1 and V in one matrix product.",
    ),
)
class GLU(FeedForward):
    """A feed-forward whose activated half gates a linear half.

    ``y = W2 (act(W1 x) * V x)``

    Paper: Shazeer 2020, "GLU Variants Improve Transformer", https://arxiv.org/abs/2002.05202, section 2.
    Differs from the paper: `d_ff` is taken as given; the paper shrinks it by 2/3 to keep the number of parameters.

    Args:
        activation: The gate's function (``silu`` makes it swiglu); without it the model's ``activation``.
        bias: Whether the maps have biases; the paper omits them.
        inner_dropout: Dropout after the product.
    """

    def __init__(
        self, d_model: int, d_ff: int, activation: Activation, bias: bool = False, inner_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.inner = Linear(d_model, {"ffn_in": d_ff, "ffn_in_linear": d_ff}, bias=bias)
        self.activation = activation
        self.dropout = Dropout(inner_dropout)
        self.output = Linear(d_ff, d_model, bias=bias, role="ffn_out")

    def forward(self, x: Tensor, context: TokenContext, cache: Cache | None = None) -> Tensor:
        """See :meth:`FeedForward.forward`."""
        gate, linear = self.inner.apart(x)
        y: Tensor = self.output(self.dropout(self.activation(gate) * linear))
        return y
