"""Paired tests of two systems on one test set: sacreBLEU's p-values, from the statistics of the sentences.

Both tests ask whether the difference of two corpus scores could come from the choice of sentences. They speak of two files of
translations. Whether one *part* of a model is better than another is a question about training runs:
:mod:`recambio.evaluation.seeds`.

What differs from sacreBLEU 2.6 (``significance.py``), whose seed, draws and definitions these are:

- Identical translations have p = 1. sacreBLEU counts resamples *strictly* beyond the observed difference, and so gives two
  equal files 1 / (n + 1), about 0.001: "significantly different". More generally, where only m sentences have other
  statistics, at least 2 of the 2^m ways to swap them are as extreme as what was seen, so no p here is below 2^(1 - m).
  From 15 sentences on (11 for the bootstrap of 1,000) the bound is below what the tests can reach, and p is sacreBLEU's.
- A difference of exactly 0 has p = 1 too, as of two systems whose BLEU is 0.
- Strict counting is kept otherwise, for the p-values to agree.

sacreBLEU's *bootstrap* p is not calibrated: it compares ``|d*| - mean |d*|`` with ``|d|``, which for a difference well away
from 0 is a one-sided test. Under the null it falls below 0.05 about twice as often as it should (measured in
docs/evaluation.md), so a verdict should rest on the randomisation test.

Papers: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation", https://aclanthology.org/W04-3250;
Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation and Significance Testing for MT",
https://aclanthology.org/W05-0908.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recambio.evaluation.base import SEED, Metric, resampled_sums

N_BOOTSTRAP = 1000
"""Resamples, sacreBLEU's default."""

N_RANDOMISATION = 10_000
"""Random swaps, sacreBLEU's default."""

_CHUNK = 4_000_000  # swaps drawn at a time: bounds the memory, not the result


@dataclass(frozen=True)
class PairedTest:
    """How a system differs from the baseline on the same sentences.

    Attributes:
        difference: Score of the system less that of the baseline.
        low: Lower end of the difference's 95 % bootstrap interval.
        high: Upper end.
        p_bootstrap: Of the paired bootstrap.
        p_randomisation: Of the paired approximate randomisation.
    """

    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomisation: float


def paired_test(
    metric: Metric,
    baseline: NDArray[np.float64],
    system: NDArray[np.float64],
    n_bootstrap: int = N_BOOTSTRAP,
    n_randomisation: int = N_RANDOMISATION,
    seed: int = SEED,
) -> PairedTest:
    """Both tests of a system against a baseline.

    Args:
        metric: The metric whose statistics these are.
        baseline: (N, K) statistics of the baseline's sentences.
        system: (N, K) of the system's.
        n_bootstrap: Resamples.
        n_randomisation: Random swaps.
        seed: Of either test.
    """
    difference = metric.from_statistics(system.sum(0)) - metric.from_statistics(baseline.sum(0))
    resampled = _resampled_differences(metric, baseline, system, n_bootstrap, seed)
    ranked = np.sort(resampled.astype(np.float64))
    cut = n_bootstrap // 40
    return PairedTest(
        difference,
        float(ranked[cut]),
        float(ranked[n_bootstrap - cut - 1]),
        _bootstrap_p(metric, baseline, system, resampled),
        paired_randomisation(metric, baseline, system, n_randomisation, seed),
    )


def paired_bootstrap(
    metric: Metric,
    baseline: NDArray[np.float64],
    system: NDArray[np.float64],
    n: int = N_BOOTSTRAP,
    seed: int = SEED,
) -> float:
    """p of paired bootstrap resampling: ``(#{|d*| - mean |d*| > |d|} + 1) / (n + 1)``, d* the differences of resampled corpora.

    Args:
        metric: The metric whose statistics these are.
        baseline: (N, K) statistics of the baseline's sentences.
        system: (N, K) of the system's.
        n: Resamples.
        seed: Of their choice; the resamples are those of the scores' intervals.
    """
    return _bootstrap_p(metric, baseline, system, _resampled_differences(metric, baseline, system, n, seed))


def paired_randomisation(
    metric: Metric,
    baseline: NDArray[np.float64],
    system: NDArray[np.float64],
    n: int = N_RANDOMISATION,
    seed: int = SEED,
) -> float:
    """p of paired approximate randomisation: ``(#{|d*| > |d|} + 1) / (n + 1)``, d* with sentences swapped between the systems at random.

    Args:
        metric: The metric whose statistics these are.
        baseline: (N, K) statistics of the baseline's sentences.
        system: (N, K) of the system's.
        n: Random swaps.
        seed: Of their choice.
    """
    total, change = baseline.sum(0) + system.sum(0), baseline - system
    sizes = []
    for is_kept in _swaps(n, len(baseline), seed):
        # (R, N) @ (N, K) -> (R, K), exact where the statistics are whole numbers
        one = is_kept.astype(np.float64) @ change + system.sum(0)
        sizes.append(np.abs(metric.from_many(one) - metric.from_many(total - one)))
    # by the same arithmetic as the swapped ones, so that a swap of nothing is a tie and not a rounding error beyond it
    observed = metric.from_many(np.stack([baseline.sum(0), system.sum(0)]))
    return _p_value(np.concatenate(sizes), abs(float(observed[0]) - float(observed[1])), baseline, system)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, so that the chance of any false claim stays below the level.

    The i-th smallest of k is multiplied by ``k - i + 1``, and is at least the one before it.

    Paper: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure", https://www.jstor.org/stable/4615733.

    Args:
        p_values: Of k tests.

    Returns:
        k values, in the same order.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda j: p_values[j])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _resampled_differences(
    metric: Metric, baseline: NDArray[np.float64], system: NDArray[np.float64], n: int, seed: int
) -> NDArray[np.floating]:
    """(n,): system less baseline, both on the same draw."""
    n_columns = baseline.shape[1]
    sums = np.stack(list(resampled_sums(np.hstack([baseline, system]), n, seed)))
    return metric.from_many(sums[:, n_columns:]) - metric.from_many(sums[:, :n_columns])


def _bootstrap_p(
    metric: Metric, baseline: NDArray[np.float64], system: NDArray[np.float64], resampled: NDArray[np.floating]
) -> float:
    observed = abs(metric.from_statistics(baseline.sum(0)) - metric.from_statistics(system.sum(0)))
    sizes = np.abs(resampled)
    return _p_value(sizes - sizes.mean(), observed, baseline, system)


def _swaps(n: int, n_sentences: int, seed: int) -> Iterator[NDArray[np.bool_]]:
    """(R, N) at a time, n rows in all: whether each sentence stays with its system."""
    generator = np.random.default_rng(seed)
    # numpy takes bits by 32 and throws away what is left of a call: chunks of 32 rows draw what one call would
    chunk = max(32, _CHUNK // n_sentences // 32 * 32)
    for start in range(0, n, chunk):
        yield generator.integers(2, size=(min(chunk, n - start), n_sentences), dtype=bool)


def _p_value(
    sizes: NDArray[np.floating], observed: float, baseline: NDArray[np.float64], system: NDArray[np.float64]
) -> float:
    # compared in the type of the resampled scores, as numpy does with the library's
    n_beyond = int((sizes > sizes.dtype.type(observed)).sum())
    if observed == 0:
        return 1.0
    n_different = int((baseline != system).any(1).sum())
    return max((n_beyond + 1) / (len(sizes) + 1), min(1.0, 2.0 ** (1 - n_different)))
