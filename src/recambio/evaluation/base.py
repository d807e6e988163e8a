"""The contract of a corpus metric: statistics of each sentence that sum to the corpus score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recambio.errors import InputError
from recambio.registry import METRIC

SEED = 12345
"""Seed of the bootstrap: sacreBLEU's default, and part of every signature."""

_CHUNK = 2_000_000  # sentence indices drawn at a time: bounds the memory, not the result


@dataclass(frozen=True)
class Score:
    """The score of a corpus.

    Attributes:
        name: What the metric calls itself (``BLEU``, ``chrF2++``).
        score: The corpus score, in the metric's own units (percent for BLEU, chrF and TER).
        signature: What one must know to compute it again; scores with different signatures can't be compared.
        low: Lower end of the 95 % bootstrap interval; None where no bootstrap was asked for.
        high: Upper end.
    """

    name: str
    score: float
    signature: str
    low: float | None = None
    high: float | None = None

    def as_dict(self) -> dict[str, float | str | None]:
        """What the evaluation's JSON stores."""
        return {"score": self.score, "signature": self.signature, "low": self.low, "high": self.high}


@METRIC.define
class Metric(ABC):
    """A corpus metric.

    A part supplies a row of statistics for each sentence and the score of a sum of such rows. That is enough for the score,
    its bootstrap interval and paired significance tests, none of which has to look at the text again.
    """

    is_higher_better: ClassVar[bool] = True

    @property
    @abstractmethod
    def label(self) -> str:
        """What a table writes over the scores."""

    @abstractmethod
    def statistics(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """The summable statistics of every sentence.

        Args:
            hypotheses: N translations.
            references: One list of N sentences for each reference set.

        Returns:
            (N, K), K as the metric needs.
        """

    @abstractmethod
    def from_statistics(self, sums: NDArray[np.floating]) -> float:
        """The corpus score of summed statistics. sums: (K,)."""

    def from_many(self, sums: NDArray[np.floating]) -> NDArray[np.floating]:
        """The corpus score of each row of summed statistics, as ``from_statistics`` gives it.

        A part overrides it where all rows at once are faster than one after the other: tests resample by the thousand.

        Args:
            sums: (R, K).

        Returns:
            (R,)
        """
        return np.array([self.from_statistics(row) for row in sums])

    @abstractmethod
    def signature(self, n_references: int, n_bootstrap: int) -> str:
        """Version and settings as ``key:value|key:value``.

        Args:
            n_references: Reference sets.
            n_bootstrap: Resamples; the interval is left out below 2.
        """

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]], n_bootstrap: int = 1000) -> Score:
        """Score a corpus.

        Args:
            hypotheses: N translations.
            references: One list of N sentences for each reference set.
            n_bootstrap: Resamples for the 95 % interval; below 2 there is none.

        Raises:
            InputError: There is nothing to score or the counts differ.
        """
        check_counts(hypotheses, references)
        return self.score_rows(self.statistics(hypotheses, references), len(references), n_bootstrap)

    def score_rows(self, rows: NDArray[np.float64], n_references: int, n_bootstrap: int = 1000) -> Score:
        """Score a corpus by the statistics of its sentences.

        Args:
            rows: (N, K).
            n_references: Reference sets that they were counted against.
            n_bootstrap: Resamples for the 95 % interval; below 2 there is none.
        """
        value = self.from_statistics(rows.sum(0))
        signature = self.signature(n_references, n_bootstrap)
        if n_bootstrap < 2:
            return Score(self.label, value, signature)
        samples = sorted(self.from_statistics(sums) for sums in resampled_sums(rows, n_bootstrap))
        # 95 %: one fortieth cut off at either end, the bounds that sacreBLEU halves into its "±"
        cut = n_bootstrap // 40
        return Score(self.label, value, signature, samples[cut], samples[n_bootstrap - cut - 1])


def resampled_sums(rows: NDArray[np.float64], n_bootstrap: int, seed: int = SEED) -> Iterator[NDArray[np.float32]]:
    """Summed statistics of corpora drawn with replacement.

    The draws are sacreBLEU's (``significance._bootstrap_resample``), but made in chunks: the memory stays bounded where
    sacreBLEU would hold ``n_bootstrap`` copies of the statistics (14 GB for chrF on 200,000 sentences).

    Args:
        rows: (N, K) statistics of the sentences.
        n_bootstrap: Resamples.
        seed: Of the generator.

    Yields:
        (K,), once for each resample.
    """
    n = len(rows)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // n)
    for start in range(0, n_bootstrap, chunk):
        drawn = generator.choice(n, size=(min(chunk, n_bootstrap - start), n), replace=True)
        counts = np.stack([np.bincount(row, minlength=n) for row in drawn])
        # (R, N) @ (N, K) -> (R, K). Rounded to float32 as sacreBLEU sums, so that the scores agree to the last bit
        # wherever its sums are exact (below 2 ** 24).
        yield from (counts @ rows).astype(np.float32)


def check_counts(hypotheses: Sequence[str], references: Sequence[Sequence[str]], name: str = "evaluation") -> None:
    """Refuse what has no score.

    Raises:
        InputError: No sentence, no reference, or counts that differ.
    """
    if not references or any(isinstance(r, str) for r in references):
        raise InputError(f"{name}: references must be one list of sentences per reference set, with at least one set")
    if not hypotheses:
        raise InputError(f"{name}: there is no hypothesis to score; the set must have at least one sentence")
    problems = [
        f"{name}: reference set {i} has {len(r):,} lines but there are {len(hypotheses):,} hypotheses; they must match line by line"
        for i, r in enumerate(references)
        if len(r) != len(hypotheses)
    ]
    if problems:
        raise InputError(problems)
