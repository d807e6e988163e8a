"""How residual connections, normalization and dropout surround the sub-layers of a stack."""

from __future__ import annotations

from recambio.components.block.base import Block
from recambio.components.block.post_norm import PostNorm
from recambio.components.block.pre_norm import PreNorm

__all__ = ["Block", "PostNorm", "PreNorm"]
