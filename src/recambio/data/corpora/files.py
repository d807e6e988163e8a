"""Corpora of files that each hold both sides: which files belong to a split, and what their fingerprint is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from recambio.data.corpora.base import TRAIN, Corpus, existing, files_fingerprint, resolve
from recambio.data.pairs import SUFFIXES, OnBad, Pair
from recambio.errors import InputError


class FileCorpus(Corpus):
    """A corpus of files that each hold both sides of their pairs.

    Args:
        train: Path of the training pairs, or a list of paths that are read in order.
        dev: The same for the development set; None for none.
        test: The same for the test set; None for none.
        root: Folder under which relative paths lie.
        options: What else determines what is read, as plain data.
    """

    format: ClassVar[str]
    """What is in the files, for fingerprints."""

    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    """What may follow the name of a file that is compressed."""

    def __init__(
        self,
        train: str | list[str],
        dev: str | list[str] | None,
        test: str | list[str] | None,
        root: Path | None,
        options: list[object],
    ) -> None:
        named = {TRAIN: train, "dev": dev, "test": test}
        self.paths = {
            split: [given] if isinstance(given, str) else list(given)
            for split, given in named.items()
            if given is not None
        }
        if empty := [split for split, paths in self.paths.items() if not paths]:
            raise InputError(f"data.corpus.{split}: is an empty list; name at least one file" for split in empty)
        self.root = root
        self.options = options

    @abstractmethod
    def read_file(self, path: Path, *, strict: bool, on_bad: OnBad | None = None) -> Iterator[Pair]:
        """The pairs of one file.

        Args:
            path: The file.
            strict: For text to be scored: what holds no pair is an error, and an empty side is kept. Otherwise both are left
                out and reported to ``on_bad``.
            on_bad: See ``strict``.

        Raises:
            InputError: The file can't be read, or holds no pair at all.
        """

    def splits(self) -> tuple[str, ...]:
        return tuple(self.paths)

    def files(self, split: str) -> list[Path]:
        """The files of a split.

        Raises:
            InputError: One or several are missing.
        """
        self.check_split(split)
        found: list[Path] = []
        problems: list[str] = []
        for path in self.paths[split]:
            try:
                found.append(existing(resolve(self.root, path), split, self.root, self.suffixes))
            except InputError as error:
                problems.extend(error.problems)
        if problems:
            raise InputError(problems)
        return found

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        for path in self.files(split):
            yield from self.read_file(path, strict=split != TRAIN, on_bad=on_bad)

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        return files_fingerprint(self.format, self.files(split), [*self.options, split == TRAIN], cache)
