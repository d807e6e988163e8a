"""Whole-sentence accuracy, by linguistic phenomenon and by length."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LENGTHS = ((1, 4), (5, 8), (9, 12), (13, 16), (17, 24), (25, None))
"""Buckets of source words."""

_Z = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class Accuracy:
    """How many of n sentences are right.

    Attributes:
        n: Sentences.
        correct: Those that equal a reference.
    """

    n: int
    correct: int

    @property
    def exact(self) -> float:
        """Percent; NaN of no sentence."""
        return 100 * self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval in percent, which holds for few sentences and near 0 and 100.

        Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
        """
        if not self.n:
            return 0.0, 100.0
        p, z2 = self.correct / self.n, _Z * _Z
        centre = (p + z2 / (2 * self.n)) / (1 + z2 / self.n)
        half = _Z / (1 + z2 / self.n) * math.sqrt(p * (1 - p) / self.n + z2 / (4 * self.n * self.n))
        # exact at the ends, where rounding may leave 1e-17
        low = 0.0 if self.correct == 0 else centre - half
        high = 1.0 if self.correct == self.n else centre + half
        return 100 * low, 100 * high

    def as_dict(self) -> dict[str, float | int]:
        """``n``, ``exact`` in percent, and the interval."""
        low, high = self.interval
        return {"n": self.n, "exact": self.exact, "low": low, "high": high}


def is_exact(hypothesis: str, references: Iterable[str]) -> bool:
    """Whether a translation is one of the references, outer blanks aside."""
    return hypothesis.strip() in {r.strip() for r in references}


def exact_matches(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[bool]:
    """Which of N translations equal a reference.

    Args:
        hypotheses: N translations.
        references: One list of N sentences for each reference set.
    """
    return [is_exact(h, of_sentence) for h, of_sentence in zip(hypotheses, zip(*references, strict=True), strict=True)]


def accuracy_by_tag(matches: Sequence[bool], tags: Sequence[Iterable[str]]) -> dict[str, Accuracy]:
    """Accuracy of the sentences that carry each tag; a sentence counts once under each of its tags.

    Args:
        matches: Whether each of N translations is right.
        tags: The tags of each sentence.

    Returns:
        By tag, sorted.
    """
    found: dict[str, list[int]] = {}
    for is_match, of_sentence in zip(matches, tags, strict=True):
        for tag in set(of_sentence):
            entry = found.setdefault(tag, [0, 0])
            entry[0] += 1
            entry[1] += is_match
    return {tag: Accuracy(n, correct) for tag, (n, correct) in sorted(found.items())}


def accuracy_by_length(matches: Sequence[bool], sources: Sequence[str]) -> dict[str, Accuracy]:
    """Accuracy by the number of source words: ``1-4``, ``5-8``... ``25+``, without empty buckets."""
    found: dict[str, list[int]] = {}
    for is_match, source in zip(matches, sources, strict=True):
        n_words = max(1, len(source.split()))
        low, high = next((a, b) for a, b in LENGTHS if b is None or n_words <= b)
        entry = found.setdefault(f"{low}-{high}" if high else f"{low}+", [0, 0])
        entry[0] += 1
        entry[1] += is_match
    in_order = sorted(found, key=lambda bucket: int(bucket.rstrip("+").split("-")[0]))
    return {bucket: Accuracy(*found[bucket]) for bucket in in_order}


def phenomena_rows(
    table: Mapping[str, Accuracy], descriptions: Mapping[str, str] | None = None
) -> list[tuple[str, str, Accuracy]]:
    """Tag, description and accuracy, in the order of the descriptions so that two runs' tables line up.

    Args:
        table: Accuracy by tag.
        descriptions: What each tag means; tags without one come last.
    """
    descriptions = descriptions or {}
    order = {tag: i for i, tag in enumerate(descriptions)}
    tags = sorted(table, key=lambda tag: (order.get(tag, len(order)), tag))
    return [(tag, descriptions.get(tag, ""), table[tag]) for tag in tags]
