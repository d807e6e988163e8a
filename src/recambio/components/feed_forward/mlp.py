"""The original position-wise feed-forward network."""

from __future__ import annotations

from torch import Tensor

from recambio.components.activation.base import Activation
from recambio.components.context import Cache, TokenContext
from recambio.components.dropout import Dropout
from recambio.components.feed_forward.base import FeedForward
from recambio.components.linear import Linear
from recambio.registry import FEED_FORWARD, Card


@FEED_FORWARD.register(
    "mlp",
    Card(
        claim="Two linear maps with an activation between them, applied to each token alone: the original Transformer's.",
        formula="y = W2 act(W1 x + b1) + b2",
        paper='Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.3',
        parameters="2 * D * F + bias * (D + F) + activation",
        flops="4 * D * F; the activation is not counted",
        fast_path="Two matrix products.",
    ),
)
class MLP(FeedForward):
    """Two linear maps with an activation between them, applied to each token alone.

    ``y = W2 act(W1 x + b1) + b2``

    Paper: Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.3.

    Args:
        activation: The function between the maps; without it the model's ``activation``.
        bias: Whether b1 and b2 exist.
        inner_dropout: Dropout after the activation; the paper has none there.
    """

    def __init__(
        self, d_model: int, d_ff: int, activation: Activation, bias: bool = True, inner_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.inner = Linear(d_model, d_ff, bias=bias, role="ffn_in")
        self.activation = activation
        self.dropout = Dropout(inner_dropout)
        self.output = Linear(d_ff, d_model, bias=bias, role="ffn_out")

    def forward(self, x: Tensor, context: TokenContext, cache: Cache | None = None) -> Tensor:
        """See :meth:`FeedForward.forward`."""
        y: Tensor = self.output(self.dropout(self.activation(self.inner(x))))
        return y
