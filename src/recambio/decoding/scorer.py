"""What a search sees of a model: log-probabilities of the next token, and states whose rows it may rearrange."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from recambio.decoding.alignment import alignment_problem, cross_attention_weights
from recambio.decoding.recorder import Recorder
from recambio.model import DecoderState, Transformer

S = TypeVar("S")


class Scorer(ABC, Generic[S]):
    """Scores next tokens for rows of partial translations. A model, an ensemble and a forced prefix are scorers.

    Attributes:
        sos_id, eos_id, pad_id: Special tokens, from the tokenizer.
        device: Where tokens and log-probabilities live.
    """

    sos_id: int
    eos_id: int
    pad_id: int
    device: torch.device

    @abstractmethod
    def start(self, sources: Sequence[Sequence[int]], max_length: int) -> S:
        """The state of one row per source, before the first token.

        Args:
            sources: Token ids, EOS included.
            max_length: Target tokens to expect; a hint for allocation.
        """

    @abstractmethod
    def step(self, state: S, tokens: Tensor) -> Tensor:
        """Consume one token a row: tokens (R,). Returns: log-probabilities (R, V) in float32. The state advances in place."""

    @abstractmethod
    def select(self, state: S, rows: Tensor) -> S:
        """The state of these rows (R',), in this order, repeats allowed; the old state must not be used afterwards."""

    @abstractmethod
    def join(self, state: S, other: S) -> S:
        """The rows of one state followed by those of another, which may stand at other lengths."""

    def attention_problem(self) -> str | None:
        """Why :meth:`attention` can't be asked for; None if it can."""
        return f"{type(self).__name__} doesn't tell where it looks"

    def attention(self, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[Tensor]:
        """How much each token of translations of a source looks at each token of that.

        Args:
            source: S token ids, EOS included.
            targets: T token ids each, EOS included where the translation ended.

        Returns:
            (T, S) for each target.
        """
        raise NotImplementedError(self.attention_problem())


class ModelScorer(Scorer[DecoderState]):
    """One Transformer.

    Args:
        model: In evaluation mode.
        sos_id: First decoder token.
        eos_id: Ends every sentence.
        pad_id: Fills shorter sources.
        is_recorded: The model's weights are there for good, and it is on CPU: steps of few rows may be recorded and replayed.
    """

    def __init__(self, model: Transformer, *, sos_id: int, eos_id: int, pad_id: int, is_recorded: bool = False) -> None:
        self.model = model
        self.sos_id, self.eos_id, self.pad_id = sos_id, eos_id, pad_id
        self.device = next(model.parameters()).device
        self.never = torch.tensor([sos_id, pad_id], device=self.device)
        """Tokens of probability zero."""
        self.recorder = Recorder(model, self._step) if is_recorded else None

    def start(self, sources: Sequence[Sequence[int]], max_length: int) -> DecoderState:
        """See :meth:`Scorer.start`."""
        longest = max(map(len, sources))
        padded = torch.full((len(sources), longest), self.pad_id, dtype=torch.long)
        for row, source in zip(padded, sources, strict=True):
            row[: len(source)] = torch.tensor(source)
        is_padded = any(len(s) < longest for s in sources)
        tokens = padded.to(self.device)
        return self.model.start(tokens, tokens != self.pad_id if is_padded else None, max_length)

    def step(self, state: DecoderState, tokens: Tensor) -> Tensor:
        """See :meth:`Scorer.step`. SOS and PAD have probability zero, and the rest sums to one without them."""
        return self._step(state, tokens) if self.recorder is None else self.recorder.step(state, tokens)

    def _step(self, state: DecoderState, tokens: Tensor) -> Tensor:
        hidden = self.model.step(state, tokens[:, None])[:, 0]
        logits = self.model.logits(hidden).float()
        return torch.log_softmax(logits.index_fill_(-1, self.never, float("-inf")), dim=-1)

    def select(self, state: DecoderState, rows: Tensor) -> DecoderState:
        """See :meth:`Scorer.select`."""
        return state.select(rows)

    def join(self, state: DecoderState, other: DecoderState) -> DecoderState:
        """See :meth:`Scorer.join`."""
        return state.join(other)

    def attention_problem(self) -> str | None:
        """See :meth:`Scorer.attention_problem`."""
        return alignment_problem(self.model)

    def attention(self, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[Tensor]:
        """See :meth:`Scorer.attention`. The mean over the heads of the last layer's cross-attention."""
        return cross_attention_weights(self.model, source, targets, self.sos_id)
