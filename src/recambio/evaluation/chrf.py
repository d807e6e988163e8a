"""chrF and chrF++, by sacreBLEU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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
        self._beta: int = library.beta
        self._label = f"chrF{library.beta}" + "+" * word_order

    @property
    def label(self) -> str:
        """``chrF2``, a plus for each order of words."""
        return self._label

    def from_many(self, sums: NDArray[np.floating]) -> NDArray[np.floating]:
        """sums: (R, 3 * orders): n-grams of the translations, of the references, and of both, order by order."""
        # (R, 3 * orders) -> three times (R, orders), of the type of the sums, as the library's bootstrap has them
        n_hypothesis, n_reference, n_match = (sums[:, i::3] for i in range(3))
        is_counted = (n_hypothesis > 0) & (n_reference > 0)
        n_counted = np.maximum(is_counted.sum(1), 1).astype(sums.dtype)
        precision, recall = np.zeros(len(sums), sums.dtype), np.zeros(len(sums), sums.dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            # order after order, as the library adds: a sum over an axis may add in another order
            for i in range(is_counted.shape[1]):
                precision += np.where(is_counted[:, i], n_match[:, i] / n_hypothesis[:, i], 0)
                recall += np.where(is_counted[:, i], n_match[:, i] / n_reference[:, i], 0)
            precision /= n_counted
            recall /= n_counted
            weight = self._beta**2
            scores = 100 * ((1 + weight) * precision * recall / (weight * precision + recall))
        return np.where(precision + recall > 0, scores, 0)
