"""The contract of a search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recambio.decoding.scorer import Scorer
from recambio.registry import SEARCH


@dataclass(frozen=True)
class Hypothesis:
    """One translation.

    Attributes:
        tokens: Target ids, without SOS and EOS.
        log_probability: Sum over the tokens and EOS.
        score: What the search ranked by: the sum after length normalisation, and what else the search counts.
        is_finished: It ended with EOS; False where the length limit cut it.
    """

    tokens: list[int]
    log_probability: float
    score: float
    is_finished: bool


LengthRule = Literal["average", "gnmt"]
"""``average`` divides by |y|^a, ``gnmt`` by ((5 + |y|) / 6)^a."""


class LengthPenalty:
    """What the sum of log-probabilities of a translation is divided by.

    Args:
        exponent: a; 0 ranks by the plain sum.
        rule: Of :data:`LengthRule`.

    Paper: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7 (gnmt).
    """

    def __init__(self, exponent: float, rule: LengthRule) -> None:
        if exponent < 0:
            raise ValueError(f"`length_penalty` must not be negative, but is {exponent}")
        self.exponent, self.rule = exponent, rule

    def __call__(self, length: int) -> float:
        """length: tokens, EOS included."""
        base = (5 + length) / 6 if self.rule == "gnmt" else length
        return float(base**self.exponent)


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
