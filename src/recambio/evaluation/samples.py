"""A few translations to look at."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from recambio.evaluation.phenomena import exact_matches


@dataclass(frozen=True)
class Sample:
    """A sentence, what was asked for and what came.

    Attributes:
        index: Line of the set, from 0.
        source: The English sentence.
        reference: The first reference.
        hypothesis: The translation.
        is_exact: Whether the translation equals a reference.
    """

    index: int
    source: str
    reference: str
    hypothesis: str
    is_exact: bool

    def as_dict(self) -> dict[str, str | int | bool]:
        """Plain data."""
        return asdict(self)


def choose_samples(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    n: int = 5,
    seed: int = 0,
) -> list[Sample]:
    """Draw samples, right and wrong ones in turn as long as there are both, so that neither hides the other.

    Args:
        sources: N sentences.
        hypotheses: N translations.
        references: One list of N sentences for each reference set.
        n: How many.
        seed: The same seed shows the same lines of the same set for translations of equal correctness.

    Returns:
        At most n, in the order of the set.
    """
    matches = exact_matches(hypotheses, references)
    order = random.Random(seed).sample(range(len(matches)), len(matches))
    right = [i for i in order if matches[i]]
    wrong = [i for i in order if not matches[i]]
    n_right = min(len(right), max(n // 2, n - len(wrong)))
    chosen = sorted(right[:n_right] + wrong[: n - n_right])
    return [Sample(i, sources[i], references[0][i], hypotheses[i], matches[i]) for i in chosen]
