"""No sentence of an evaluation set in the training data: what a model has seen, its score can't be trusted on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from recambio.data.cache import code_hash
from recambio.data.cleaning.base import CleaningReport
from recambio.data.cleaning.samples import sample
from recambio.data.corpora.base import TRAIN, Corpus
from recambio.data.pairs import Pair

Action = Literal["remove", "report", "keep"]
"""Leave the pair out; count it and keep it; or don't look."""

EXACT, NORMALISED, NGRAMS = "exact", "normalised", "ngrams"

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class HeldOutSet:
    """An evaluation set.

    Attributes:
        name: What reports call it.
        fingerprint: Hash of its content.
        read: Each source sentence with its references; called only when training pairs are cleaned.
    """

    name: str
    fingerprint: str
    read: Callable[[], Iterable[tuple[str, Sequence[str]]]]


@dataclass(frozen=True)
class Overlap:
    """What is looked for in the training pairs, and what becomes of it.

    Attributes:
        sets: Whose sentences.
        sentences: For pairs with a side that is a sentence of a set, case, punctuation and white space ignored.
        ngrams: For other pairs with a side that shares ``ngram_words`` words in a row with a sentence of a set.
        min_words: Shorter sentences of a set don't count: everyone says "Thank you."
        ngram_words: How many in a row.
    """

    sets: tuple[HeldOutSet, ...]
    sentences: Action = "remove"
    ngrams: Action = "report"
    min_words: int = 3
    ngram_words: int = 13

    @property
    def key(self) -> list[Any]:
        """Everything that determines which pairs are found, code included, as plain data."""
        options = [self.sentences, self.ngrams, self.min_words, self.ngram_words]
        known = [[s.name, s.fingerprint] for s in self.sets]
        return [*options, known, code_hash(Overlap), unicodedata.unidata_version]


class Finder:
    """Looks for the sentences of evaluation sets, of which it keeps hashes only: some 100 bytes for each sentence and word in them.

    Hashes are Python's, 64 bits, never stored. A pair takes two look-ups and one for each run of words. The chance that any of n look-ups
    among h hashes finds what isn't there is about n * h / 2^64: 1e-5 for 20 million pairs of 20 words and 500,000 hashes.

    Args:
        overlap: What to look for.
        normalize: What cleaning does to a line, so that sets are compared in the form that training text has.
    """

    def __init__(self, overlap: Overlap, normalize: Callable[[str], str]) -> None:
        self.overlap = overlap
        self._names = [held_out.name for held_out in overlap.sets]
        # For each side, from a hash to the sets it is of, one bit each.
        self._exact: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._normalised: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._ngrams: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._sizes = [0] * len(overlap.sets)
        self._counts = {kind: [0] * len(overlap.sets) for kind in (EXACT, NORMALISED, NGRAMS)}
        self._found = {"sentences": 0, "ngrams": 0}
        self._samples: list[dict[str, Any]] = []
        self._reasons: dict[str, int] = {}
        for index, held_out in enumerate(overlap.sets):
            for source, references in held_out.read():
                self._sizes[index] += 1
                self._learn(0, normalize(source), 1 << index)
                for reference in references:
                    self._learn(1, normalize(reference), 1 << index)

    def without(self, pairs: Iterable[Pair], report: CleaningReport) -> Iterator[Pair]:
        """The pairs that stay; those that don't are counted in ``report``, and so is what was found, at the end."""
        for pair in pairs:
            reason = self._reason(pair, report.split)
            if reason is None:
                yield pair
            else:
                report.kept -= 1
                report.drop(reason, pair.file, pair.line, pair.source, pair.target)
        report.overlap = self._summary()

    def _learn(self, side: int, text: str, of: int) -> None:
        words = _words(text)
        if self.overlap.sentences != "keep" and len(words) >= self.overlap.min_words:
            for known, value in ((self._exact, text), (self._normalised, "".join(words))):
                at = hash(value)
                known[side][at] = known[side].get(at, 0) | of
        if self.overlap.ngrams != "keep":
            for at in self._windows(words):
                self._ngrams[side][at] = self._ngrams[side].get(at, 0) | of

    def _windows(self, words: list[str]) -> list[int]:
        size = self.overlap.ngram_words
        return [hash(tuple(words[i : i + size])) for i in range(len(words) - size + 1)]

    def _reason(self, pair: Pair, split: str) -> str | None:
        """Count what a pair shares with the sets. Returns: why it is to be left out, or None."""
        sides = [(side, text, _words(text)) for side, text in enumerate((pair.source, pair.target))]
        exact = normalised = 0
        for side, text, words in sides:
            if of := self._normalised[side].get(hash("".join(words))):
                normalised |= of
                exact |= self._exact[side].get(hash(text), 0)
        if normalised:
            self._count(EXACT, exact)
            self._count(NORMALISED, normalised & ~exact)
            self._found["sentences"] += 1
            return self._verdict("overlap with", normalised, self.overlap.sentences, pair, split)
        if ngrams := self._shared(sides):
            self._count(NGRAMS, ngrams)
            self._found["ngrams"] += 1
            return self._verdict("n-grams of", ngrams, self.overlap.ngrams, pair, split)
        return None

    def _shared(self, sides: list[tuple[int, str, list[str]]]) -> int:
        """The sets that a pair shares words in a row with."""
        found = 0
        for side, _, words in sides:
            if known := self._ngrams[side]:
                for window in self._windows(words):
                    found |= known.get(window, 0)
        return found

    def _count(self, kind: str, of: int) -> None:
        for index in range(len(self._names)):
            self._counts[kind][index] += of >> index & 1

    def _verdict(self, what: str, of: int, action: Action, pair: Pair, split: str) -> str | None:
        first = (of & -of).bit_length() - 1
        reason = f"{what} {self._names[first]}"
        if action == "remove":
            return reason
        count = self._reasons[reason] = self._reasons.get(reason, 0) + 1
        sample(self._samples, split, count, reason, pair.file, pair.line, pair.source, pair.target)
        return None

    def _summary(self) -> dict[str, Any]:
        """Plain data for JSON.

        ``sets`` holds for each set its size and the pairs found of it by kind; a pair that is found of several counts in each. ``pairs``
        counts each pair once. ``samples`` are of what was found and kept.
        """
        rule = self.overlap
        return {
            "sentences": rule.sentences,
            "ngrams": rule.ngrams,
            "min_words": rule.min_words,
            "ngram_words": rule.ngram_words,
            "sets": {
                name: {"size": self._sizes[i], **{kind: counts[i] for kind, counts in self._counts.items()}}
                for i, name in enumerate(self._names)
            },
            "pairs": dict(self._found),
            "samples": self._samples,
        }


def corpus_sets(corpus: Corpus, cache: Path | None = None) -> list[HeldOutSet]:
    """The corpus's own splits beside ``train``."""
    splits = [split for split in corpus.splits() if split != TRAIN]
    return [HeldOutSet(s, corpus.fingerprint(s, cache), partial(_rows, corpus, s)) for s in splits]


def _rows(corpus: Corpus, split: str) -> Iterator[tuple[str, Sequence[str]]]:
    for pair in corpus.read(split):
        yield pair.source, (pair.target,)


def _words(text: str) -> list[str]:
    """Runs of letters and digits, without case and in one form of Unicode."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.casefold())
