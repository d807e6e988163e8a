"""Elementwise functions between the two maps of a feed-forward."""

from __future__ import annotations

from recambio.components.activation.base import Activation
from recambio.components.activation.gelu import GELU
from recambio.components.activation.relu import ReLU
from recambio.components.activation.silu import SiLU

__all__ = ["GELU", "Activation", "ReLU", "SiLU"]
