"""Lines in chunks: read as they come, numbered, each with its prefix."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from recambio.errors import InputError
from recambio.experiment.beside import Beside

CHUNK = 512
"""Lines translated together, sorted by length: more of them would pad less, and be at work longer before the first is written."""

SHARE = 256
"""Lines of a test set translated together. They are of like length, so that fewer of them pad no more, and leave no device without any."""

PAUSE, PATIENCE = 0.02, 0.2
"""Seconds without a line after which those at hand are translated, and seconds after which they are in any case."""


@dataclass(frozen=True)
class Chunk:
    """Lines to translate together.

    Attributes:
        numbers: Of the lines, from 1.
        lines: English.
        prefixes: What each translation begins with, if any does.
        required: Phrases that each translation must hold, if any must.
        test_set: Whose lines they are, if they were picked from a test set and don't stand in a row.
    """

    numbers: Sequence[int]
    lines: list[str]
    prefixes: list[str] | None = None
    required: list[Sequence[str]] | None = None
    test_set: str = ""

    def names(self) -> list[str]:
        """What messages call each line."""
        whose = f"{self.test_set}, " if self.test_set else ""
        return [f"{whose}line {number}" for number in self.numbers]

    def __str__(self) -> str:
        if self.test_set:
            return f"{len(self.lines):,} lines of {self.test_set}"
        return f"lines {self.numbers[0]:,} to {self.numbers[-1]:,}"


def groups(lines: Iterable[str], size: int = CHUNK) -> Iterator[list[str]]:
    """Lists of ``size`` lines and one of the rest; where reading fails, the lines before come first."""
    held: list[str] = []
    try:
        for line in lines:
            held.append(line)
            if len(held) == size:
                yield held
                held = []
    except InputError:
        if held:
            yield held
        raise
    if held:
        yield held


def arrived(lines: Iterable[str], size: int = CHUNK) -> Iterator[list[str]]:
    """Like :func:`groups`, with fewer lines where no more have come: who writes one line and waits gets its translation.

    Args:
        lines: Read by a thread, which is at most ``size`` lines ahead. It ends with the lines, or with the process: nothing
            ends a thread that waits for a pipe.
        size: The most lines of a group.
    """
    waiting: queue.Queue[str | _End] = queue.Queue(size)

    def read() -> None:
        error: Exception | None = None
        try:
            for line in lines:
                waiting.put(line)
        except Exception as raised:
            error = raised
        waiting.put(_End(error))

    threading.Thread(target=read, name="reader", daemon=True).start()
    item = waiting.get()
    while not isinstance(item, _End):
        held, deadline = [item], time.monotonic() + PATIENCE
        try:
            while len(held) < size:
                item = waiting.get(timeout=max(0.0, min(PAUSE, deadline - time.monotonic())))
                if isinstance(item, _End):
                    break
                held.append(item)
        except queue.Empty:
            pass
        yield held
        if not isinstance(item, _End):
            item = waiting.get()
    if item.error is not None:
        raise item.error


@dataclass(frozen=True)
class _End:
    """No more lines: all were read, or reading failed."""

    error: Exception | None


def numbered(
    lines: Iterable[list[str]],
    prefixes: Iterable[str] | str | None = None,
    required: Iterable[Sequence[str]] | None = None,
) -> Iterator[Chunk]:
    """Groups of lines as chunks.

    Args:
        lines: Groups, in order.
        prefixes: One for all lines, or one for each.
        required: Phrases for each line.

    Raises:
        InputError: There are fewer prefixes or lists of phrases than lines, or more.
    """
    first = 1
    starts = None if prefixes is None or isinstance(prefixes, str) else Beside("--prefix-file", prefixes)
    phrases = None if required is None else Beside("--require-file", required)
    for held in lines:
        beginnings = None if starts is None else starts.take(len(held))
        if isinstance(prefixes, str):
            beginnings = [prefixes] * len(held)
        numbers = range(first, first + len(held))
        yield Chunk(numbers, held, beginnings, None if phrases is None else phrases.take(len(held)))
        first += len(held)
    for beside in (starts, phrases):
        if beside is not None:
            beside.end()


def by_length(lines: Sequence[str], test_set: str, size: int = SHARE) -> list[Chunk]:
    """A test set in chunks of lines of like length, the longest first: the last, for which devices wait, take the least time.

    Args:
        lines: English, in the order of the set.
        test_set: Its name.
        size: The most lines of a chunk.
    """
    order = sorted(range(len(lines)), key=lambda place: -len(lines[place]))
    shares = (sorted(order[start : start + size]) for start in range(0, len(order), size))
    return [Chunk([i + 1 for i in share], [lines[i] for i in share], test_set=test_set) for share in shares]
