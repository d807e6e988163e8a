"""Steps of few rows, replayed: there the Python between torch's operations takes longer than the products."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recambio.model import DecoderState, Transformer
from recambio.model.recording import Function, record

Step = Callable[[DecoderState, Tensor], Tensor]
"""State and tokens (R,) to log-probabilities (R, V)."""

MULTIPLE = 64
"""Sources and targets are padded to a multiple of so many tokens: few lengths are few recordings."""

_MOST_ROWS = 8
"""A step of more rows spends little on anything but products, and the padding would cost it more."""

_MOST_RECORDINGS = 24

_FIRST = 4
"""How many times as often a shape must have been met for the first recording, with which comes what torch imports for it."""

_TOLERANCE = 1e-3


class _Key(NamedTuple):
    """What a recording depends on."""

    rows: int
    sources: int
    memory_length: int
    n_slots: int


class Recorder:
    """Replays the steps of one model, shape by shape, as soon as that pays.

    A recording's inputs and outputs are what the caches of all parts hold (:meth:`Cache.tensors`). Where a part has a cache that can't
    tell, or asks for a value in its step, steps are taken plainly. Whether a recording can be trusted is tried at once: log-probabilities
    and caches must be the plain step's.

    Args:
        model: In evaluation mode, on CPU, its weights for good.
        plain: Its step.
        uses: So often a shape must have been met before it is recorded, which takes as long as so many steps save; the first
            :data:`_FIRST` times as often.

    Attributes:
        problem: Why nothing is recorded any more; None if all is well.
    """

    def __init__(self, model: Transformer, plain: Step, uses: int = 1000) -> None:
        self.model, self.plain, self.uses = model, plain, uses
        self.problem: str | None = None
        self._met: dict[_Key, int] = {}
        # From tokens (R,), lengths (R,), the source's tokens (M, S) and what the caches hold to log-probabilities (R, V) and what they
        # hold then.
        self._recordings: dict[_Key, Function] = {}

    def step(self, state: DecoderState, tokens: Tensor) -> Tensor:
        """As the plain step: tokens (R,). Returns: log-probabilities (R, V). The state advances in place."""
        if self.problem is not None or len(tokens) > _MOST_ROWS or torch.is_grad_enabled():
            return self.plain(state, tokens)
        longest = int(state.lengths.max()) if state.common_length is None else state.common_length
        key = _Key(len(tokens), state.n_sources, _rounded(state.memory_length), _rounded(longest + 1))
        recording = self._recordings.get(key)
        if recording is None and not self._is_due(key):
            return self.plain(state, tokens)
        if (held := self._held(state, key)) is None:
            return self.plain(state, tokens)
        assert state.memory_tokens is not None
        inputs = [tokens.contiguous(), state.lengths, state.memory_tokens.contiguous(), *itertools.chain(*held)]
        if recording is None:
            return self._record(key, state, inputs, held)
        scores, *tensors = recording(*inputs)
        state.take(_apart(tensors, held))
        return scores

    def _is_due(self, key: _Key) -> bool:
        self._met[key] = self._met.get(key, 0) + 1
        needed = self.uses if self._recordings else self.uses * _FIRST
        return self._met[key] > needed and len(self._recordings) < _MOST_RECORDINGS

    def _held(self, state: DecoderState, key: _Key) -> list[tuple[Tensor, ...]] | None:
        """What the caches hold, the source's side padded; None if that can't be."""
        is_padded = state.memory_tokens is not None and state.memory_length == key.memory_length
        if not is_padded and not state.pad(key.memory_length):
            self.problem = "a cache of cross-attention can't be padded"
            return None
        return state.cache_tensors(key.n_slots)

    def _record(self, key: _Key, state: DecoderState, inputs: list[Tensor], held: Sequence[Sequence[Tensor]]) -> Tensor:
        """Record the step, and take it plainly."""

        def step(tokens: Tensor, lengths: Tensor, memory_tokens: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
            stand_in = state.standing_in(lengths, memory_tokens, _apart(tensors, held), key.n_slots)
            scores = self.plain(stand_in, tokens)
            return scores, *itertools.chain(*(stand_in.cache_tensors(key.n_slots) or ()))

        try:
            run = record(step, inputs, self.model)
            found = run(*(x.clone() for x in inputs))
        except Exception as error:  # whatever keeps a part from being recorded: there is the plain step
            self.problem = f"{type(error).__name__}: {error}"
            return self.plain(state, inputs[0])
        scores = self.plain(state, inputs[0])
        if (after := state.cache_tensors(key.n_slots)) is None:  # that was the last slot: nothing to compare with
            return scores
        expected = [scores, *itertools.chain(*after)]
        if len(found) != len(expected) or not all(map(_is_close, found, expected)):
            self.problem = "the recorded step gives other numbers than the plain one"
        else:
            self._recordings[key] = run
        return scores


def _rounded(length: int) -> int:
    return -(-length // MULTIPLE) * MULTIPLE


def _apart(tensors: Sequence[Tensor], held: Sequence[Sequence[Tensor]]) -> list[Sequence[Tensor]]:
    """Tensors in a row as they belong to the caches."""
    rest = iter(tensors)
    return [tuple(itertools.islice(rest, len(own))) for own in held]


def _is_close(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype and torch.allclose(x, y, rtol=_TOLERANCE, atol=_TOLERANCE)
