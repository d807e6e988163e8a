"""Phrases that a translation must hold: how a vocabulary spells them, and where each of many texts stands in them."""

from recambio.decoding.required.spelling import RequiredPhrase, Spelling
from recambio.decoding.required.tables import PhraseTables, Required, holds, unwrapped

__all__ = ["PhraseTables", "Required", "RequiredPhrase", "Spelling", "holds", "unwrapped"]
