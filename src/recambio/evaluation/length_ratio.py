"""How long the translations are beside the references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recambio.evaluation.bleu import library_bleu
from recambio.evaluation.sacre import SacreBLEUMetric
from recambio.registry import METRIC, Card


@METRIC.register(
    "length_ratio",
    card=Card(
        claim="Words of the translations in percent of the references': below 100 BLEU penalises, far above it the search rambles.",
        formula="100 * len(hyp) / len(ref), in BLEU's words; of several references the one nearest in length",
        paper="The ratio that sacreBLEU prints beside BLEU, Post 2018, https://arxiv.org/abs/1804.08771",
        departures="In percent.",
    ),
)
class LengthRatio(SacreBLEUMetric):
    """Length ratio in percent; neither more nor less is better, 100 is as long as the references."""

    def __init__(self) -> None:
        super().__init__(library_bleu())

    @property
    def label(self) -> str:
        """``length ratio``."""
        return "length ratio"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """(N, 2): words of the translation and of the reference."""
        return super().statistics(hypotheses, references)[:, :2]

    def from_statistics(self, sums: NDArray[np.floating]) -> float:
        """sums: (2,)."""
        return float(self.from_many(sums[None])[0])

    def from_many(self, sums: NDArray[np.floating]) -> NDArray[np.floating]:
        """sums: (R, 2). 0 without a word in the references, as sacreBLEU has it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(sums[:, 1] > 0, 100 * sums[:, 0] / sums[:, 1], 0)
