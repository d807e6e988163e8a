"""chrF and chrF++, by sacreBLEU."""

from __future__ import annotations

from sacrebleu.metrics.chrf import CHRF as LibraryCHRF

from recambio.errors import InputError
from recambio.evaluation.sacre import SacreBLEUMetric
from recambio.registry import METRIC, Card


@METRIC.register(
    "chrf",
    card=Card(
        claim="F-score of character n-grams: kinder than BLEU to Spanish inflection, and steadier on small sets.",
        formula="100 * (1 + 2**2) * P * R / (2**2 * P + R), P and R the mean precision and recall of 1- to 6-grams of characters",
        paper=(
            "Popović 2015, chrF: character n-gram F-score, https://aclanthology.org/W15-3049; "
            "Popović 2017, chrF++, https://aclanthology.org/W17-4770"
        ),
    ),
)
class CHRF(SacreBLEUMetric):
    """Corpus chrF2, or chrF2++ with ``word_order: 2``.

    Args:
        char_order: Longest n-gram of characters.
        word_order: Longest n-gram of words; 0 counts none.
        lowercase: Compare without case.
    """

    def __init__(self, char_order: int = 6, word_order: int = 0, lowercase: bool = False) -> None:
        problems = [
            f"chrf.{key}: must be at least {least}, but is {value}"
            for key, value, least in (("char_order", char_order, 1), ("word_order", word_order, 0))
            if value < least
        ]
        if problems:
            raise InputError(problems)
        library = LibraryCHRF(char_order=char_order, word_order=word_order, lowercase=lowercase)
        super().__init__(library)
        self._label = f"chrF{library.beta}" + "+" * word_order

    @property
    def label(self) -> str:
        """``chrF2``, a plus for each order of words."""
        return self._label
