"""No pair that translates nothing."""

from __future__ import annotations

from recambio.data.cleaning.base import CleaningStep
from recambio.data.pairs import Pair
from recambio.registry import CLEANING, Card


@CLEANING.register("copies", card=Card(claim="Drops pairs whose two sides are the same text; they teach to copy."))
class Copies(CleaningStep):
    """Drop pairs whose sides are identical."""

    def __call__(self, pair: Pair) -> Pair | str:
        return "copy" if pair.source == pair.target else pair
