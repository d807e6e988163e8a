"""An automaton that reads a text byte by byte and knows how much of a phrase its end holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BYTES = 256
MARK, _WORD, _UNKNOWN = range(3)
"""What a byte belongs to: a character between words, one of a word, or one that several tokens spell."""
SILENT = 3 * _BYTES
"""The symbol that changes nothing."""
N_SYMBOLS = SILENT + 1


def kind_of(symbol: int) -> int:
    """What the byte of a symbol belongs to."""
    return symbol // _BYTES


_INSIDE, _EDGE, _SPACE = range(3)
"""Where a text ends: within a word, where a word may begin, or there after a space."""


def symbols(surface: bytes) -> list[int]:
    """The bytes of a token, each with the kind of its character: ``kind * 256 + byte``."""
    found = []
    # A byte that is no character by itself becomes a surrogate, which is taken for a part of a word at both of its sides.
    for character in surface.decode("utf-8", "surrogateescape"):
        is_unknown = "\ud800" <= character <= "\udfff"
        kind = _UNKNOWN if is_unknown else _WORD if character.isalnum() else MARK
        found += [kind * _BYTES + byte for byte in character.encode("utf-8", "surrogateescape")]
    return found


class _State(NamedTuple):
    """What matters of a text: where it ends, and the lengths of the phrase's beginnings that it ends with."""

    end: int
    lengths: frozenset[int]


@dataclass(frozen=True)
class Reader:
    """The automaton of a phrase. N states, the first before any text.

    Attributes:
        next_state: (N, :data:`N_SYMBOLS`) int32.
        is_complete: (N,) bool, whether the text holds the phrase if it ends here.
        is_pending: (N,) bool, whether that is so only unless the last word goes on.
        matched: (N,) bytes of the phrase that the text ends with, the most.
        is_edge: (N,) bool, whether the phrase could begin with the next byte.
        is_spaced: (N,) bool, whether it could and a space comes before it.
    """

    next_state: NDArray[np.int32]
    is_complete: NDArray[np.bool_]
    is_pending: NDArray[np.bool_]
    matched: NDArray[np.int32]
    is_edge: NDArray[np.bool_]
    is_spaced: NDArray[np.bool_]

    @classmethod
    def of(cls, phrase: str) -> Reader:
        """Whole words: a phrase that begins or ends with a letter or digit is found where a word begins or ends only."""
        pattern = symbols(phrase.encode())
        starts_word, ends_word, n = phrase[0].isalnum(), phrase[-1].isalnum(), len(pattern)
        met = _State(_INSIDE, frozenset([n + 1]))

        def reads(place: int, symbol: int) -> bool:
            return symbol == pattern[place] or symbol == _UNKNOWN * _BYTES + pattern[place] % _BYTES

        def after(state: _State, symbol: int) -> _State:
            kind = kind_of(symbol)
            if state == met or (n in state.lengths and kind == MARK):
                return met
            lengths = {m + 1 for m in state.lengths if m < n and reads(m, symbol)}
            if reads(0, symbol) and (state.end != _INSIDE or not starts_word):
                lengths.add(1)
            if n in lengths and not ends_word:
                return met
            end = _INSIDE if kind != MARK else _SPACE if symbol == ord(" ") else _EDGE
            return _State(end, frozenset(lengths))

        # Bytes that the phrase lacks, and has no use for, lead all to the same place: one of each kind stands for them.
        known = sorted({s % _BYTES for s in pattern} | {ord(" ")})
        other = next(b for b in range(_BYTES) if b not in known)
        states, rows = [_State(_EDGE, frozenset())], []
        place = {states[0]: 0}
        for state in states:  # grows meanwhile
            row = np.full(N_SYMBOLS, place[state], dtype=np.int32)
            for kind in (MARK, _WORD, _UNKNOWN):
                for byte in (other, *known):
                    symbol = kind * _BYTES + byte
                    reached = after(state, symbol)
                    if reached not in place:
                        place[reached] = len(states)
                        states.append(reached)
                    row[symbol if byte != other else slice(kind * _BYTES, (kind + 1) * _BYTES)] = place[reached]
            rows.append(row)
        longest = np.array([max(s.lengths, default=0) for s in states], dtype=np.int32)
        return cls(
            np.stack(rows),
            longest >= n,
            longest == n,
            np.minimum(longest, n),
            np.array([s.end != _INSIDE or not starts_word for s in states]),
            np.array([s.end == _SPACE for s in states]),
        )
