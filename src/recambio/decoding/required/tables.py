"""The required phrases of a batch in tensors: all texts read at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from recambio.decoding.required.reader import N_SYMBOLS
from recambio.decoding.required.spelling import RequiredPhrase


class Required(list[int]):
    """A source together with the phrases that its translation must hold.

    It is a source like any other to whoever batches or orders; a search that knows of phrases hands :attr:`source` to the scorer.

    Args:
        source: Token ids, EOS included; it may say more than its tokens, as :class:`recambio.decoding.scorers.Prefixed` does.
        phrases: One that comes twice counts once.
    """

    def __init__(self, source: Sequence[int], phrases: Iterable[RequiredPhrase]) -> None:
        super().__init__(source)
        self.source = source
        self.phrases = tuple(dict.fromkeys(phrases))


def unwrapped(source: Sequence[int]) -> Sequence[int]:
    """A source without what is required of its translation."""
    return source.source if isinstance(source, Required) else source


def holds(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase: one that begins or ends with a letter or digit where a word begins or ends. Case counts."""
    before = r"(?<![^\W_])" if phrase[0].isalnum() else ""
    after = r"(?![^\W_])" if phrase[-1].isalnum() else ""
    return re.search(before + re.escape(phrase) + after, text) is not None


class PhraseTables:
    """The automata of all phrases of a batch as one, whose states are numbered through; state 0 is that of no phrase.

    M sources with at most C phrases each.

    Args:
        sources: Any may be :class:`Required`.
        symbols: (V, L), what each token spells.
        device: Where tokens live.

    Attributes:
        start: (M, C) int64, the states before the first token.
        proposals: (N, 2), tokens that bring a phrase forward from a state; -1 for none.
        is_complete: (N,), whether a text that ends in a state holds the phrase.
        is_pending: (N,), whether it does so only unless its last word goes on.
    """

    def __init__(self, sources: Sequence[Sequence[int]], symbols: Tensor, device: torch.device) -> None:
        of_source = [s.phrases if isinstance(s, Required) else () for s in sources]
        distinct = list(dict.fromkeys(phrase for phrases in of_source for phrase in phrases))
        offsets, n_states = {}, 1
        for phrase in distinct:
            offsets[phrase] = n_states
            n_states += len(phrase.progress)
        start = torch.zeros(len(sources), max(map(len, of_source), default=0), dtype=torch.long)
        for row, phrases in zip(start, of_source, strict=True):
            row[: len(phrases)] = torch.tensor([offsets[p] for p in phrases], dtype=torch.long)
        self.start = start.to(device)
        self.is_complete = torch.cat(
            [torch.ones(1, dtype=torch.bool), *(torch.from_numpy(p.is_complete) for p in distinct)]
        ).to(device)
        self.is_pending = torch.cat(
            [torch.zeros(1, dtype=torch.bool), *(torch.from_numpy(p.is_pending) for p in distinct)]
        ).to(device)
        self._progress = torch.cat(
            [torch.zeros(1, dtype=torch.int32), *(torch.from_numpy(p.progress) for p in distinct)]
        ).to(device)
        self.proposals = torch.cat(
            [torch.full((1, 2), -1), *(torch.from_numpy(p.proposals) for p in distinct)]
        ).to(device)  # fmt: skip
        self._next = torch.cat(
            [
                torch.zeros(1, N_SYMBOLS, dtype=torch.int32),
                *(torch.from_numpy(p.next_state) + offsets[p] for p in distinct),
            ]
        ).to(device)
        self._symbols = symbols.to(device)

    def read(self, places: Tensor, tokens: Tensor) -> Tensor:
        """The states after a token: places (..., C), tokens (..., Q). Returns: (..., Q, C)."""
        states = places[..., None, :].expand(*tokens.shape, places.shape[-1])
        if places.shape[-1]:
            for symbol in self._symbols[tokens].unbind(-1):
                states = self._next[states, symbol[..., None]]
        return states.long()

    def met(self, places: Tensor) -> Tensor:
        """How many tokens of its phrases a text has said: places (..., C). Returns: (...), int64.

        Of phrases that are begun only the furthest counts: so there is always a token that makes it one more, where two that have begun
        alike could lose as much as they win.
        """
        if not places.shape[-1]:
            return torch.zeros(places.shape[:-1], dtype=torch.long, device=places.device)
        progress, is_complete = self._progress[places], self.is_complete[places]
        begun = progress.masked_fill(is_complete, 0).amax(-1)
        return progress.masked_fill(~is_complete, 0).sum(-1) + begun

    def missing(self, places: Tensor) -> Tensor:
        """How many phrases a text lacks: places (..., C). Returns: (...), int64."""
        return (~self.is_complete[places]).sum(-1)
