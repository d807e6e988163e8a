"""What keeps the residual stream's scale in hand."""

from __future__ import annotations

from recambio.components.normalization.base import Normalization
from recambio.components.normalization.layer_norm import LayerNorm
from recambio.components.normalization.rms_norm import RMSNorm

__all__ = ["LayerNorm", "Normalization", "RMSNorm"]
