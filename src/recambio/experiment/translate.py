"""``recambio translate``: a file, a pipe, or a person at a terminal."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from recambio.data.pairs import decode_lines, read_lines
from recambio.errors import InputError
from recambio.experiment.translator import load


class Lines(Protocol):
    """What turns English lines into Spanish ones."""

    def translate(self, lines: Sequence[str]) -> list[str]:
        """One line each."""

    def stream(self, lines: Iterator[str], chunk: int = 512) -> Iterator[str]:
        """Lines as they come."""


def run(
    run: Path,
    *,
    file: Path | None = None,
    checkpoint: str | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    engine: Callable[[], Lines] | None = None,
) -> None:
    """Translate line by line to standard output.

    Args:
        run: The run folder.
        file: One sentence a line; without it, standard input.
        checkpoint: ``best``, ``last``, ``average`` or a file.
        overrides: Changes of ``decoding``.
        plugins: What the run needs from outside the project.
        engine: Opens what translates instead of the run's own model.
    """
    if file is not None and not file.is_file():
        raise InputError(f"{file}: no such file; give one sentence a line, or pipe them in")
    open_own = functools.partial(load, run, checkpoint=checkpoint, overrides=overrides, plugins=plugins)
    translator: Lines = (engine or open_own)()
    if file is None and sys.stdin.isatty():
        print("English, one sentence a line; an empty line or ctrl-D ends.", file=sys.stderr)
        for line in _typed():
            print(translator.translate([line])[0], flush=True)
        return
    lines = read_lines(file) if file is not None else decode_lines(sys.stdin.buffer, "standard input")
    # One write a line: an interrupt leaves whole lines.
    for line in translator.stream(lines):
        sys.stdout.write(line.replace("\n", " ") + "\n")
    sys.stdout.flush()


def _typed() -> Iterator[str]:
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        if not line.strip():
            return
        yield line
