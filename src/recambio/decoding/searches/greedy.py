"""The most probable next token, again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from recambio.decoding.best import best_tokens
from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.registry import SEARCH, Card

_LEAVE_SHARE = 8
"""Finished rows leave once they are one in this many: leaving costs a copy of the caches."""


@SEARCH.register(
    "greedy",
    card=Card(
        claim="Takes the most probable token at each step: the fastest search, and what validation uses.",
        formula="y_t = argmax_v log p(v | y_<t, x)",
        paper="Sutskever et al. 2014, Sequence to Sequence Learning with Neural Networks, https://arxiv.org/abs/1409.3215, section 3.2",
        fast_path="finished rows leave the batch; argmax on the device, one transfer a step",
    ),
)
class Greedy(Search):
    """Greedy search. Ranks by the mean log-probability per token, EOS included."""

    @torch.inference_mode()
    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """See :meth:`Search.__call__`."""
        longest = max(max_lengths)
        state = scorer.start(sources, longest)
        limits = list(max_lengths)
        alive = list(range(len(sources)))
        is_done = [False] * len(sources)
        tokens_of: list[list[int]] = [[] for _ in sources]
        sums = [0.0] * len(sources)
        finished = [False] * len(sources)
        tokens = torch.full((len(sources),), scorer.sos_id, dtype=torch.long, device=scorer.device)
        for t in range(1, longest + 1):
            best, tokens = (x[:, 0] for x in best_tokens(scorer.step(state, tokens), 1))
            leaving = 0
            for row, (token, value) in enumerate(zip(tokens.tolist(), best.tolist(), strict=True)):
                i = alive[row]
                if is_done[i]:
                    leaving += 1
                    continue
                sums[i] += value
                if token == scorer.eos_id:
                    finished[i] = True
                else:
                    tokens_of[i].append(token)
                if finished[i] or t == limits[i]:
                    is_done[i] = True
                    leaving += 1
            if leaving == len(alive):
                break
            if leaving * _LEAVE_SHARE >= len(alive):
                rows = [row for row, i in enumerate(alive) if not is_done[i]]
                alive = [alive[row] for row in rows]
                index = torch.tensor(rows, device=scorer.device)
                state, tokens = scorer.select(state, index), tokens[index]
        return [
            [Hypothesis(tokens_of[i], sums[i], sums[i] / (len(tokens_of[i]) + finished[i]), finished[i])]
            for i in range(len(sources))
        ]
