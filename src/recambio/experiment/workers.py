"""Processes that translate chunks of one stream side by side, a device each.

The parent reads, hands out and writes; a worker opens the run as the parent would have and answers a chunk with its lines. The messages,
chunks and lines, are of this package's own making; nothing of a user's file is unpickled.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from recambio.errors import InputError, RunError
from recambio.experiment.stream import Chunk

Translate = Callable[[Chunk], Iterable[str]]
"""From a chunk to one line for each of its lines."""

Open = Callable[[str], Translate]
"""From a device to what translates there. It travels to the worker: a function or method of this package with plain data."""

_IN_FLIGHT = 4
"""Chunks a worker that are read and not yet written: memory is bounded, and one slow chunk doesn't stop the others at once."""

_log = logging.getLogger("recambio")


@dataclass(frozen=True)
class _Answer:
    """What a worker says of a chunk, or of how it opened the run.

    Attributes:
        lines: The chunk's.
        said: Log records, level and text.
        problems: Wrong input, a line each.
        failure: Anything else that was raised, in one line.
        trace: Its traceback.
    """

    lines: list[str] = field(default_factory=list)
    said: list[tuple[int, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failure: str = ""
    trace: str = ""

    def error(self) -> Exception | None:
        """What the parent raises for it."""
        if self.problems:
            return InputError(self.problems)
        if self.failure:
            error = RunError(f"{self.failure} (--debug shows the traceback)")
            error.__cause__ = _InWorker(f"\n{self.trace}")
            return error
        return None


class _InWorker(Exception):
    """Shows a worker's traceback as the cause of the parent's error."""


@dataclass
class _Worker:
    """The parent's view of a worker."""

    name: str
    process: SpawnProcess
    connection: Connection
    held: Chunk | None = None

    def death(self) -> RunError:
        """How it ended, and what it held."""
        self.process.join(1)
        code = self.process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"
        return RunError(f"{self.name}: process {self.process.pid} {how}; it held {self.held or 'no lines'}")


class Workers:
    """A context in which processes are ready to translate; none outlives it.

    Args:
        open: What each of them does first. It is not repeated what it says by that: who starts them has said it.
        devices: One for each.
    """

    def __init__(self, open: Open, devices: Sequence[str]) -> None:
        self._open = open
        self._devices = devices
        self._workers: list[_Worker] = []

    def __enter__(self) -> Workers:
        """Start them, and wait until all are ready.

        Raises:
            InputError: The run can't be opened as asked.
            RunError: A worker died meanwhile.
        """
        try:
            self._start()
            for worker in self._workers:
                wait([worker.connection, worker.process.sentinel])
                try:
                    answer: _Answer = worker.connection.recv()
                except (EOFError, OSError):
                    raise worker.death() from None
                if error := answer.error():
                    raise error
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def stream(self, chunks: Iterable[Chunk]) -> Iterator[str]:
        """The lines of all chunks, in order.

        Args:
            chunks: Read by a thread, a bounded number ahead of what has been taken. What it raises comes where it arose.

        Raises:
            InputError: As one device would have, after the lines before.
            RunError: A worker died, which is noticed at once; or a chunk failed.
        """
        tasks: queue.SimpleQueue[tuple[int, Chunk] | None] = queue.SimpleQueue()
        events: queue.SimpleQueue[_Worker | tuple[int, _Answer | Exception | None]] = queue.SimpleQueue()
        slots = threading.Semaphore(_IN_FLIGHT * len(self._workers))

        def read() -> None:
            number, end = 0, None
            try:
                for chunk in chunks:
                    slots.acquire()
                    tasks.put((number, chunk))
                    number += 1
            except Exception as error:
                end = error
            events.put((number, end))
            for _ in self._workers:
                tasks.put(None)

        def attend(worker: _Worker) -> None:
            with contextlib.suppress(EOFError, OSError):  # it died, which `watch` reports
                while task := tasks.get():
                    number, worker.held = task
                    worker.connection.send(worker.held)
                    answer = worker.connection.recv()
                    worker.held = None
                    events.put((number, answer))

        def watch() -> None:
            ended = wait([worker.process.sentinel for worker in self._workers])
            events.put(next(worker for worker in self._workers if worker.process.sentinel in ended))

        _in_background(read)
        _in_background(watch)
        for worker in self._workers:
            _in_background(attend, worker)
        done: dict[int, _Answer | Exception | None] = {}
        number = 0
        while True:
            while number not in done:
                event = events.get()
                if isinstance(event, _Worker):
                    raise event.death()
                done[event[0]] = event[1]
            answer = done.pop(number)
            if answer is None:
                return
            if isinstance(answer, Exception):
                raise answer
            _repeat(answer)
            if error := answer.error():
                raise error
            yield from answer.lines
            slots.release()
            number += 1

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        # ctrl-C reaches every process of a terminal. It is the parent's to answer, also while a worker imports what it needs.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for number, device in enumerate(self._devices, start=1):
                name = f"worker {number} of {len(self._devices)} ({device})"
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(theirs, name, self._open, device), daemon=True)
                process.start()
                theirs.close()
                self._workers.append(_Worker(name, process, ours))
        finally:
            signal.signal(signal.SIGINT, before)

    def _end(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()


def _in_background(target: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


def _repeat(answer: _Answer) -> None:
    for level, text in answer.said:
        _log.log(level, text)


# ------------------------------------------------------------------------------------------------------- in the worker


class _Kept(logging.Handler):
    """Keeps what is logged for the parent, which says it in the order of the lines."""

    def __init__(self) -> None:
        super().__init__()
        self._records: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append((record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[int, str]]:
        """What was logged since the last time."""
        records, self._records = self._records, []
        return records


def _serve(connection: Connection, name: str, open: Open, device: str) -> None:
    """Answer the parent until it is gone."""
    _in_background(_end_with_parent)
    kept = _Kept()
    _log.addHandler(kept)
    _log.setLevel(logging.INFO)
    _log.propagate = False
    translate: Translate | None = None

    def answer(where: str, work: Callable[[], Iterable[str]]) -> _Answer:
        try:
            return _Answer(list(work()), kept.taken())
        except InputError as error:
            return _Answer(said=kept.taken(), problems=error.problems)
        except Exception as error:
            first = str(error).strip().split("\n", 1)[0]
            text = f"{where}: {type(error).__name__}{f': {first}' if first else ''}"
            return _Answer(said=kept.taken(), failure=text, trace=traceback.format_exc())

    def opened() -> list[str]:
        nonlocal translate
        translate = open(device)
        return []

    connection.send(answer(name, opened))
    with contextlib.suppress(EOFError, OSError):
        while True:
            chunk: Chunk = connection.recv()
            assert translate is not None
            connection.send(answer(f"{chunk}, {name}", partial(translate, chunk)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # at once: the lines at work have no reader
