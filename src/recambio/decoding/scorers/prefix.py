"""Translations that begin as they are told to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recambio.decoding.scorer import Scorer


class Prefixed(list[int]):
    """A source together with the tokens that its translation must begin with.

    It is a source like any other to whoever batches, orders or searches; only :class:`ForcedPrefix` looks at the prefix.

    Args:
        tokens: Of the source, EOS included.
        prefix: Target tokens, without SOS and EOS.
    """

    def __init__(self, tokens: Iterable[int], prefix: Sequence[int]) -> None:
        super().__init__(tokens)
        self.prefix = list(prefix)


@dataclass
class PrefixState:
    """Rows and what they still have to say.

    Attributes:
        inner: The scorer's own state.
        waiting: (R, P) the tokens to come, -1 where nothing is prescribed; a step takes the first column away.
    """

    inner: Any
    waiting: Tensor


class ForcedPrefix(Scorer[PrefixState]):
    """Leaves a row that has a prefix only the prefix's next token, until it has been said.

    The token keeps the probability that the scorer gives it, so a translation's score is what it would be without the force. A
    source that is no :class:`Prefixed` is left alone.

    Args:
        inner: Scores the tokens.
    """

    def __init__(self, inner: Scorer[Any]) -> None:
        self.inner = inner
        self.sos_id, self.eos_id, self.pad_id, self.device = inner.sos_id, inner.eos_id, inner.pad_id, inner.device

    def start(self, sources: Sequence[Sequence[int]], max_length: int) -> PrefixState:
        """See :meth:`Scorer.start`."""
        prefixes = [s.prefix if isinstance(s, Prefixed) else [] for s in sources]
        waiting = torch.full((len(sources), max(map(len, prefixes))), -1, dtype=torch.long)
        for row, prefix in zip(waiting, prefixes, strict=True):
            row[: len(prefix)] = torch.tensor(prefix, dtype=torch.long)
        return PrefixState(self.inner.start(sources, max_length), waiting.to(self.device))

    def step(self, state: PrefixState, tokens: Tensor) -> Tensor:
        """See :meth:`Scorer.step`."""
        log_probabilities = self.inner.step(state.inner, tokens)
        if state.waiting.shape[1] == 0:
            return log_probabilities
        forced, state.waiting = state.waiting[:, :1], state.waiting[:, 1:]
        is_other = torch.arange(log_probabilities.shape[-1], device=self.device) != forced
        return log_probabilities.masked_fill(is_other & (forced >= 0), -math.inf)

    def select(self, state: PrefixState, rows: Tensor) -> PrefixState:
        """See :meth:`Scorer.select`."""
        return PrefixState(self.inner.select(state.inner, rows), state.waiting[rows])

    def join(self, state: PrefixState, other: PrefixState) -> PrefixState:
        """See :meth:`Scorer.join`."""
        longest = max(state.waiting.shape[1], other.waiting.shape[1])
        waiting = [nn.functional.pad(w, (0, longest - w.shape[1]), value=-1) for w in (state.waiting, other.waiting)]
        return PrefixState(self.inner.join(state.inner, other.inner), torch.cat(waiting))

    def attention_problem(self) -> str | None:
        """See :meth:`Scorer.attention_problem`."""
        return self.inner.attention_problem()

    def attention(self, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[Tensor]:
        """See :meth:`Scorer.attention`."""
        return self.inner.attention(source, targets)
