"""Translations without certain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recambio.decoding.scorer import Scorer
from recambio.decoding.scorers.phrases import PhraseAutomaton


@dataclass
class PhraseState:
    """Rows and how far into a phrase each stands.

    Attributes:
        inner: The scorer's own state.
        places: (R,) int32, states of the automaton.
    """

    inner: Any
    places: Tensor


class Forbidden(Scorer[PhraseState]):
    """Makes tokens impossible that would complete a phrase.

    All other tokens keep their probabilities, so a translation's score is what it would be without the prohibition. What a phrase is,
    and where it ends, :class:`PhraseAutomaton` says: a token that ends exactly where the phrase does is out, even if the model meant to
    go on to a longer word; a token that goes on by itself is not.

    Args:
        inner: Scores the tokens.
        automaton: The phrases.
    """

    def __init__(self, inner: Scorer[Any], automaton: PhraseAutomaton) -> None:
        self.inner = inner
        self.sos_id, self.eos_id, self.pad_id, self.device = inner.sos_id, inner.eos_id, inner.pad_id, inner.device
        self.first = automaton.start
        self.next_state = torch.from_numpy(automaton.next_state).to(self.device)
        self.completes = torch.from_numpy(automaton.completes).to(self.device)

    def start(self, sources: Sequence[Sequence[int]], max_length: int) -> PhraseState:
        """See :meth:`Scorer.start`."""
        places = torch.full((len(sources),), self.first, dtype=torch.int32, device=self.device)
        return PhraseState(self.inner.start(sources, max_length), places)

    def step(self, state: PhraseState, tokens: Tensor) -> Tensor:
        """See :meth:`Scorer.step`."""
        # SOS spells nothing: it leaves a row where it stands.
        state.places = self.next_state[state.places, tokens]
        return self.inner.step(state.inner, tokens).masked_fill(self.completes[state.places], -math.inf)

    def select(self, state: PhraseState, rows: Tensor) -> PhraseState:
        """See :meth:`Scorer.select`."""
        return PhraseState(self.inner.select(state.inner, rows), state.places[rows])

    def join(self, state: PhraseState, other: PhraseState) -> PhraseState:
        """See :meth:`Scorer.join`."""
        return PhraseState(self.inner.join(state.inner, other.inner), torch.cat([state.places, other.places]))

    def attention_problem(self) -> str | None:
        """See :meth:`Scorer.attention_problem`."""
        return self.inner.attention_problem()

    def attention(self, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[Tensor]:
        """See :meth:`Scorer.attention`."""
        return self.inner.attention(source, targets)
