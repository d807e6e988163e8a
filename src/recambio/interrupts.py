"""ctrl-C, and the SIGTERM of a scheduler, end a command the same way wherever they find it: status 130 and a line on how to go on.

Python answers a signal between two of its own instructions. Learning a vocabulary is a single one that takes minutes, more than a
scheduler grants, so a thread waits beside: if nothing has answered after a few seconds, it says the line and ends the process. That loses
no more than the error would: every file is written aside and renamed.

Training answers by itself (:class:`recambio.training.callbacks.Interrupt`), since it has something to save.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STATUS = 130
GRACE = 5.0
"""Seconds that a signal may wait for an answer."""

_advice: list[Callable[[], str]] = []
_told = threading.Event()
_noted: list[str] = []


class Told(KeyboardInterrupt):
    """A signal's interrupt. After a plain KeyboardInterrupt in code that was run from a string Python ends itself with a signal."""


def line() -> str:
    """What to tell the user of the interrupt that has ended the command; empty if nobody has advised."""
    return f"interrupted: {_noted[0]}" if _noted else ""


def nothing_begun() -> str:
    """Advice for what comes before a command's work."""
    return "nothing was begun; the same command begins"


def begun() -> None:
    """Forget the advice so far: the command is at work, and has its own, or none."""
    _advice.clear()


def _note(advice: Callable[[], str]) -> None:
    if not _noted and advice in _advice:
        _noted.append(advice())


@contextmanager
def advising(advice: Callable[[], str]) -> Iterator[None]:
    """Say what an interrupt within keeps and how to go on; :func:`line` has it afterwards.

    It leaves as a KeyboardInterrupt, also where a library has made another error of it.

    Args:
        advice: Called when it has happened. Of several the innermost counts.
    """
    if _told.is_set():
        raise Told
    _advice.append(advice)
    try:
        yield
    except KeyboardInterrupt:
        _note(advice)
        raise
    except BaseException as error:
        if not _told.is_set():
            raise
        raise Told from error
    finally:
        if _told.is_set():
            _note(advice)  # also where nothing is raised any more: typer makes a status of it
        if advice in _advice:
            _advice.remove(advice)


@contextmanager
def answered() -> Iterator[None]:
    """Within, SIGTERM interrupts as ctrl-C does, and neither waits for long; signals that are ignored stay so."""
    _told.clear()
    _noted.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_wait, args=(reader,), daemon=True).start()
    before: dict[signal.Signals, Any] = {}
    try:
        usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        for number, handler in usual.items():
            if signal.getsignal(number) is handler:
                before[number] = handler
                signal.signal(number, _raise)
        yield
    finally:
        for taken, handler in before.items():
            signal.signal(taken, handler)
        signal.set_wakeup_fd(previous)
        os.close(writer)


def _raise(number: int, frame: FrameType | None) -> None:
    _told.set()
    raise Told


def _wait(reader: int) -> None:
    """End the process if a signal finds no answer; give up when the other end of the pipe is closed."""
    while numbers := os.read(reader, 1):
        # Where another has taken over the signal, as training has, it is not for this thread to answer.
        if signal.getsignal(numbers[0]) is _raise and not _told.wait(GRACE):
            if _advice:
                _note(_advice[-1])
                print(line(), file=sys.stderr, flush=True)
            os._exit(STATUS)
    os.close(reader)


def _in_child() -> None:
    """A forked process has its own end, and must not wake this thread."""
    with suppress(ValueError):
        if signal.getsignal(signal.SIGTERM) is _raise:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
