"""The residual block without norms between its sub-layers: each starts switched off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from recambio.components.block.base import Block, State, Sublayer
from recambio.components.dropout import Dropout
from recambio.components.normalization.base import Normalization
from recambio.registry import BLOCK, Card


@BLOCK.register(
    "rezero",
    Card(
        claim="Replaces the norms by a learned scalar, zero at first, that weighs what a layer's sub-layers add, so that a stack of any "
        "depth starts as the identity.",
        formula="x = x + a dropout(F(x)), a = 0 at first, one for all sub-layers of a layer",
        paper='Bachlechner et al. 2020, "ReZero is All You Need: Fast Convergence at Large Depth", https://arxiv.org/abs/2003.04887',
        departures="The decoder's three sub-layers share their layer's scalar, as the two of a layer do in the authors' code; "
        "`shared: false` gives each its own. `final_norm: true` adds a norm at the stack's end, which the paper has not.",
        parameters="L * (1 if shared else K) + final_norm * normalization",
        flops="0; a scalar product a sub-layer",
        fast_path="Elementwise, and no norm.",
    ),
)
class ReZero(Block):
    """Replaces the norms by a learned scalar, zero at first: each sub-layer starts switched off.

    ``x = x + a dropout(F(x))``, with ``a = 0`` at first. In a whole model the first step moves the decoder's scalars only, the second the
    encoder's, and the sub-layers follow: a small model starts more slowly than with norms.

    Paper: Bachlechner et al. 2020, "ReZero is All You Need: Fast Convergence at Large Depth",
    https://arxiv.org/abs/2003.04887.

    Args:
        shared: Whether one scalar serves all sub-layers of a layer, as in the paper, or each has its own.
        final_norm: Whether the stack's output is normalised, which keeps what cross-attention and the output matrix read in scale.
    """

    def __init__(
        self,
        n_layers: int,
        n_sublayers: int,
        dropout: float,
        normalization: Callable[[int | None], Normalization],
        shared: bool = True,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        self.scales = nn.ParameterList(nn.Parameter(torch.zeros(1 if shared else n_sublayers)) for _ in range(n_layers))
        self.final_norm = normalization(None) if final_norm else None
        self.dropout = Dropout(dropout)

    def layer(self, index: int, state: State, sublayers: Sequence[Sublayer]) -> State:
        """See :meth:`Block.layer`."""
        x: Tensor = state
        for scale, sublayer in zip(self.scales[index].expand(len(sublayers)), sublayers, strict=True):
            x = x + scale * self.dropout(sublayer(x))
        return x

    def exit(self, state: State) -> Tensor:
        """See :meth:`Block.exit`."""
        x: Tensor = state if self.final_norm is None else self.final_norm(state)
        return x
