"""Tests whose unit is the training run: whether two parts differ, not whether two files of translations do.

Welch's t-test and not a permutation test: with the two to five seeds that a cell can afford, the permutations are too few to
reach any level (3 against 3 has p = 0.1 at best). What the t-test assumes, scores of seeds that scatter normally, is plausible
of corpus scores, which add up thousands of sentences; equal variances it doesn't assume.

Papers: Welch 1947, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved",
https://doi.org/10.1093/biomet/34.1-2.28; on seeds as the unit, Bouthillier et al. 2021, "Accounting for Variance in Machine
Learning Benchmarks", https://arxiv.org/abs/2103.03098.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The scores of one system's seeds.

    Attributes:
        n: Seeds.
        mean: Of their scores.
        deviation: Sample standard deviation (n - 1); None of one seed.
    """

    n: int
    mean: float
    deviation: float | None


def spread(scores: Sequence[float]) -> Spread:
    """Mean and standard deviation over seeds. scores: one for each seed, at least one."""
    return Spread(len(scores), statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None)


def welch(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Two-sided p of Welch's t-test.

    Args:
        first: One score for each seed of a system.
        second: Of another system.

    Returns:
        p; None where there is no telling: a system has one seed, or no score of either varies.
    """
    a, b = spread(first), spread(second)
    if a.deviation is None or b.deviation is None:
        return None
    error_a, error_b = a.deviation**2 / a.n, b.deviation**2 / b.n
    error = error_a + error_b
    if error == 0:
        return None
    t = (a.mean - b.mean) / math.sqrt(error)
    freedom = error**2 / (error_a**2 / (a.n - 1) + error_b**2 / (b.n - 1))
    return student_tail(t, freedom)


def student_tail(t: float, freedom: float) -> float:
    """Two-sided tail of Student's distribution: ``I_x(freedom / 2, 1 / 2)`` at ``x = freedom / (freedom + t^2)``."""
    return _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz), DLMF 8.17.22."""
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, its mirror image is fast
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, 1000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + factor * d or tiny)
            c = 1 + factor / c or tiny
            fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * fraction
