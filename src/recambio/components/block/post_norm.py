"""The original residual block: normalise after the sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from recambio.components.block.base import Block, State, Sublayer
from recambio.components.dropout import Dropout
from recambio.components.normalization.base import Normalization
from recambio.registry import BLOCK, Card


@BLOCK.register(
    "post_norm",
    Card(
        claim="Normalises after each residual sum, as the original Transformer does; needs a warm-up of the learning rate.",
        formula="x = norm(x + dropout(F(x)))",
        paper='Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.1',
        parameters="L * K * normalization",
        flops="0; the norms",
        fast_path="Elementwise.",
        effect="Better than pre_norm in shallow models, unstable to train in deep ones "
        "(Takase et al. 2022, https://arxiv.org/abs/2206.00330, abstract).",
    ),
)
class PostNorm(Block):
    """Normalises after each residual sum.

    ``x = norm(x + dropout(F(x)))``, with no norm of the stack's own: the last sub-layer's norm is the final one.

    Paper: Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.1.
    """

    def __init__(
        self, n_layers: int, n_sublayers: int, dropout: float, normalization: Callable[[int | None], Normalization]
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            nn.ModuleList(normalization(index) for _ in range(n_sublayers)) for index in range(n_layers)
        )
        self.dropout = Dropout(dropout)

    def layer(self, index: int, state: State, sublayers: Sequence[Sublayer]) -> State:
        """See :meth:`Block.layer`."""
        x: Tensor = state
        for norm, sublayer in zip(self.norms[index], sublayers, strict=True):  # type: ignore[call-overload]
            x = norm(x + self.dropout(sublayer(x)))
        return x
