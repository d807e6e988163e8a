"""Scorers around scorers: several models as one, and what a translation must begin with or must not say."""

from recambio.decoding.scorers.ensemble import Combine, Ensemble
from recambio.decoding.scorers.forbidden import Forbidden
from recambio.decoding.scorers.phrases import PhraseAutomaton
from recambio.decoding.scorers.prefix import ForcedPrefix, Prefixed

__all__ = ["Combine", "Ensemble", "Forbidden", "ForcedPrefix", "PhraseAutomaton", "Prefixed"]
