"""Segmentations that are drawn at random, word by word.

No piece of these vocabularies crosses the start of a word, so the pieces of a sentence are those of its words, and each word's are
drawn by themselves. What is drawn follows from a key of the sentence, the word's place in it and the number of the draw, by a hash:
the same in any order of sentences, on any number of processes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

SPACE_MARK = "▁"
"""What SentencePiece writes for a space."""

Bits = NDArray[np.uint64]
Ints = NDArray[np.int64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Rows(NamedTuple):
    """Ids of several sentences, one after another, and how many each has."""

    tokens: Ints
    lengths: Ints


class Sampler(Protocol):
    """Draws segmentations of sentences."""

    def sample(self, lines: Sequence[str], keys: Bits) -> Rows:
        """A segmentation of each line.

        Args:
            lines: Sentences.
            keys: What the draws of each follow from, and nothing else; (sentences,). See :func:`sentence_keys`.
        """


@dataclass(frozen=True)
class Pieces:
    """What can be drawn from.

    Attributes:
        ids: Id of each piece of text.
        scores: Its score: of a unigram model the log-probability, of BPE the higher the earlier it is merged.
        bytes: Ids of the 256 bytes that spell other characters; None if these become ``unk_id``, a run of them one.
        unk_id: Of what can't be spelt.
    """

    ids: dict[str, int]
    scores: dict[str, float]
    bytes: list[int] | None
    unk_id: int

    @classmethod
    def of(cls, processor: Any) -> Pieces:
        """Those of a SentencePiece model.

        Raises:
            ValueError: A piece crosses the start of a word; such a model was not trained here.
        """
        ids, scores, fallback = {}, {}, []
        for number in range(processor.get_piece_size()):
            text = processor.id_to_piece(number)
            if processor.is_byte(number):
                fallback.append(number)
            elif not (processor.is_control(number) or processor.is_unknown(number)):
                if SPACE_MARK in text[1:]:
                    raise ValueError(
                        f"piece {text!r} crosses the start of a word, so words can't be drawn by themselves"
                    )
                ids[text], scores[text] = number, processor.get_score(number)
        return cls(ids, scores, fallback or None, processor.unk_id())

    def spelt(self, character: str) -> list[int]:
        """Ids of a character that is no piece."""
        return [self.unk_id] if self.bytes is None else [self.bytes[byte] for byte in character.encode()]


def sentence_keys(seed: int, epoch: int, side: str, first: int, count: int) -> Bits:
    """The keys of ``count`` sentences from number ``first`` on; (count,)."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{side}".encode(), digest_size=8).digest()
    numbers = np.arange(first, first + count, dtype=np.uint64)
    return mixed(mixed(numbers) + np.array([int.from_bytes(digest, "little")], np.uint64))


def mixed(values: Bits) -> Bits:
    """The output function of SplitMix64 (Steele et al. 2014), which turns counters into random bits."""
    bits = values + _STEP
    bits ^= bits >> np.uint64(30)
    bits *= _FIRST
    bits ^= bits >> np.uint64(27)
    bits *= _SECOND
    bits ^= bits >> np.uint64(31)
    return bits


def draw(keys: Bits, number: int) -> Bits:
    """The random bits of a word's draw of this number, from 0."""
    return mixed(keys + np.array([number], np.uint64) * _STEP)


def at(values: array[int], index: Ints) -> Ints:
    """Elements of an array that goes on growing afterwards."""
    return np.frombuffer(values, np.int64)[index]


def runs(starts: Ints, lengths: Ints) -> Ints:
    """Indices of several runs, one after another."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(int(ends[-1]) if len(ends) else 0)


class _Numbers(dict[str, int]):
    """Numbers words in the order of their first look-up."""

    def __init__(self) -> None:
        self.fresh: list[str] = []

    def __missing__(self, word: str) -> int:
        self.fresh.append(word)
        return self.setdefault(word, len(self))


class WordSampler(ABC):
    """Draws segmentations. What it learnt of a word is kept for the next time, up to a limit.

    Args:
        pieces: The vocabulary.
    """

    most_kept = 1_000_000
    """States that are kept: the bound of the memory it takes."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self._numbers = _Numbers()
        self._forget()

    def sample(self, lines: Sequence[str], keys: Bits) -> Rows:
        """See :meth:`Sampler.sample`; no line may hold :data:`SPACE_MARK`."""
        counts = np.fromiter((line.count(" ") + 1 if line else 0 for line in lines), np.int64, len(lines))
        words = " ".join(filter(None, lines)).split(" ") if counts.any() else []
        if self._kept() > self.most_kept:
            self._numbers = _Numbers()
            self._forget()
        numbers = np.fromiter(map(self._numbers.__getitem__, words), np.int64, len(words))
        self._learn(SPACE_MARK + word for word in self._numbers.fresh)
        self._numbers.fresh.clear()
        firsts = np.cumsum(counts) - counts
        places = np.arange(len(words)) - np.repeat(firsts, counts)
        tokens, lengths = self._drawn(numbers, mixed(np.repeat(keys, counts) + places.astype(np.uint64) * _STEP))
        ends = np.concatenate([[0], np.cumsum(lengths)])
        rows = Rows(tokens, ends[firsts + counts] - ends[firsts])
        return rows if self.pieces.bytes else _merged(rows, self.pieces.unk_id)

    @abstractmethod
    def _forget(self) -> None:
        """Start with no word."""

    @abstractmethod
    def _kept(self) -> int:
        """States that are kept."""

    @abstractmethod
    def _learn(self, words: Iterable[str]) -> None:
        """Take up words, numbered as they come."""

    @abstractmethod
    def _drawn(self, words: Ints, keys: Bits) -> Rows:
        """A segmentation of each word, by its number."""


def _merged(rows: Rows, unk_id: int) -> Rows:
    """Runs of the unknown id as one, as SentencePiece writes them."""
    sentence = np.repeat(np.arange(len(rows.lengths)), rows.lengths)
    is_unknown = rows.tokens == unk_id
    kept = np.ones(len(rows.tokens), bool)
    kept[1:] = ~(is_unknown[1:] & is_unknown[:-1] & (sentence[1:] == sentence[:-1]))
    return Rows(rows.tokens[kept], np.bincount(sentence[kept], minlength=len(rows.lengths)))
