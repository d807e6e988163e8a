"""TER, by sacreBLEU, with a faster edit distance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import lib_ter
from sacrebleu.metrics.ter import TER as LibraryTER

from recambio.evaluation.sacre import SacreBLEUMetric
from recambio.registry import METRIC, Card


@METRIC.register(
    "ter",
    card=Card(
        claim="Words to insert, delete, replace or move until the translation is the reference, per reference word; less is better.",
        formula="100 * (insertions + deletions + substitutions + shifts) / len(ref)",
        paper=(
            "Snover et al. 2006, A Study of Translation Edit Rate with Targeted Human Annotation, "
            "https://aclanthology.org/2006.amta-papers.25"
        ),
        departures="As sacreBLEU: Tercom's rules, a beam of 25 around the diagonal.",
    ),
)
class TER(SacreBLEUMetric):
    """Corpus TER.

    Args:
        normalized: Split off punctuation first, by Tercom's rules.
        no_punct: Drop punctuation.
        case_sensitive: Compare with case.
    """

    is_higher_better: ClassVar[bool] = False

    def __init__(self, normalized: bool = False, no_punct: bool = False, case_sensitive: bool = False) -> None:
        super().__init__(FastTER(normalized=normalized, no_punct=no_punct, case_sensitive=case_sensitive))

    @property
    def label(self) -> str:
        """``TER``."""
        return "TER"

    def from_many(self, sums: NDArray[np.floating]) -> NDArray[np.floating]:
        """sums: (R, 2), edits and words of the references."""
        edits, n_words = sums[:, 0], sums[:, 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(n_words > 0, edits / n_words, (edits > 0).astype(sums.dtype))
        return 100 * rate


class FastTER(LibraryTER):  # type: ignore[misc]
    """sacreBLEU's TER, the same numbers several times sooner: only the edit distance is replaced."""

    def _compute_segment_statistics(self, hypothesis: str, ref_kwargs: Mapping[str, Any]) -> list[float]:
        words = hypothesis.split()
        references = ref_kwargs["ref_words"]
        edits = min(translation_edits(words, reference) for reference in references)
        return [edits, sum(map(len, references)) / len(references)]


def translation_edits(hypothesis: list[str], reference: list[str]) -> int:
    """Edits and shifts that turn a hypothesis into a reference: ``lib_ter.translation_edit_rate``, line by line."""
    if not reference:
        return len(hypothesis)
    distance = CostDistance(reference)
    words, shifts, n_candidates = hypothesis, 0, 0
    while True:
        distance.is_traced = True
        delta, shifted, n_candidates = lib_ter._shift(words, reference, distance, n_candidates)
        if n_candidates >= lib_ter._MAX_SHIFT_CANDIDATES or delta <= 0:
            break
        shifts += 1
        words = shifted
    return shifts + int(distance(words)[0])


class CostDistance(lib_ter.BeamEditDistance):  # type: ignore[misc]
    """sacreBLEU's beam edit distance on rows of costs alone.

    The library keeps an operation beside each cost. The operation follows from the costs around it, and is needed along one
    path only, so it is found on the way back. Its cache of rows by hypothesis prefix is used as it is.
    """

    def __init__(self, words_ref: list[str]) -> None:
        super().__init__(words_ref)
        self._initial_row: Any = list(range(len(words_ref) + 1))
        self._mismatches: dict[str, list[int]] = {}
        self.is_traced = False
        """Whether the next call returns the operations; `_shift` reads them of its first call only."""

    def _edit_distance(  # type: ignore[override]
        self, words_h: list[str], start_h: int, cache: list[Sequence[int]]
    ) -> tuple[int, list[Sequence[int]], str]:
        reference = self._words_ref
        n_hypothesis, n_reference = len(words_h), len(reference)
        infinity = lib_ter._INT_INFINITY
        rows = list(cache)
        ratio = n_reference / n_hypothesis if words_h else 1
        beam = lib_ter._BEAM_WIDTH
        if beam < ratio / 2:
            beam = math.ceil(ratio / 2 + beam)
        for i in range(start_h + 1, n_hypothesis + 1):
            word = words_h[i - 1]
            mismatch = self._mismatch(word)
            above = rows[i - 1]
            diagonal = math.floor(i * ratio)
            first = max(0, diagonal - beam)
            last = n_reference + 1 if i == n_hypothesis else min(n_reference + 1, diagonal + beam)
            if first == 0:
                cost = above[0] + 1
                row = [cost]
                first = 1
            else:
                cost = infinity
                row = [infinity] * first
            append = row.append
            # `best` starts as the cost of the cell on the diagonal; costs past infinity never win, so none is capped
            for best, up, is_other in zip(
                above[first - 1 : last - 1], above[first:last], mismatch[first - 1 : last - 1], strict=True
            ):
                if is_other:
                    if up < best:
                        best = up
                    if cost < best:
                        best = cost
                    cost = best + 1
                else:
                    if up < cost:
                        cost = up
                    cost = best if best <= cost else cost + 1
                append(cost)
            row.extend([infinity] * (n_reference + 1 - len(row)))
            rows.append(row)
        is_traced, self.is_traced = self.is_traced, False
        return rows[-1][-1], rows[len(cache) :], self._trace(words_h, rows) if is_traced else ""

    def _mismatch(self, word: str) -> list[int]:
        """For each word of the reference, 1 where it is another."""
        found = self._mismatches.get(word)
        if found is None:
            found = self._mismatches[word] = [int(word != other) for other in self._words_ref]
        return found

    def _trace(self, words_h: list[str], rows: list[Sequence[int]]) -> str:
        """The operations of the cheapest path, by the library's preference: match or substitute, delete, insert."""
        i, j = len(words_h), len(self._words_ref)
        operations: list[str] = []
        while i > 0 or j > 0:
            cost = rows[i][j]
            if cost >= lib_ter._INT_INFINITY:
                raise ValueError("the beam of the edit distance holds no path")
            is_other = i > 0 and j > 0 and self._mismatch(words_h[i - 1])[j - 1]
            if i > 0 and j > 0 and rows[i - 1][j - 1] + is_other == cost:
                operations.append(lib_ter._OP_SUB if is_other else lib_ter._OP_NOP)
                i, j = i - 1, j - 1
            elif i > 0 and rows[i - 1][j] + 1 == cost:
                operations.append(lib_ter._OP_DEL)
                i -= 1
            else:
                operations.append(lib_ter._OP_INS)
                j -= 1
        return "".join(reversed(operations))
