"""Contrastive items: an English sentence, its right Spanish translation, and minimally wrong ones."""

from __future__ import annotations

from recambio.evaluation.contrastive.items import Item, hand_items, read_items
from recambio.evaluation.contrastive.scores import Scored, Tally, tally

__all__ = ["Item", "Scored", "Tally", "hand_items", "read_items", "tally"]
