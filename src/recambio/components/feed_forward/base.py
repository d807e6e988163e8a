"""The contract of a feed-forward sub-layer."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from recambio.components.context import Cache, TokenContext, WithLosses
from recambio.registry import FEED_FORWARD


@FEED_FORWARD.define
class FeedForward(nn.Module, ABC):
    """Transforms each token; the sub-layer after attention.

    Most act on each position alone and need no cache. One that looks at neighbours (a convolution) is causal in the decoder
    and keeps what it needs in its cache; one that routes tokens (experts) skips padding and returns its losses with
    :class:`WithLosses`.
    """

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor, context: TokenContext, cache: Cache | None = None) -> Tensor | WithLosses:
        """x: (B, T, D). Returns: (B, T, D). With a cache, x holds the T new tokens of each row and the cache is updated."""

    def new_cache(self, rows: int, max_length: int) -> Cache | None:
        """An empty cache for ``rows`` rows of at most ``max_length`` tokens; None if the part needs none."""
        return None
