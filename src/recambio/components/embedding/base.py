"""The contract of the embedding: token vectors of both sides and the projection to the vocabulary."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from recambio.components.product import linear
from recambio.registry import EMBEDDING


@EMBEDDING.define
class TokenEmbedding(nn.Module, ABC):
    """One object per model: it decides scaling and which of the three matrices are one."""

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def embed_source(self, tokens: Tensor) -> Tensor:
        """tokens: (B, S). Returns: (B, S, D)."""

    @abstractmethod
    def embed_target(self, tokens: Tensor) -> Tensor:
        """tokens: (B, T). Returns: (B, T, D)."""

    @abstractmethod
    def output(self) -> tuple[Tensor, Tensor | None]:
        """Weight (V, D) and bias (V,) or None of the projection to the target vocabulary.

        Handed out rather than applied, so that a loss can walk over the vocabulary without holding all logits.
        """

    def project(self, x: Tensor) -> Tensor:
        """x: (..., D). Returns: logits (..., V)."""
        weight, bias = self.output()
        return linear(x, weight, bias)
