"""Segmentations of a unigram vocabulary, each drawn with its probability."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable

import numpy as np

from recambio.data.tokenizers.sampling import Bits, Ints, Pieces, Rows, WordSampler, at, draw

# Probabilities are kept as so many bits: the least that can be drawn is 2e-10.
_BITS = 32
_END = -1
# SentencePiece's penalty of a character that is no piece, below the worst piece.
_UNKNOWN_PENALTY = 10.0


class UnigramSampler(WordSampler):
    """Draws a segmentation x of each word with P(x) = p(x)^alpha / sum over x' of p(x')^alpha, p(x) = product of p(x_i).

    The sum is over all segmentations; the paper proposes the best l instead, and this for l = infinity. A word is a lattice of
    its pieces. From the end backwards, each place gets the sum over the segmentations of what follows; then pieces are drawn from the start
    (forward filtering, backward sampling, with the two turned round, so that pieces come in order).

    Args:
        pieces: The vocabulary.
        alpha: 0 draws all segmentations alike; the larger, the closer to the best one alone.

    Paper: Kudo 2018, "Subword Regularization", https://arxiv.org/abs/1804.10959, section 3.3.
    """

    def __init__(self, pieces: Pieces, alpha: float) -> None:
        self.alpha = alpha
        self._pieces = {text: (number, alpha * pieces.scores[text]) for text, number in pieces.ids.items()}
        self._longest = max(map(len, pieces.ids))
        self._unknown = alpha * (min(pieces.scores.values()) - _UNKNOWN_PENALTY)
        super().__init__(pieces)

    most_kept = 3_000_000

    def _forget(self) -> None:
        # Edges in the order of the states they leave: up to which of the state's 2^32 draws each is taken, where it leads, and its id.
        self._bounds, self._next, self._ids = array("q"), array("q"), array("q")
        self._starts = array("q")
        self._states = 0

    def _kept(self) -> int:
        return len(self._ids)

    def _learn(self, words: Iterable[str]) -> None:
        for word in words:
            self._add(word)

    def _add(self, word: str) -> None:
        """Append the lattice of a word: a state for each place in it, then those within characters spelt as bytes."""
        length, base = len(word), self._states
        self._starts.append(base)
        rest = [0.0] * (length + 1)
        lattice: list[list[tuple[float, int, int]]] = [[]] * length
        spelt: list[tuple[int, int]] = []
        for i in range(length - 1, -1, -1):
            edges: list[tuple[float, int, int]] = []
            for j in range(i + 1, min(length, i + self._longest) + 1):
                if (piece := self._pieces.get(word[i:j])) is not None:
                    edges.append((piece[1] + rest[j], piece[0], base + j if j < length else _END))
            if word[i] not in self._pieces:
                after = base + i + 1 if i + 1 < length else _END
                first, *others = self.pieces.spelt(word[i])
                for number in reversed(others):
                    spelt.append((number, after))
                    after = base + length + len(spelt) - 1
                edges.append((self._unknown + rest[i + 1], first, after))
            top = max(edges)[0]
            rest[i] = top + math.log(sum(math.exp(edge[0] - top) for edge in edges))
            lattice[i] = edges
        for i, edges in enumerate(lattice):
            below, total = (base + i) << _BITS, 0.0
            for weight, number, after in edges:
                total += math.exp(weight - rest[i])
                self._bounds.append(below + min(round(total * 2**_BITS), 2**_BITS))
                self._ids.append(number)
                self._next.append(after)
            self._bounds[-1] = below + 2**_BITS
        for i, (number, after) in enumerate(spelt):
            self._bounds.append((base + length + i + 1) << _BITS)
            self._ids.append(number)
            self._next.append(after)
        self._states += length + len(spelt)

    def _drawn(self, words: Ints, keys: Bits) -> Rows:
        lengths = np.zeros(len(words), np.int64)
        steps: list[tuple[Ints, Ints]] = []
        which, states = np.arange(len(words)), at(self._starts, words) if len(words) else words
        bounds = np.frombuffer(self._bounds, np.int64) if len(words) else words
        while len(which):
            bits = (draw(keys, len(steps)) >> np.uint64(64 - _BITS)).astype(np.int64)
            edges = np.searchsorted(bounds, (states << _BITS) + bits, side="right")
            lengths[which] += 1
            steps.append((which, at(self._ids, edges)))
            states = at(self._next, edges)
            goes_on = states != _END
            which, states, keys = which[goes_on], states[goes_on], keys[goes_on]
        starts = np.cumsum(lengths) - lengths
        tokens = np.empty(int(lengths.sum()), np.int64)
        for number, (which, ids) in enumerate(steps):
            tokens[starts[which] + number] = ids
        return Rows(tokens, lengths)
