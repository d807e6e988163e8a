"""Sides of similar length."""

from __future__ import annotations

from recambio.data.cleaning.base import CleaningStep
from recambio.data.pairs import Pair
from recambio.errors import InputError
from recambio.registry import CLEANING, Card


@CLEANING.register(
    "ratio", card=Card(claim="Drops pairs whose sides differ too much in length to translate each other.")
)
class Ratio(CleaningStep):
    """Drop pairs whose sides differ by more than a factor, in words or in characters.

    ``max(n_source, n_target) > max_ratio * min(n_source, n_target)``, where each count is at least the floor.

    Args:
        max_ratio: The factor.
        word_floor: Fewer words than this count as this many, for short sentences differ much by chance.
        character_floor: The same for characters.
    """

    def __init__(self, max_ratio: float = 3.0, word_floor: int = 2, character_floor: int = 10) -> None:
        if max_ratio < 1 or word_floor < 1 or character_floor < 1:
            raise InputError(
                f"data.cleaning: 'ratio' has max_ratio {max_ratio}, word_floor {word_floor}, "
                f"character_floor {character_floor}; each must be at least 1"
            )
        self.max_ratio = max_ratio
        self.word_floor = word_floor
        self.character_floor = character_floor

    def __call__(self, pair: Pair) -> Pair | str:
        if self._differs(len(pair.source), len(pair.target), self.character_floor):
            return "length ratio"
        if self._differs(len(pair.source.split()), len(pair.target.split()), self.word_floor):
            return "length ratio"
        return pair

    def _differs(self, first: int, second: int, floor: int) -> bool:
        low, high = (first, second) if first <= second else (second, first)
        return max(high, floor) > self.max_ratio * max(low, floor)
