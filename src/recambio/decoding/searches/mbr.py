"""Minimum Bayes risk: the translation that is most like all the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.decoding.searches.sample import Sample
from recambio.decoding.utility import Utility, pairwise_utility
from recambio.registry import SEARCH, Card

_SAMPLES = 32


@SEARCH.register(
    "mbr",
    card=Card(
        claim="Of many translations takes the one that is most like the others, by chrF or BLEU, rather than the most probable one.",
        formula="argmax over candidates h of sum_r w_r u(h, r), r the pseudo-references, u sentence chrF or BLEU",
        paper="Eikema and Aziz 2022, Sampling-Based Approximations to Minimum Bayes Risk Decoding for Neural Machine Translation, "
        "https://arxiv.org/abs/2108.04718, section 3; Freitag et al. 2022, High Quality Rather than High Model Probability, "
        "https://arxiv.org/abs/2111.09388 (utilities)",
        departures="Utilities are n-gram metrics only; equal texts are one candidate.",
        fast_path="n-grams are counted once a text; the utility of all pairs is one matrix product for each order",
    ),
)
class MinimumBayesRisk(Search):
    """Minimum Bayes risk decoding over the translations that other searches find.

    The score of a hypothesis is its expected utility, from 0 to 100; its log-probability is the model's.

    Args:
        candidates: The search whose translations are chosen from; None for 32 samples.
        references: The search whose translations are compared with; None for the candidates.
        utility: ``chrf`` or ``bleu``, of sentences, as sacreBLEU computes them.
        weights: ``equal`` counts every pseudo-reference once, so that a sample drawn twice weighs double: right for samples.
            ``probability`` weighs each by the model's probability of it, over their sum: for beams.
        n_best: Hypotheses to return, without repeated texts; fewer where fewer were found.
        detokenize: From tokens to text, given by whoever knows the tokenizer.
    """

    def __init__(
        self,
        detokenize: Callable[[Sequence[Sequence[int]]], list[str]],
        candidates: Search | None = None,
        references: Search | None = None,
        utility: Utility = "chrf",
        weights: Literal["equal", "probability"] = "equal",
        n_best: int = 1,
    ) -> None:
        if n_best < 1:
            raise ValueError(f"`n_best` must be at least 1, but is {n_best}")
        self.detokenize = detokenize
        self.candidates = candidates or Sample(n=_SAMPLES)
        self.references = references
        self.utility: Utility = utility
        self.weights = weights
        self.n_best = n_best
        self.width = max(self.candidates.width, references.width if references else 1)

    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """See :meth:`Search.__call__`."""
        found = self.candidates(scorer, sources, max_lengths)
        compared = self.references(scorer, sources, max_lengths) if self.references else found
        return [self._rank(ours, theirs) for ours, theirs in zip(found, compared, strict=True)]

    def _rank(self, candidates: list[Hypothesis], references: list[Hypothesis]) -> list[Hypothesis]:
        by_text: dict[str, Hypothesis] = {}
        for text, hypothesis in zip(self.detokenize([h.tokens for h in candidates]), candidates, strict=True):
            by_text.setdefault(text, hypothesis)
        weights = self._weights(self.detokenize([h.tokens for h in references]), references)
        utilities = pairwise_utility(self.utility, list(by_text), list(weights))
        expected = utilities @ np.array(list(weights.values()))
        # Of equals the more probable, which candidates put first.
        best = np.argsort(-expected, kind="stable")[: self.n_best]
        hypotheses = list(by_text.values())
        return [replace(hypotheses[i], score=float(expected[i])) for i in best]

    def _weights(self, texts: Sequence[str], references: Sequence[Hypothesis]) -> dict[str, float]:
        """The weight of each text among the pseudo-references; they sum to 1."""
        logs = np.array([h.log_probability for h in references])
        each: NDArray[np.float64] = np.ones(len(logs)) if self.weights == "equal" else np.exp(logs - logs.max())
        total: dict[str, float] = {}
        for text, weight in zip(texts, (each / each.sum()).tolist(), strict=True):
            total[text] = total.get(text, 0.0) + weight
        return total
