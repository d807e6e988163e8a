"""The parts of the Transformer: one folder a kind, one file a part, one contract (``base.py``) a kind."""

from __future__ import annotations

from recambio.components import (
    activation,
    attention,
    block,
    embedding,
    feed_forward,
    normalization,
    positions,
)

__all__ = ["activation", "attention", "block", "embedding", "feed_forward", "normalization", "positions"]
