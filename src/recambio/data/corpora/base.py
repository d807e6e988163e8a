"""The contract of a corpus: named splits of sentence pairs, and a hash of what is in each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from recambio.data.cache import file_hash, stable_hash
from recambio.data.pairs import SUFFIXES, OnBad, Pair, find_file
from recambio.errors import InputError
from recambio.registry import CORPUS

TRAIN = "train"
"""The split that is cleaned and trained on; every other one is scored, so nothing of it may be left out."""


@CORPUS.define
class Corpus(ABC):
    """A parallel corpus."""

    def __init__(self) -> None:  # noqa: B027 - a signature without options for corpora that have none
        pass

    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that this corpus has, such as ``train``, ``dev``, ``test``."""

    @abstractmethod
    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        """The pairs of a split, one at a time, in the same order each time.

        Args:
            split: One of :meth:`splits`. ``train`` is read tolerantly: lines without a pair go to ``on_bad``. Every other
                split is read strictly: a bad line is an error, for leaving it out would change what is scored.
            on_bad: Told of each line of ``train`` that is left out, in order.

        Raises:
            InputError: A file is missing, empty, damaged, not UTF-8, or its sides differ in length.
        """

    @abstractmethod
    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        """Hash of everything that determines the split's content.

        Args:
            split: One of :meth:`splits`.
            cache: Folder where hashes of unchanged files may be remembered.
        """

    def code(self) -> tuple[type, ...]:
        """The classes whose source determines what is read: an edit of any makes another corpus."""
        return (type(self),)

    def sections(self, on_bad: OnBad | None = None) -> Iterator[tuple[str, Iterator[Pair]]]:
        """The training pairs, part by part.

        Args:
            on_bad: As in :meth:`read`.

        Yields:
            The name of each part and its pairs, to be read before the next part is asked for. A corpus that has no parts is
            one without a name.
        """
        yield "", self.read(TRAIN, on_bad)

    def weights(self, pairs: Sequence[int]) -> list[float]:
        """How many times the training pairs of each part come in an epoch.

        Args:
            pairs: How many pairs of each part cleaning has left, at least one.
        """
        return [1.0] * len(pairs)

    def check_split(self, split: str) -> None:
        """Refuse a split that this corpus doesn't have.

        Raises:
            InputError: It has none of that name.
        """
        if split not in self.splits():
            raise InputError(f"data.corpus: has no split {split!r}; it has {', '.join(self.splits())}")


def resolve(root: Path | None, path: str) -> Path:
    """A path of the config, relative ones under ``data.root`` (without one, under the working folder)."""
    return Path(path).expanduser() if root is None else root / Path(path).expanduser()


def existing(path: Path, option: str, root: Path | None, suffixes: Sequence[str] = SUFFIXES) -> Path:
    """The file at ``path`` or its compressed form.

    Raises:
        InputError: There is none; the text says what was tried and where the public corpora are.
    """
    found = find_file(path, suffixes)
    if found is not None:
        return found
    others = [suffix for suffix in suffixes if suffix]
    is_plain = bool(others) and path.suffix not in others
    tried = f"{path} (nor with {' or '.join(others)})" if is_plain else str(path)
    where = "check data.root" if root is not None else "set data.root or RECAMBIO_DATA to the folder of the data"
    raise InputError(
        f"data.corpus.{option}: no file {tried}; {where} (Tatoeba, OPUS-100 and others are at https://opus.nlpl.eu)"
    )


def files_fingerprint(reader: str, paths: Sequence[Path], options: Sequence[object], cache: Path | None) -> str:
    """Fingerprint of a split that is the content of ``paths`` as ``reader`` reads it."""
    return stable_hash([reader, [file_hash(path, cache) for path in paths], list(options)])
