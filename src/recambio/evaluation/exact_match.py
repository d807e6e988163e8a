"""The share of sentences translated exactly as a reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recambio.evaluation.base import SEED, Metric
from recambio.evaluation.phenomena import exact_matches
from recambio.registry import METRIC, Card


@METRIC.register(
    "exact_match",
    card=Card(
        claim="Sentences that equal a reference, in percent: for short sentences and closed grammars, where one wording is right.",
        formula="100 * #{hyp = one of its references} / #{sentences}, blanks at the ends aside",
    ),
)
class ExactMatch(Metric):
    """Exact matches in percent."""

    @property
    def label(self) -> str:
        """``exact match``."""
        return "exact match"

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """(N, 2): whether the sentence is right, and 1."""
        return np.array([[is_match, 1] for is_match in exact_matches(hypotheses, references)], dtype=np.float64)

    def from_statistics(self, sums: NDArray[np.floating]) -> float:
        """sums: (2,)."""
        return float(self.from_many(sums[None])[0])

    def from_many(self, sums: NDArray[np.floating]) -> NDArray[np.floating]:
        """sums: (R, 2)."""
        return 100 * sums[:, 0] / sums[:, 1]

    def signature(self, n_references: int, n_bootstrap: int) -> str:
        """Ours: ``version`` is that of this definition."""
        drawn = f"|bs:{n_bootstrap}|seed:{SEED}" if n_bootstrap > 1 else ""
        return f"nrefs:{n_references}{drawn}|case:mixed|strip:yes|version:recambio-1"
