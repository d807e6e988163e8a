"""Several models that predict together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from recambio.decoding.scorer import Scorer

Combine = Literal["probabilities", "log_probabilities"]


class Ensemble(Scorer[list[Any]]):
    """Several scorers over one vocabulary as one.

    ``probabilities``: ``log p(v) = log(1/M sum_m p_m(v))``, a mixture: a token is as probable as the members find it on
    average. ``log_probabilities``: ``log p(v) = 1/M sum_m log p_m(v) - log Z``, a product of experts: what one member finds impossible
    is impossible.

    Paper: Sutskever et al. 2014, "Sequence to Sequence Learning with Neural Networks", https://arxiv.org/abs/1409.3215, section 3.6.

    Args:
        members: Scorers whose tokens mean the same; at least one.
        combine: What is averaged.
    """

    def __init__(self, members: Sequence[Scorer[Any]], combine: Combine = "probabilities") -> None:
        if not members:
            raise ValueError("an ensemble needs at least one member")
        first = members[0]
        special = (first.sos_id, first.eos_id, first.pad_id)
        if any((m.sos_id, m.eos_id, m.pad_id) != special for m in members):
            raise ValueError("the members of an ensemble must share one vocabulary, but their special tokens differ")
        self.members, self.combine = list(members), combine
        self.sos_id, self.eos_id, self.pad_id = special
        self.device = first.device

    def start(self, sources: Sequence[Sequence[int]], max_length: int) -> list[Any]:
        """See :meth:`Scorer.start`."""
        return [m.start(sources, max_length) for m in self.members]

    def step(self, state: list[Any], tokens: Tensor) -> Tensor:
        """See :meth:`Scorer.step`."""
        each = torch.stack([m.step(s, tokens) for m, s in zip(self.members, state, strict=True)])
        if self.combine == "probabilities":
            return torch.logsumexp(each, dim=0) - math.log(len(self.members))
        return torch.log_softmax(each.mean(0), dim=-1)

    def select(self, state: list[Any], rows: Tensor) -> list[Any]:
        """See :meth:`Scorer.select`."""
        return [m.select(s, rows) for m, s in zip(self.members, state, strict=True)]

    def join(self, state: list[Any], other: list[Any]) -> list[Any]:
        """See :meth:`Scorer.join`."""
        return [m.join(s, o) for m, s, o in zip(self.members, state, other, strict=True)]

    def attention_problem(self) -> str | None:
        """See :meth:`Scorer.attention_problem`."""
        return next((problem for m in self.members if (problem := m.attention_problem())), None)

    def attention(self, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[Tensor]:
        """See :meth:`Scorer.attention`. The mean of the members'."""
        each = [m.attention(source, targets) for m in self.members]
        return [torch.stack(weights).mean(0) for weights in zip(*each, strict=True)]
