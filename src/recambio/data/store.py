"""The token store: a split's ids in files of which only the sentences in use are in memory.

A folder holds, for each side, the ids of all sentences one after another (``.tokens``, 16 bits each if the vocabulary allows)
and where each sentence starts (``.offsets``, 64 bits, one more than there are sentences). Ids are plain: no start, no end.

Files are read, not mapped: pages that a mapping has touched count as the process's until the system takes them back, and come one by
one from the disk where it has. What is read is copied out of the system's cache, in few large reads if many sentences are wanted.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from recambio.data.parts import Ints
from recambio.data.tokenizers.base import SIDES, Side
from recambio.data.tokenizers.sampling import Rows, runs
from recambio.errors import RunError
from recambio.files import write_text

FORMAT = 1
"""Changes whenever the files or their meaning do; part of every key."""

DESCRIPTION = "store.json"
PROGRESS = "progress.json"

_OFFSET = np.dtype("<i8")
# The most that is read at once, in bytes, and what is read along rather than left out between two sentences: a read of its own takes
# as long as copying about this much.
_BLOCK = 1 << 20
_GAP = 16 << 10
_CHUNK = 1 << 19


def token_type(vocabulary_size: int) -> np.dtype[Any]:
    """The narrowest unsigned integers that hold every id."""
    return np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")


class StoreWriter:
    """Writes a store chunk by chunk; use it as a context manager around :meth:`add`.

    Args:
        folder: An empty folder.
        vocabulary_size: The larger of the two sides' vocabularies.
        has_text: Whether the raw lines and tags are kept beside the ids, as for every split that is scored.
    """

    def __init__(self, folder: Path, vocabulary_size: int, has_text: bool) -> None:
        self.folder = folder
        self.dtype = token_type(vocabulary_size)
        self.has_text = has_text
        self.sentences = 0
        self._ends: dict[Side, int] = {side: 0 for side in SIDES}
        self._files: dict[str, BinaryIO] = {}
        self._digests: dict[str, Any] = {}
        self._tags: list[tuple[str, ...]] = []

    def resume(self) -> Any:
        """Instead of entering: go on after the last :meth:`save` of a writer of this folder that was killed.

        Returns:
            What was saved along with it; None if there is nothing to go on from, and the writer is as new.
        """
        try:
            state = json.loads((self.folder / PROGRESS).read_text("utf-8"))
            sizes: dict[str, int] = state["sizes"]
            if any((self.folder / name).stat().st_size < size for name, size in sizes.items()):
                raise ValueError("the file system lost what was written last")
        except (OSError, ValueError):
            self.__enter__()
            return None
        for name, size in sizes.items():
            file = self._files[name] = (self.folder / name).open("r+b")
            digest = self._digests[name] = hashlib.blake2b(digest_size=16)
            file.truncate(size)
            while block := file.read(1 << 20):
                digest.update(block)
        self.sentences = state["sentences"]
        self._ends = {side: state["ends"][side] for side in SIDES}
        return state["extra"]

    def save(self, extra: Any) -> None:
        """Make what has been added so far outlive this process, for a store without text.

        Args:
            extra: Plain data to give back to who resumes.
        """
        for file in self._files.values():
            file.flush()
        sizes = {name: file.tell() for name, file in self._files.items()}
        state = {"sizes": sizes, "sentences": self.sentences, "ends": self._ends, "extra": extra}
        write_text(self.folder / PROGRESS, json.dumps(state, ensure_ascii=False))

    def __enter__(self) -> Self:
        for side in SIDES:
            self._open(f"{side}.tokens")
            self._open(f"{side}.offsets")
            self._write(f"{side}.offsets", np.zeros(1, _OFFSET))
            if self.has_text:
                self._open(f"{side}.txt")
        self._open("places")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    def add(
        self,
        source: Sequence[Sequence[int]],
        target: Sequence[Sequence[int]],
        places: NDArray[np.int64],
        source_text: Sequence[str] = (),
        target_text: Sequence[str] = (),
        tags: Sequence[tuple[str, ...]] = (),
    ) -> None:
        """Append sentences.

        Args:
            source: Ids of each source sentence.
            target: Ids of each target sentence.
            places: Where each pair stood in the corpus as read, from 0.
            source_text: Raw source lines, if the store has text.
            target_text: Raw target lines, if the store has text.
            tags: Tags of each pair, if the store has text.
        """
        for side, rows, lines in zip(SIDES, (source, target), (source_text, target_text), strict=True):
            lengths = np.fromiter(map(len, rows), np.int64, len(rows))
            tokens = np.fromiter(chain.from_iterable(rows), self.dtype, int(lengths.sum()))
            self._append(side, Rows(tokens, lengths))
            if self.has_text:
                self._write(f"{side}.txt", "".join(f"{line}\n" for line in lines).encode())
        self._write("places", places.astype(_OFFSET))
        self._tags.extend(tags)
        self.sentences += len(source)

    def add_rows(self, source: Rows, target: Rows, places: NDArray[np.int64]) -> None:
        """Append sentences whose ids are arrays already, to a store without text."""
        for side, rows in zip(SIDES, (source, target), strict=True):
            self._append(side, rows)
        self._write("places", places.astype(_OFFSET))
        self.sentences += len(places)

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write the description, which makes the store complete.

        Args:
            about: Plain data to keep with the store.
        """
        if self.has_text:
            (self.folder / "tags.json").write_text(json.dumps(self._tags, ensure_ascii=False), "utf-8")
        content = hashlib.blake2b(f"{FORMAT} {self.dtype.str}".encode(), digest_size=16)
        for side in SIDES:
            for name in (f"{side}.tokens", f"{side}.offsets"):
                content.update(self._digests[name].digest())
        sizes = {name: file.tell() for name, file in self._files.items()}
        for file in self._files.values():
            file.flush()
        (self.folder / PROGRESS).unlink(missing_ok=True)
        description = {
            "format": FORMAT,
            "sentences": self.sentences,
            "dtype": self.dtype.str,
            "has_text": self.has_text,
            "content_hash": content.hexdigest(),
            "sizes": sizes,
            "about": dict(about),
        }
        (self.folder / DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False), "utf-8")

    def _append(self, side: Side, rows: Rows) -> None:
        ends = self._ends[side] + np.cumsum(rows.lengths)
        if len(ends):
            self._ends[side] = int(ends[-1])
        self._write(f"{side}.tokens", rows.tokens.astype(self.dtype, copy=False))
        self._write(f"{side}.offsets", ends.astype(_OFFSET))

    def _open(self, name: str) -> None:
        self._files[name] = (self.folder / name).open("wb")
        self._digests[name] = hashlib.blake2b(digest_size=16)

    def _write(self, name: str, data: bytes | NDArray[Any]) -> None:
        content = data if isinstance(data, bytes) else data.tobytes()
        self._files[name].write(content)
        self._digests[name].update(content)


class TokenStore:
    """A split's sentence pairs as ids, on the disk.

    Opening costs the same for a thousand pairs and for a hundred million. Copies for worker processes carry the path alone; those that
    a fork made may read at the same time.

    Args:
        folder: A folder that a :class:`StoreWriter` completed.

    Raises:
        RunError: It is incomplete or of another format; also later, when a file turns out to have been cut since.
    """

    def __init__(self, folder: Path) -> None:
        description = _description(folder)
        if description is None:
            raise RunError(f"{folder}: holds no complete token store; prepare the data again")
        self.folder = folder
        self.content_hash: str = description["content_hash"]
        self.about: dict[str, Any] = description["about"]
        self.has_text: bool = description["has_text"]
        self._sentences: int = description["sentences"]
        self._dtype = np.dtype(description["dtype"])
        self._sizes: dict[str, int] = description["sizes"]
        # They stay open, so that a store can be removed while it is read.
        self._files: dict[str, int] = {}
        weakref.finalize(self, _close, self._files)
        for name in ("places", *(f"{side}.{kind}" for side in SIDES for kind in ("tokens", "offsets"))):
            self._files[name] = os.open(folder / name, os.O_RDONLY)

    def __reduce__(self) -> tuple[type[TokenStore], tuple[Path]]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return self._sentences

    @staticmethod
    def is_complete(folder: Path) -> bool:
        """Whether the folder holds a whole store of this format."""
        return _description(folder) is not None

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each pair stood in the corpus as read, from 0; read anew each time."""
        return self._slice("places", _OFFSET, 0, self._sentences)

    def n_tokens(self, side: Side) -> int:
        """Number of ids of a side, without starts and ends."""
        size = self._sizes[f"{side}.tokens"]
        return size // int(self._dtype.itemsize)

    def lengths(self, side: Side) -> NDArray[np.int32]:
        """Number of ids of each sentence, without start and end; (sentences,)."""
        lengths = np.empty(self._sentences, np.int32)
        for start in range(0, self._sentences, _CHUNK):
            here = lengths[start : start + _CHUNK]
            offsets = self._slice(f"{side}.offsets", _OFFSET, start, start + len(here) + 1)
            np.subtract(offsets[1:], offsets[:-1], out=here, casting="unsafe")
        return lengths

    def read(self, indices: Ints) -> dict[Side, Rows]:
        """The ids of sentences on both sides, in the order in which they are named; each may be named several times."""
        # They are read in the order of the store.
        order = np.argsort(indices)
        ascending = indices[order].astype(np.int64)
        if len(indices) and not 0 <= ascending[0] <= ascending[-1] < self._sentences:
            raise IndexError(f"sentences {ascending[0]} to {ascending[-1]} of {self._sentences}")
        return {side: self._read(side, ascending, order) for side in SIDES}

    def source(self, index: int) -> NDArray[Any]:
        """The source ids of a sentence, without special ones."""
        return self._row("source", index)

    def target(self, index: int) -> NDArray[Any]:
        """The target ids of a sentence, without special ones."""
        return self._row("target", index)

    def text(self, side: Side) -> list[str]:
        """The raw lines of a side, as they stood in the corpus: the references that metrics are computed on.

        Raises:
            ValueError: The store is of a training split, which keeps no text.
        """
        if not self.has_text:
            raise ValueError(f"{self.folder} keeps no text; only splits that are scored do")
        return (self.folder / f"{side}.txt").read_bytes().decode().split("\n")[:-1]

    def tags(self) -> list[tuple[str, ...]]:
        """The tags of each pair.

        Raises:
            ValueError: The store is of a training split, which keeps no tags.
        """
        if not self.has_text:
            raise ValueError(f"{self.folder} keeps no tags; only splits that are scored do")
        return [tuple(tags) for tags in json.loads((self.folder / "tags.json").read_text("utf-8"))]

    def _row(self, side: Side, index: int) -> NDArray[Any]:
        if not -self._sentences <= index < self._sentences:
            raise IndexError(f"sentence {index} of {self._sentences}")
        index %= self._sentences
        start, end = self._slice(f"{side}.offsets", _OFFSET, index, index + 2).tolist()
        return self._slice(f"{side}.tokens", self._dtype, start, end)

    def _read(self, side: Side, ascending: NDArray[np.int64], order: Ints) -> Rows:
        """The ids of sentences, of which the i-th that is read comes to stand in place ``order[i]``."""
        starts, ends = np.empty((2, len(order)), np.int64)
        for here, block in self._blocks(f"{side}.offsets", _OFFSET, ascending, ascending + 2):
            at = ascending[here] - ascending[here.start]
            starts[here], ends[here] = block[at], block[at + 1]
        wanted = ends - starts
        lengths = np.empty_like(wanted)
        lengths[order] = wanted
        tokens = np.empty(int(lengths.sum()), self._dtype)
        into = (np.cumsum(lengths) - lengths)[order]
        for here, block in self._blocks(f"{side}.tokens", self._dtype, starts, ends):
            tokens[runs(into[here], wanted[here])] = block[runs(starts[here] - starts[here.start], wanted[here])]
        return Rows(tokens, lengths)

    def _blocks(
        self, name: str, dtype: np.dtype[Any], starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Runs of entries of a file that ascend: which of them are in a block, and the file from the first's start to the last's end.

        A block is overwritten by the next.
        """
        if not len(starts):
            return
        block = _BLOCK // dtype.itemsize
        is_cut = starts[1:] - ends[:-1] > _GAP // dtype.itemsize
        is_cut |= np.diff(starts // block) > 0
        cuts = np.concatenate([[0], np.flatnonzero(is_cut) + 1, [len(starts)]])
        firsts, lasts = starts[cuts[:-1]], ends[cuts[1:] - 1]
        buffer = np.empty(int((lasts - firsts).max()), dtype)
        for (a, b), first, last in zip(pairwise(cuts.tolist()), firsts.tolist(), lasts.tolist(), strict=True):
            here = buffer[: last - first]
            self._fill(name, here, first)
            yield slice(a, b), here

    def _slice(self, name: str, dtype: np.dtype[Any], start: int, end: int) -> NDArray[Any]:
        found = np.empty(end - start, dtype)
        self._fill(name, found, start)
        return found

    def _fill(self, name: str, into: NDArray[Any], start: int) -> None:
        """Read a file from entry ``start`` on; no position in it is shared with other threads and processes."""
        left, at = into.view(np.uint8).data, start * into.itemsize
        while len(left):
            count = os.preadv(self._files[name], [left], at)
            if not count:
                raise RunError(f"{self.folder / name}: has been cut short; prepare the data again")
            left, at = left[count:], at + count


def _close(files: Mapping[str, int]) -> None:
    for file in files.values():
        os.close(file)


def _description(folder: Path) -> dict[str, Any] | None:
    try:
        description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        if description["format"] != FORMAT:
            return None
        if any((folder / name).stat().st_size != size for name, size in description["sizes"].items()):
            return None
    except (OSError, ValueError, KeyError):
        return None
    return description
