"""How far a stream of lines has come, for a person who waits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator


def counted(lines: Iterable[str]) -> Iterator[str]:
    """The lines, counted on standard error if that is a terminal that the lines themselves don't go to."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield from lines
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        for count, line in enumerate(lines, start=1):
            yield line
            progress.update(task, description=f"{count:,} lines")
