"""How a vocabulary spells a phrase: the tokens that are still needed, from wherever a text stands in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recambio.decoding.required.reader import MARK, SILENT, Reader, kind_of, symbols

_BEFORE = "a"
"""A word to put before a phrase, to see how the tokenizer cuts it in the middle of a sentence."""


@dataclass(frozen=True, eq=False)
class RequiredPhrase:
    """A phrase as a search meets it: an automaton over what tokens spell, whatever tokens those are.

    Attributes:
        text: The phrase.
        next_state: (N, symbols) int32; state 0 is that of an empty text.
        is_complete: (N,) bool, whether a text that ends here holds the phrase.
        is_pending: (N,) bool, whether it does so only unless its last word goes on.
        progress: (N,) int32, how many of the tokens that the phrase takes have been said; a complete one's are all said.
        proposals: (N, 2) int64, tokens that bring it forward: one that goes on from here, one that begins it after a space; -1 for none.
    """

    text: str
    next_state: NDArray[np.int32]
    is_complete: NDArray[np.bool_]
    is_pending: NDArray[np.bool_]
    progress: NDArray[np.int32]
    proposals: NDArray[np.int64]


class Spelling:
    """What the tokens of a vocabulary spell.

    Args:
        surface: The bytes that each token adds to a text, the space before a word included.
        unk_id: The token that stands for what the vocabulary lacks.
        encode: From lines to tokens.

    Attributes:
        symbols: (V, L) int64, the bytes of each token as :func:`recambio.decoding.required.reader.symbols` gives them, filled up
            with silent ones.
        goes_on: (V,) bool, whether a token goes on with the word before it.
    """

    def __init__(
        self, surface: Sequence[bytes], unk_id: int, encode: Callable[[Sequence[str]], list[list[int]]]
    ) -> None:
        # What the unknown token will look like nobody knows: a byte of no text.
        self.surface = [b"\xff" if i == unk_id else s for i, s in enumerate(surface)]
        self.encode = encode
        spelled = [symbols(s) for s in self.surface]
        self.symbols = torch.full((len(spelled), max(map(len, spelled))), SILENT, dtype=torch.long)
        for row, found in zip(self.symbols, spelled, strict=True):
            row[: len(found)] = torch.tensor(found, dtype=torch.long)
        self.goes_on = torch.tensor([bool(s) and kind_of(s[0]) != MARK for s in spelled])
        self._token_of = {s: i for i, s in reversed(list(enumerate(surface))) if s and i != unk_id}
        self._longest = max(map(len, self._token_of), default=0)

    def phrase(self, text: str) -> RequiredPhrase:
        """Prepare a phrase.

        Args:
            text: Neither empty nor with spaces around it.

        Raises:
            ValueError: The vocabulary can't spell it.
        """
        reader, spelled = Reader.of(text), f" {text}".encode()
        needed, token = self._completions(spelled, self._usual(text, spelled))
        is_word = text[0].isalnum()
        # A space by itself is a step towards a word, for which nothing else will do; a phrase that may stand anywhere needs none.
        begins_with_space = token[0] >= 0 and self.surface[token[0]] == b" "
        total = needed[1] if not is_word and (begins_with_space or token[0] < 0) else needed[0]
        if total == math.inf:
            raise ValueError(f"the vocabulary has no tokens that spell {text!r}")
        progress = np.zeros(len(reader.matched), dtype=np.int32)
        proposals = np.full((len(progress), 2), -1, dtype=np.int64)
        for state, matched in enumerate(reader.matched.tolist()):
            if reader.is_complete[state]:
                progress[state] = total
                continue
            here = matched + 1
            if matched:
                progress[state] = max(0, total - needed[here])
            elif begins_with_space and is_word and reader.is_spaced[state]:
                progress[state] = 1
            can_go_on = bool(matched or reader.is_edge[state])
            proposals[state] = token[here] if can_go_on else -1, token[0]
        return RequiredPhrase(text, reader.next_state, reader.is_complete, reader.is_pending, progress, proposals)

    def _usual(self, text: str, spelled: bytes) -> dict[int, int]:
        """The tokens with which the tokenizer spells a phrase in the middle of a sentence, by the place in it where they begin."""
        (tokens,) = self.encode([f"{_BEFORE} {text}"])
        found, place = {}, len(spelled)
        for token in reversed(tokens):
            surface = self.surface[token]
            place -= len(surface)
            if place < 0 or spelled[place : place + len(surface)] != surface:
                break
            found[place] = token
            if place == 0:
                return found
        return {}

    def _completions(self, spelled: bytes, usual: dict[int, int]) -> tuple[list[float], list[int]]:
        """For each place the tokens that the rest takes, and the first of them: the usual ones where they pass, else the fewest."""
        end = len(spelled)
        needed, first = [math.inf] * end + [0.0], [-1] * (end + 1)
        for place in range(end - 1, -1, -1):
            if place in usual:
                first[place] = usual[place]
                needed[place] = 1 + needed[place + len(self.surface[usual[place]])]
                continue
            for stop in range(place + 1, min(place + self._longest, end) + 1):
                token = self._token_of.get(spelled[place:stop])
                if token is not None and 1 + needed[stop] <= needed[place] and needed[stop] < math.inf:
                    needed[place], first[place] = 1 + needed[stop], token
        return needed, first
