"""From a corpus to token stores, each stage cached by a hash of what made it.

    clean/<key>/      the training pairs after cleaning, as two text files
    tokenizer/<key>/  the vocabulary learnt from them
    tokens/<key>/     a token store for each split
    sampled/<key>/    one for each epoch, if other segmentations are drawn in each (:mod:`recambio.data.sampled`)

A second run with the same corpus and options opens what is there: it reads no text, and of unchanged files no byte.
"""

from __future__ import annotations

import itertools
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recambio.data import store as store_module
from recambio.data.cache import cache_folder, code_hash, published, stable_hash
from recambio.data.cleaning.base import DEFAULT_CLEANING, Cleaner, CleaningReport
from recambio.data.corpora.base import TRAIN, Corpus
from recambio.data.overlap import Finder, Overlap
from recambio.data.pairs import BadLine, Pair, read_lines
from recambio.data.parts import Part
from recambio.data.sampled import PLACES, SampledStores, Sampling
from recambio.data.store import StoreWriter, TokenStore
from recambio.data.tokenizers.base import (
    DESCRIPTION,
    SIDES,
    Side,
    Tokenizer,
    load_tokenizer,
    regularization_problem,
)
from recambio.errors import InputError
from recambio.registry import TOKENIZER, Node

FORMAT = 1
"""Changes whenever the same input makes other output; part of every key."""

MAX_LENGTH = "max_length"

Progress = Callable[[str, int, int | None], None]
"""Told of progress: the stage, how many sentence pairs are done, and of how many, if that is known."""

_CHUNK = 20_000
_REPORT = "report.json"

T = TypeVar("T")


@dataclass
class Prepared:
    """What training and evaluation read.

    Attributes:
        stores: The token store of each split.
        tokenizer: Its vocabulary trained, if it wasn't.
        reports: What became of the pairs of each split.
        hashes: For the manifest: ``tokenizer`` (fingerprint), ``<split>`` (content of its store), ``<split>.corpus``
            (fingerprint of what was read).
        parts: The parts of the training store, if the corpus has any, with their weights.
        sampled: The training pairs of each epoch, if their segmentations are sampled.
    """

    stores: dict[str, TokenStore]
    tokenizer: Tokenizer
    reports: dict[str, CleaningReport]
    hashes: dict[str, str]
    parts: tuple[Part, ...] = ()
    sampled: SampledStores | None = None


def prepare(
    corpus: Corpus,
    *,
    cleaning: Sequence[Node] = DEFAULT_CLEANING,
    tokenizer: Node | Tokenizer = "unigram",
    max_length: int = 256,
    sampling: Sampling | None = None,
    overlap: Overlap | None = None,
    splits: Sequence[str] | None = None,
    cache: str | Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Clean, tokenise and store the splits of a corpus, or find them in the cache.

    Only ``train`` is cleaned, cut by length, and sampled. Of every other split each pair stays: its tokens are those of the normalised
    line, its text is as it was.

    Args:
        corpus: Where the pairs come from.
        cleaning: The steps for training pairs.
        tokenizer: The node of one to be trained on the cleaned training pairs, or one that is trained, such as a run's.
        max_length: Training pairs with more tokens on a side, EOS included, are left out.
        sampling: Other segmentations of the training pairs in each epoch; those of the first are made now.
        overlap: The evaluation sets whose sentences are looked for in the training pairs once these are clean; None for none.
        splits: Which ones; by default all that the corpus has.
        cache: The cache folder; see :func:`recambio.data.cache.cache_folder`.
        threads: Threads that tokenise; by default one a core. The result doesn't depend on it.
        progress: Called every few thousand pairs.

    Raises:
        InputError: The corpus can't be read, the options are wrong, or cleaning leaves nothing.
    """
    if max_length < 2:
        raise InputError(f"data.max_length: is {max_length}; at least 2 is needed, one token and the end")
    splits = corpus.splits() if splits is None else tuple(splits)
    for split in splits:
        corpus.check_split(split)
    work = _Work(
        corpus=corpus,
        cleaner=Cleaner(cleaning),
        max_length=max_length,
        overlap=overlap,
        cache=cache_folder(cache),
        threads=threads or _cores(),
        progress=progress or (lambda stage, done, total: None),
    )
    if not isinstance(tokenizer, Tokenizer):
        if problems := TOKENIZER.problems(tokenizer, "data.tokenizer"):
            raise InputError(problems)
        tokenizer = work.trained_tokenizer(tokenizer)
    elif not tokenizer.is_trained:
        raise ValueError("`tokenizer` has no vocabulary; give its node instead, and it is trained here")
    if sampling is not None and (problem := regularization_problem(sampling.option, type(tokenizer))):
        raise InputError(problem)
    stores = {split: work.store(split, tokenizer) for split in splits}
    reports = {split: CleaningReport.from_dict(store.about["report"]) for split, store in stores.items()}
    hashes = {"tokenizer": tokenizer.fingerprint}
    for split, store in stores.items():
        hashes[split] = store.content_hash
        hashes[f"{split}.corpus"] = work.fingerprint(split)
    train = stores.get(TRAIN)
    sampled = work.sampled(train, tokenizer, sampling) if train and sampling else None
    return Prepared(stores, tokenizer, reports, hashes, _parts(corpus, train), sampled)


class _Work:
    """The stages of one call of :func:`prepare`."""

    def __init__(
        self,
        corpus: Corpus,
        cleaner: Cleaner,
        max_length: int,
        overlap: Overlap | None,
        cache: Path,
        threads: int,
        progress: Progress,
    ) -> None:
        self.corpus = corpus
        self.cleaner = cleaner
        self.max_length = max_length
        self.overlap = overlap
        self.cache = cache
        self.threads = threads
        self.progress = progress
        self.reader = code_hash(*corpus.code(), Pair)
        self._fingerprints: dict[str, str] = {}

    def fingerprint(self, split: str) -> str:
        """The corpus's own hash of a split, asked for once."""
        if split not in self._fingerprints:
            self._fingerprints[split] = self.corpus.fingerprint(split, self.cache)
        return self._fingerprints[split]

    def _text_key(self, split: str) -> list[Any]:
        """What determines a split's text."""
        overlap = [self.overlap.key] if self.overlap and split == TRAIN else []
        return [self.fingerprint(split), self.reader, self.cleaner.key, *overlap]

    def cleaned(self) -> Path:
        """The folder of the cleaned training pairs."""
        key = stable_hash(["clean", FORMAT, *self._text_key(TRAIN)])
        folder = self.cache / "clean" / key
        published(folder, self._clean, lambda path: (path / _REPORT).is_file())
        return folder

    def _clean(self, folder: Path) -> None:
        report = CleaningReport(TRAIN)
        places = array("q")
        with ExitStack() as stack:
            places_file = stack.enter_context((folder / PLACES).open("wb"))
            files = [
                stack.enter_context((folder / f"{side}.txt").open("w", encoding="utf-8", newline="\n"))
                for side in SIDES
            ]
            clean = self.cleaner.clean(self._training_pairs(report), report)
            if self.overlap:
                clean = Finder(self.overlap, self.cleaner.normalize_line).without(clean, report)
            for pair in clean:
                files[0].write(pair.source + "\n")
                files[1].write(pair.target + "\n")
                places.append(report.read - 1)
                if len(places) == _CHUNK:
                    places_file.write(np.array(places, np.int64).tobytes())
                    del places[:]
                    self.progress("cleaning", report.read, None)
            places_file.write(np.array(places, np.int64).tobytes())
        if not report.kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
            check = "check the corpus, and data.overlap" if report.overlap else "check the corpus"
            raise InputError(f"data.cleaning: leaves none of {report.read} training pairs ({reasons}); {check}")
        report.check_parts("data.cleaning")
        self.progress("cleaning", report.read, report.read)
        (folder / _REPORT).write_text(json.dumps(report.to_dict(), ensure_ascii=False), "utf-8")

    def _training_pairs(self, report: CleaningReport) -> Iterator[Pair]:
        """What the corpus has for training; each part is counted when the first pair of the next is asked for."""
        for name, pairs in self.corpus.sections(on_bad=lambda bad: self.cleaner.bad_line(report, bad)):
            yield from pairs
            if name:
                report.end_part(name)

    def trained_tokenizer(self, node: Node) -> Tokenizer:
        """The tokenizer that a node and the cleaned training pairs make."""
        name, options = TOKENIZER.resolve(node)
        cleaned = self.cleaned()
        code = code_hash(TOKENIZER.get(name).cls)
        key = stable_hash(["tokenizer", FORMAT, cleaned.name, name, options, code, _sentencepiece_version()])
        folder = self.cache / "tokenizer" / key

        def build(aside: Path) -> None:
            count = _report(cleaned).kept
            tokenizer: Tokenizer = TOKENIZER.create(node)
            lines = [read_lines(cleaned / f"{side}.txt") for side in SIDES]
            self.progress("learning the vocabulary", 0, count)
            tokenizer.train(lines[0], lines[1], count)
            self.progress("learning the vocabulary", count, count)
            tokenizer.save(aside)

        published(folder, build, lambda path: (path / DESCRIPTION).is_file())
        return load_tokenizer(folder)

    def store(self, split: str, tokenizer: Tokenizer) -> TokenStore:
        """The token store of a split."""
        limit = self.max_length if split == TRAIN else None
        key = stable_hash(["tokens", FORMAT, store_module.FORMAT, *self._text_key(split), tokenizer.fingerprint, limit])
        folder = self.cache / "tokens" / key

        def build(aside: Path) -> None:
            if split == TRAIN:
                self._store_training(aside, tokenizer)
            else:
                self._store_scored(aside, split, tokenizer)

        published(folder, build, TokenStore.is_complete, resumes=split == TRAIN)
        return TokenStore(folder)

    def sampled(self, train: TokenStore, tokenizer: Tokenizer, sampling: Sampling) -> SampledStores:
        """The stores of the epochs, the first of them made."""
        sampled = SampledStores(sampling, tokenizer, train, self.cleaned(), self.cache)
        sampled.store(0, lambda done, total: self.progress("sampling segmentations", done, total))
        return sampled

    def _writer(self, folder: Path, tokenizer: Tokenizer, has_text: bool) -> StoreWriter:
        size = max(tokenizer.source_vocabulary_size, tokenizer.target_vocabulary_size)
        return StoreWriter(folder, size, has_text)

    def _encode(self, tokenizer: Tokenizer, lines: Sequence[str], side: Side) -> list[list[int]]:
        return tokenizer.encode(lines, side, self.threads)

    def _store_training(self, folder: Path, tokenizer: Tokenizer) -> None:
        cleaned = self.cleaned()
        report = _report(cleaned)
        total, limit = report.kept, self.max_length - 1
        ends = np.cumsum([part["kept"] for part in report.parts])
        places: NDArray[np.int64] = np.memmap(cleaned / PLACES, np.int64, mode="r")
        pairs = zip(*(read_lines(cleaned / f"{side}.txt") for side in SIDES), strict=True)
        with ExitStack() as stack:
            writer = self._writer(folder, tokenizer, has_text=False)
            stack.push(writer)
            done = 0
            if saved := writer.resume():
                done, report = saved["done"], CleaningReport.from_dict(saved["report"])
            for chunk in _chunks(itertools.islice(pairs, done, None)):
                sources = self._encode(tokenizer, [pair[0] for pair in chunk], "source")
                targets = self._encode(tokenizer, [pair[1] for pair in chunk], "target")
                here = places[done : done + len(chunk)]
                fits = [len(s) <= limit and len(t) <= limit for s, t in zip(sources, targets, strict=True)]
                for index in itertools.compress(range(len(chunk)), (not fit for fit in fits)):
                    report.kept -= 1
                    report.drop(MAX_LENGTH, "", int(here[index]) + 1, *chunk[index])
                    if report.parts:
                        part = report.parts[int(np.searchsorted(ends, done + index, side="right"))]
                        part["kept"] -= 1
                        part["dropped"][MAX_LENGTH] = part["dropped"].get(MAX_LENGTH, 0) + 1
                writer.add(
                    list(itertools.compress(sources, fits)),
                    list(itertools.compress(targets, fits)),
                    here[np.array(fits)],
                )
                done += len(chunk)
                writer.save({"done": done, "report": report.to_dict()})
                self.progress("tokenising train", done, total)
            if not report.kept:
                raise InputError(
                    f"data.max_length: none of {total} training pairs has at most {self.max_length} tokens on each side; "
                    "raise it"
                )
            report.check_parts("data.max_length")
            about: dict[str, Any] = {"report": report.to_dict()}
            if report.parts:
                starts = np.cumsum([0, *(part["kept"] for part in report.parts)])[:-1].tolist()
                about["parts"] = [[part["name"], start] for part, start in zip(report.parts, starts, strict=True)]
            writer.finish(about)

    def _store_scored(self, folder: Path, split: str, tokenizer: Tokenizer) -> None:
        normalize = self.cleaner.normalize_line
        report = CleaningReport(split)
        with self._writer(folder, tokenizer, has_text=True) as writer:
            for chunk in _chunks(self.corpus.read(split, on_bad=_refuse)):
                sources = [pair.source for pair in chunk]
                targets = [pair.target for pair in chunk]
                writer.add(
                    self._encode(tokenizer, [normalize(line) for line in sources], "source"),
                    self._encode(tokenizer, [normalize(line) for line in targets], "target"),
                    np.arange(report.read, report.read + len(chunk)),
                    sources,
                    targets,
                    [pair.tags for pair in chunk],
                )
                report.read += len(chunk)
                self.progress(f"tokenising {split}", report.read, None)
            report.kept = report.read
            writer.finish({"report": report.to_dict()})


def _parts(corpus: Corpus, store: TokenStore | None) -> tuple[Part, ...]:
    """The parts of a training store, each with the weight that the corpus gives it."""
    if store is None or "parts" not in store.about:
        return ()
    names, starts = zip(*store.about["parts"], strict=True)
    pairs = np.diff([*starts, len(store)]).tolist()
    return tuple(map(Part, names, pairs, corpus.weights(pairs)))


def _refuse(bad: BadLine) -> None:
    raise InputError(f"{bad.file}:{bad.line}: {bad.reason}; every line of a split that is scored must hold a pair")


def _report(cleaned: Path) -> CleaningReport:
    return CleaningReport.from_dict(json.loads((cleaned / _REPORT).read_text("utf-8")))


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, _CHUNK)):
        yield chunk


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sentencepiece_version() -> str:
    from importlib.metadata import version

    return version("sentencepiece")
