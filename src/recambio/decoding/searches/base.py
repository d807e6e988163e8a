"""The contract of a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recambio.decoding.scorer import Scorer
from recambio.registry import SEARCH


@dataclass(frozen=True)
class Hypothesis:
    """One translation.

    Attributes:
        tokens: Target ids, without SOS and EOS.
        log_probability: Sum over the tokens and EOS.
        score: What the search ranked by: the sum after length normalisation.
        is_finished: It ended with EOS; False where the length limit cut it.
    """

    tokens: list[int]
    log_probability: float
    score: float
    is_finished: bool


@SEARCH.define
class Search(ABC):
    """Turns a scorer's probabilities into translations.

    Attributes:
        width: Rows that a source takes.
    """

    width: int = 1

    @abstractmethod
    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """Translate one batch.

        Args:
            scorer: Gives log-probabilities of next tokens.
            sources: Token ids, EOS included.
            max_lengths: The most target tokens of each, EOS included.

        Returns:
            For each source its hypotheses, best first; at least one.
        """
