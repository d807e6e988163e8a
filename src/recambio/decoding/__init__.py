"""Token-by-token generation: scorers, searches, and batches of sentences through both."""

from recambio.decoding import searches
from recambio.decoding.generate import generate
from recambio.decoding.scorer import ModelScorer, Scorer
from recambio.decoding.searches.base import Hypothesis, Search

__all__ = ["Hypothesis", "ModelScorer", "Scorer", "Search", "generate", "searches"]
