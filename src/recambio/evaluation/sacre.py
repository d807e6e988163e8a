"""What the metrics that sacreBLEU computes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import sacrebleu.metrics.base
from numpy.typing import NDArray

from recambio.evaluation.base import SEED, Metric


class SacreBLEUMetric(Metric):
    """A metric of sacreBLEU behind the package's contract; every number and the signature are the library's.

    Post, 2018, "A Call for Clarity in Reporting BLEU Scores", https://arxiv.org/abs/1804.08771.

    Args:
        library: The configured metric of sacreBLEU.
    """

    def __init__(self, library: sacrebleu.metrics.base.Metric) -> None:
        self.library = library

    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """(N, K): sacreBLEU's sufficient statistics."""
        return np.array(self.library._extract_corpus_statistics(hypotheses, references), dtype=np.float64)

    def from_statistics(self, sums: NDArray[np.floating]) -> float:
        """sums: (K,)."""
        return float(self.library._compute_score_from_stats(cast(Any, sums)).score)

    def signature(self, n_references: int, n_bootstrap: int) -> str:
        """sacreBLEU's, the bootstrap's size and seed with it."""
        self.library.num_refs = n_references
        self.library.n_bootstrap = n_bootstrap if n_bootstrap > 1 else None
        self.library.seed = str(SEED) if n_bootstrap > 1 else None
        return str(self.library.get_signature().format())
