"""The token store: a split's ids in memory-mapped files, so that memory doesn't grow with the corpus.

A folder holds, for each side, the ids of all sentences one after another (``.tokens``, 16 bits each if the vocabulary allows)
and where each sentence starts (``.offsets``, 64 bits, one more than there are sentences). Ids are plain: no start, no end.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from recambio.data.tokenizers.base import SIDES, Side
from recambio.data.tokenizers.sampling import Rows
from recambio.errors import RunError
from recambio.files import write_text

FORMAT = 1
"""Changes whenever the files or their meaning do; part of every key."""

DESCRIPTION = "store.json"
PROGRESS = "progress.json"

_OFFSET = np.dtype("<i8")


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
    """A split's sentence pairs as ids, memory-mapped.

    Opening costs the same for a thousand pairs and for a hundred million. Copies for worker processes carry the path alone.

    Args:
        folder: A folder that a :class:`StoreWriter` completed.

    Raises:
        RunError: It is incomplete or of another format.
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
        dtype = np.dtype(description["dtype"])
        self._mappings: list[mmap.mmap] = []
        self._tokens = {side: self._mapped(f"{side}.tokens", dtype) for side in SIDES}
        self._offsets = {side: self._mapped(f"{side}.offsets", _OFFSET) for side in SIDES}
        self.places: NDArray[np.int64] = self._mapped("places", _OFFSET)
        """Where each pair stood in the corpus as read, from 0."""

    def __reduce__(self) -> tuple[type[TokenStore], tuple[Path]]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return self._sentences

    @staticmethod
    def is_complete(folder: Path) -> bool:
        """Whether the folder holds a whole store of this format."""
        return _description(folder) is not None

    def tokens(self, side: Side) -> NDArray[Any]:
        """All ids of a side, one sentence after another."""
        return self._tokens[side]

    def offsets(self, side: Side) -> NDArray[np.int64]:
        """Where each sentence starts in :meth:`tokens`; (sentences + 1,)."""
        return self._offsets[side]

    def lengths(self, side: Side) -> NDArray[np.int32]:
        """Number of ids of each sentence, without start and end; (sentences,)."""
        offsets = self._offsets[side]
        lengths = np.empty(self._sentences, np.int32)
        np.subtract(offsets[1:], offsets[:-1], out=lengths, casting="unsafe")
        return lengths

    def release(self) -> None:
        """Let go of the pages that were read, which else count as resident until the system wants them for something else.

        They stay in the system's cache, and come back from there when they are read again.
        """
        for mapping in self._mappings:
            mapping.madvise(mmap.MADV_DONTNEED)

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
        start, end = self._offsets[side][index % self._sentences :][:2]
        return self._tokens[side][start:end]

    def _mapped(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        with (self.folder / name).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return np.empty(0, dtype)  # An empty file can't be mapped.
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._mappings.append(mapping)
        return np.frombuffer(mapping, dtype)


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
