"""Segmentations of a BPE vocabulary with merges left out at random."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from recambio.data.tokenizers.sampling import Bits, Ints, Pieces, Rows, WordSampler, at, draw, runs

_UNKNOWN = -1
_BETWEEN = "\n"  # which no sentence holds


class BPEDropout(WordSampler):
    """Merges the characters of each word as BPE does, but leaves each possible merge out of each step with probability p.

    In every step all pairs that could be merged are dropped or not, anew; of those left the first is merged, by priority and then from the
    left; where none is left, the word is done (algorithm 1 of the paper). So from a split with k possible merges, the j-th comes next with
    probability p^j (1 - p), and none with p^k: a walk over splits, of which each one seen is looked at once.

    Args:
        pieces: The vocabulary.
        dropout: p; with 0 this is plain BPE, with 1 all words fall into characters.

    Paper: Provilkov et al. 2020, "BPE-Dropout: Simple and Effective Subword Regularization", https://arxiv.org/abs/1910.13267, section 3.
    Departures: SentencePiece's own sampling drops a merge for good, not for a step.
    """

    def __init__(self, pieces: Pieces, dropout: float) -> None:
        self.dropout = dropout
        limits = [2**64 - 1]
        # At least j merges are dropped if the bits lie below p^j.
        while 0 < dropout < 1 and limits[-1]:
            limits.append(int(dropout ** len(limits) * 2.0**64))
        self._limits = np.array(limits[:0:-1], np.uint64)
        super().__init__(pieces)

    def _forget(self) -> None:
        # A split is the text of its pieces with breaks between them.
        self._numbered: dict[str, int] = {}
        self._splits: list[str] = []
        # Of each: how many merges are possible, and where those start among all: their left pieces, and the splits that follow, if seen.
        self._possible, self._first = array("q"), array("q")
        self._lefts, self._children = array("q"), array("q")
        # Where its ids start and how many there are, if some walk ended there.
        self._at, self._length, self._ids = array("q"), array("q"), array("q", [0])
        self._starts = array("q")

    def _kept(self) -> int:
        return len(self._splits)

    def _learn(self, words: Iterable[str]) -> None:
        self._starts.extend(self._number(_BETWEEN.join(word)) for word in words)

    def _number(self, split: str) -> int:
        """The number of a split, which is looked at if it is new."""
        if (number := self._numbered.get(split)) is not None:
            return number
        number = self._numbered[split] = len(self._splits)
        score, pieces = self.pieces.scores.get, split.split(_BETWEEN)
        found = [
            (-priority, i)
            for i, pair in enumerate(map(str.__add__, pieces, pieces[1:]))
            if (priority := score(pair)) is not None
        ]
        found.sort()
        self._splits.append(split)
        self._possible.append(len(found))
        self._first.append(len(self._children))
        self._lefts.extend([i for _, i in found])
        self._children.extend([_UNKNOWN] * len(found))
        self._at.append(_UNKNOWN)
        self._length.append(0)
        return number

    def _merge(self, number: int, slot: int) -> None:
        """Look at the split that follows by a merge."""
        pieces, left = self._splits[number].split(_BETWEEN), self._lefts[slot]
        pieces[left : left + 2] = [pieces[left] + pieces[left + 1]]
        self._children[slot] = self._number(_BETWEEN.join(pieces))

    def _spell(self, number: int) -> None:
        """The ids of a split."""
        self._at[number] = len(self._ids)
        for text in self._splits[number].split(_BETWEEN):
            if (known := self.pieces.ids.get(text)) is not None:
                self._ids.append(known)
            else:
                self._ids.extend(self.pieces.spelt(text))
        self._length[number] = len(self._ids) - self._at[number]

    def _dropped(self, keys: Bits, step: int) -> Ints:
        """How many merges are dropped before one isn't, if there were enough."""
        if self.dropout <= 0 or self.dropout >= 1:
            return np.full(len(keys), 0 if self.dropout <= 0 else np.iinfo(np.int64).max, np.int64)
        return len(self._limits) - np.searchsorted(self._limits, draw(keys, step), side="right")

    def _drawn(self, words: Ints, keys: Bits) -> Rows:
        if not len(words):
            return Rows(words, words)
        final = at(self._starts, words)
        which, splits, step = np.arange(len(words)), final.copy(), 0
        while len(which):
            dropped = self._dropped(keys, step)
            goes_on = dropped < at(self._possible, splits)
            which, splits, keys, dropped = which[goes_on], splits[goes_on], keys[goes_on], dropped[goes_on]
            slots = at(self._first, splits) + dropped
            following = at(self._children, slots) if len(slots) else slots
            if (is_new := following == _UNKNOWN).any():
                fresh, index = np.unique(slots[is_new], return_index=True)
                for slot, number in zip(fresh.tolist(), splits[is_new][index].tolist(), strict=True):
                    self._merge(number, slot)
                following = at(self._children, slots)
            splits = final[which] = following
            step += 1
        starts = at(self._at, final)
        for number in np.unique(final[starts == _UNKNOWN]).tolist():
            self._spell(number)
        lengths = at(self._length, final)
        return Rows(at(self._ids, runs(at(self._at, final), lengths)), lengths)
