"""The most probable next token, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recambio.decoding.best import best_tokens
from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis
from recambio.decoding.searches.stepwise import Stepwise, Walk
from recambio.registry import SEARCH, Card

_LEAVE_SHARE = 8
"""Finished rows leave once they are one in this many: leaving costs a copy of the caches."""


@SEARCH.register(
    "greedy",
    card=Card(
        claim="Takes the most probable token at each step: the fastest search, and what validation uses.",
        formula="y_t = argmax_v log p(v | y_<t, x)",
        paper="Sutskever et al. 2014, Sequence to Sequence Learning with Neural Networks, https://arxiv.org/abs/1409.3215, section 3.2",
        fast_path="finished rows leave the batch, waiting ones enter where that pays; argmax on the device, one transfer a step",
    ),
)
class Greedy(Stepwise):
    """Greedy search. Ranks by the mean log-probability per token, EOS included."""

    def walk(self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]) -> Walk:
        """See :meth:`Stepwise.walk`."""
        return _GreedyWalk(scorer, sources, max_lengths, self.width)


class _GreedyWalk(Walk):
    def __init__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int], width: int
    ) -> None:
        super().__init__(scorer, sources, max_lengths, width)
        self.words: list[list[int]] = [[] for _ in max_lengths]
        self.sums = [0.0] * len(max_lengths)
        self.is_finished = [False] * len(max_lengths)
        self.is_done = [False] * len(max_lengths)

    def advance(self, log_probabilities: Tensor) -> Tensor | None:
        """See :meth:`Walk.advance`."""
        best, self.tokens = (x[:, 0] for x in best_tokens(log_probabilities, 1))
        n_done = 0
        for i, token, value in zip(self.alive, self.tokens.tolist(), best.tolist(), strict=True):
            if not self.is_done[i]:
                self.sums[i] += value
                if token == self.scorer.eos_id:
                    self.is_finished[i] = True
                else:
                    self.words[i].append(token)
                self.is_done[i] = self.is_finished[i] or len(self.words[i]) == self.max_lengths[i]
            n_done += self.is_done[i]
        if n_done * _LEAVE_SHARE < len(self.alive):
            return None
        rows = [row for row, i in enumerate(self.alive) if not self.is_done[i]]
        self.alive = [self.alive[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.long, device=self.tokens.device)
        self.tokens = self.tokens[index]
        return index

    def results(self) -> list[list[Hypothesis]]:
        """See :meth:`Walk.results`."""
        return [
            [Hypothesis(words, total, total / (len(words) + finished), finished)]
            for words, total, finished in zip(self.words, self.sums, self.is_finished, strict=True)
        ]
