"""Finding phrases in a text that arrives token by token, however its tokens cut it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SPACE = ord(" ")
_NON_ASCII = 0x80


class PhraseAutomaton:
    """Which tokens complete a phrase, after any text.

    An automaton (Aho and Corasick 1975, https://doi.org/10.1145/360825.360855) reads the bytes that tokens spell, so no way of cutting a
    phrase into tokens escapes it. Phrases are whole words: one that begins with a letter or digit is found at the start of a
    word only, and one that ends with a letter or digit only at the end of a word, which is also the end of a token. Case counts, but the
    first letter may be a capital. Characters that are neither letters nor digits nor in any phrase read as spaces.

    Attributes:
        next_state: (N, V) int32, the state after each token in each state.
        completes: (N, V) bool, whether the token completes a phrase.
        start: The state before the first token.

    Args:
        phrases: At least one, none empty.
        surface: The bytes that each token adds to a text, V of them, the space before a word included.
    """

    def __init__(self, phrases: Sequence[str], surface: Sequence[bytes]) -> None:
        self._kept = {c for phrase in phrases for c in phrase if not c.isalnum()}
        variants = {v for p in phrases for v in (p, p[0].upper() + p[1:])}
        patterns = {(" " if v[0].isalnum() else "") + v: v[-1].isalnum() for v in variants}
        delta, ends_word, ends_anywhere = _automaton({p.encode(): word for p, word in patterns.items()})
        self.start = int(delta[0, _SPACE])
        is_word = np.array([chr(b).isalnum() or b >= _NON_ASCII for b in range(256)])
        self.next_state = np.empty((len(delta), len(surface)), dtype=np.int32)
        self.completes = np.zeros(self.next_state.shape, dtype=bool)
        for token, spelled in enumerate(map(self._read, surface)):
            states: NDArray[np.int32] = np.arange(len(delta), dtype=np.int32)
            for place, byte in enumerate(spelled):
                states = delta[states, byte]
                at_end = place + 1 == len(spelled) or not is_word[spelled[place + 1]]
                self.completes[:, token] |= ends_anywhere[states] | (ends_word[states] & at_end)
            self.next_state[:, token] = states

    def finds(self, tokens: Sequence[int]) -> bool:
        """Whether a text of these tokens holds a phrase."""
        state = self.start
        for token in tokens:
            if self.completes[state, token]:
                return True
            state = int(self.next_state[state, token])
        return False

    def _read(self, surface: bytes) -> bytes:
        try:
            text = surface.decode()
        except UnicodeDecodeError:
            return surface  # a byte of a character that several tokens spell
        return "".join(c if c.isalnum() or c in self._kept else " " for c in text).encode()


def _automaton(patterns: dict[bytes, bool]) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Transitions (N, 256), and where a pattern ends: one that must end a word, one that needn't."""
    children: list[dict[int, int]] = [{}]
    ends: list[set[bool]] = [set()]
    for pattern, must_end_word in patterns.items():
        state = 0
        for byte in pattern:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
                ends.append(set())
            state = children[state][byte]
        ends[state].add(must_end_word)
    delta = np.zeros((len(children), 256), dtype=np.int32)
    suffix = [0] * len(children)
    waiting = deque([0])
    while waiting:  # breadth first: a state's suffix is complete before it
        state = waiting.popleft()
        if state:
            delta[state] = delta[suffix[state]]
            ends[state] |= ends[suffix[state]]
        for byte, child in children[state].items():
            suffix[child] = int(delta[state, byte])
            delta[state, byte] = child
            waiting.append(child)
    return delta, np.array([True in e for e in ends]), np.array([False in e for e in ends])
