"""Neither too short nor too long."""

from __future__ import annotations

from recambio.data.cleaning.base import CleaningStep
from recambio.data.pairs import Pair
from recambio.errors import InputError
from recambio.registry import CLEANING, Card


@CLEANING.register("length", card=Card(claim="Drops pairs with a side of too few or too many words or characters."))
class Length(CleaningStep):
    """Drop pairs with a side that is too short or too long.

    Args:
        max_words: Most whitespace-separated words on a side.
        min_words: Fewest words on a side.
        max_chars: Most characters on a side.
    """

    def __init__(self, max_words: int = 120, min_words: int = 1, max_chars: int = 2_000) -> None:
        if not 0 <= min_words <= max_words or max_chars < 1:
            raise InputError(
                f"data.cleaning: 'length' keeps nothing with min_words {min_words}, max_words {max_words}, "
                f"max_chars {max_chars}; 0 <= min_words <= max_words and max_chars >= 1 are needed"
            )
        self.max_words = max_words
        self.min_words = min_words
        self.max_chars = max_chars

    def __call__(self, pair: Pair) -> Pair | str:
        for text in (pair.source, pair.target):
            if len(text) > self.max_chars:
                return "too long"
            # n words take 2n - 1 characters at least, so most lines need no count of the upper bound.
            if self.min_words > 1 or len(text) >= 2 * self.max_words:
                words = len(text.split())
                if words > self.max_words:
                    return "too long"
                if words < self.min_words:
                    return "too short"
            elif self.min_words == 1 and (not text or text.isspace()):
                return "too short"
        return pair
