"""Sentence pairs and the text files they come from, plain or compressed (gzip, xz, Zstandard), one sentence a line.

Lines end at ``\\n`` and nowhere else: U+2028, U+0085 or a lone ``\\r`` inside a sentence must not shift one side of a corpus
against the other. One ``\\r`` before the ``\\n`` and a byte order mark at the start of the file are removed.
"""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO, Literal, cast, overload

from recambio.data.zstd import DamagedError, open_zstd
from recambio.errors import InputError

SUFFIXES = ("", ".gz", ".xz", ".zst")
"""What may follow a file's name, in the order of preference."""

NOT_UTF8 = "not UTF-8"
EMPTY_SIDE = "empty side"
TOO_FEW_COLUMNS = "too few columns"

DAMAGED = (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, DamagedError)
"""What reading a compressed file raises where it is cut off or spoilt."""

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class Pair:
    """A sentence and its translation.

    Attributes:
        source: The sentence.
        target: Its translation.
        tags: What the pair is an instance of: the phenomena of the embedded grammar.
        line: Line of ``file`` it stood on, from 1; 0 if it comes from no file.
        file: The file of the source side.
    """

    source: str
    target: str
    tags: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)
    file: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no pair: where it stands and why."""

    file: str
    line: int
    reason: str


OnBad = Callable[[BadLine], None]
"""Called once for every line that a tolerant reader leaves out, in the order of the file."""


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, decompressed by its suffix.

    Raises:
        InputError: There is no such file, it can't be read, or what decompresses it is not installed.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a text file is needed")
    try:
        if path.suffix == ".gz":
            return cast(BinaryIO, gzip.open(path, "rb"))
        if path.suffix == ".xz":
            return cast(BinaryIO, lzma.open(path, "rb"))
        if path.suffix == ".zst":
            return open_zstd(path)
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); check its permissions") from None


@overload
def decode_lines(stream: BinaryIO, name: str, strict: Literal[True] = ...) -> Iterator[str]: ...
@overload
def decode_lines(stream: BinaryIO, name: str, strict: bool) -> Iterator[str | None]: ...
def decode_lines(stream: BinaryIO, name: str, strict: bool = True) -> Iterator[str | None]:
    """The lines of a stream of bytes, without their ends.

    Args:
        stream: Bytes, such as an open file or ``sys.stdin.buffer``.
        name: What messages call the stream.
        strict: Raise at the first line that isn't UTF-8. Otherwise such a line comes as ``None``; if more than one in a
            hundred is so (and more than one), or all are, the stream as a whole isn't UTF-8 and that is raised at its end.

    Yields:
        One text a line. A line with a NUL counts as not UTF-8: it is UTF-16 or no text at all.

    Raises:
        InputError: As said, or the compressed file is damaged.
    """
    number = bad = 0
    try:
        for raw in stream:
            number += 1
            if number == 1:
                if raw.startswith(_UTF16_MARKS):
                    raise InputError(f"{name}: not UTF-8 but UTF-16; convert it (iconv -f UTF-16 -t UTF-8)")
                raw = raw.removeprefix(_UTF8_MARK)
            if raw.endswith(b"\n"):
                raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
            elif raw.endswith(b"\r"):
                raw = raw[:-1]
            try:
                text = raw.decode("utf-8")
                why = "it holds a NUL byte" if "\0" in text else ""
            except UnicodeDecodeError as error:
                why = f"byte 0x{raw[error.start]:02x} at {error.start + 1}"
            if not why:
                yield text
                continue
            if strict:
                raise InputError(f"{name}:{number}: not UTF-8 ({why}); convert the file to UTF-8")
            bad += 1
            yield None
    except DAMAGED as error:
        raise InputError(f"{name}: damaged after line {number} ({error}); fetch or compress it again") from None
    if bad and (bad == number or bad > max(1, number // 100)):
        raise InputError(f"{name}: not UTF-8 ({bad} of {number} lines aren't); convert it to UTF-8")


@overload
def read_lines(path: Path, strict: Literal[True] = ...) -> Iterator[str]: ...
@overload
def read_lines(path: Path, strict: bool) -> Iterator[str | None]: ...
def read_lines(path: Path, strict: bool = True) -> Iterator[str | None]:
    """The lines of a plain or compressed file; see :func:`decode_lines`."""
    with open_bytes(path) as stream:
        yield from decode_lines(stream, str(path), strict)


def find_file(path: Path, suffixes: Sequence[str] = SUFFIXES) -> Path | None:
    """The file itself or its compressed form, whichever exists first in the order of ``suffixes``."""
    for suffix in suffixes:
        candidate = path.with_name(path.name + suffix)
        if candidate.is_file():
            return candidate
    return None


def read_moses(source: Path, target: Path, *, strict: bool, on_bad: OnBad | None = None) -> Iterator[Pair]:
    """Pairs of two files whose lines correspond.

    Args:
        source: One sentence a line.
        target: Line *n* translates line *n* of ``source``.
        strict: For text to be scored: a line that isn't UTF-8 is an error and an empty side is kept, so that nothing is
            left out. Otherwise both are left out and reported to ``on_bad``.
        on_bad: See ``strict``.

    Raises:
        InputError: The files differ in length, hold nothing, or aren't UTF-8.
    """
    end = object()
    counts = [0, 0]
    names = (str(source), str(target))
    sides = zip_longest(read_lines(source, strict), read_lines(target, strict), fillvalue=cast(str, end))
    for number, (first, second) in enumerate(sides, start=1):
        missing = (first is end, second is end)
        if any(missing):
            counts = [number - missing[0], number - missing[1]]
            longer = 0 if missing[1] else 1
            counts[longer] += sum(1 for _ in sides)
            raise InputError(
                f"{names[0]}: has {counts[0]} lines, but {names[1]} has {counts[1]}; "
                "line n of one must translate line n of the other"
            )
        if first is None or second is None:
            _report(on_bad, names[0] if first is None else names[1], number, NOT_UTF8)
        elif not strict and not (first.strip() and second.strip()):
            _report(on_bad, names[1] if first.strip() else names[0], number, EMPTY_SIDE)
        else:
            yield Pair(first, second, (), number, names[0])
        counts[0] = number
    if not counts[0]:
        raise InputError(f"{names[0]}: is empty; a corpus needs at least one line")


def read_tsv(
    path: Path, columns: Sequence[int] = (0, 1), *, strict: bool, on_bad: OnBad | None = None
) -> Iterator[Pair]:
    """Pairs of a file of tab-separated columns, without quoting.

    Args:
        path: One pair a line.
        columns: Index of the source's and of the target's column, from 0.
        strict: As in :func:`read_moses`; too few columns are then an error as well.
        on_bad: As in :func:`read_moses`.

    Raises:
        InputError: The file holds nothing, isn't UTF-8, or no line has the columns.
    """
    name = str(path)
    first, second = columns
    needed = max(columns) + 1
    number = short = 0
    for number, line in enumerate(read_lines(path, strict), start=1):
        if line is None:
            _report(on_bad, name, number, NOT_UTF8)
            continue
        cells = line.split("\t")
        if len(cells) < needed:
            if strict:
                raise InputError(f"{name}:{number}: {len(cells)} columns; {needed} are needed")
            short += 1
            _report(on_bad, name, number, TOO_FEW_COLUMNS)
        elif not strict and not (cells[first].strip() and cells[second].strip()):
            _report(on_bad, name, number, EMPTY_SIDE)
        else:
            yield Pair(cells[first], cells[second], (), number, name)
    if not number:
        raise InputError(f"{name}: is empty; a corpus needs at least one line")
    if short == number:
        raise InputError(f"{name}: no line has {needed} tab-separated columns; is it a TSV file?")


def _report(on_bad: OnBad | None, file: str, line: int, reason: str) -> None:
    if on_bad is not None:
        on_bad(BadLine(file, line, reason))
