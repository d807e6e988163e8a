"""The contract of a block: one object per stack that owns the residual stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from recambio.registry import BLOCK

Sublayer = Callable[[Tensor], Tensor]
"""(B, T, D) -> (B, T, D): attention or feed-forward, masks and caches already bound."""

State = Any
"""A pytree of tensors, position-wise in T: what the residual stream holds between layers."""

ROLES = ("q", "k", "v", "o", "ffn_in", "ffn_out")


@BLOCK.define
class Block(nn.Module, ABC):
    """Wires residual connections, normalization and dropout around the sub-layers of a stack.

    The state is position-wise, so decoding token by token caches nothing for it.
    """

    def __init__(self) -> None:
        super().__init__()

    def enter(self, x: Tensor) -> State:
        """x: (B, T, D) embedded input. Returns: the state before layer 0."""
        return x

    @abstractmethod
    def layer(self, index: int, state: State, sublayers: Sequence[Sublayer]) -> State:
        """Run layer ``index``: its sub-layers in order (self-attention, cross-attention in the decoder, feed-forward)."""

    def exit(self, state: State) -> Tensor:
        """The stack's output (B, T, D), final normalization included."""
        return state  # type: ignore[no-any-return]

    def init_gain(self, role: str, layer: int) -> float:
        """Factor on what a part's initialisation drew for a weight of this role (one of `ROLES`) in this layer."""
        return 1.0

    def calibrate(self, run: Callable[[], None]) -> None:
        """May set parameters from one batch, once, before the first step.

        ``run()`` passes the plan's first batch through the whole model, without gradients and without dropout; it may be called
        several times. Every rank runs the same batch, so all end with the same parameters, which a checkpoint then holds.
        """
