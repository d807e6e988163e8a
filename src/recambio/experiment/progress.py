"""How far a stream of lines has come, for a person who waits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator


def counted(lines: Iterable[str], total: int | None = None) -> Iterator[str]:
    """The lines, counted on standard error if that is a terminal that the lines themselves don't go to.

    Args:
        lines: Any number.
        total: How many there will be, if that is known: there is a bar then.
    """
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield from lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    count, left = (
        TextColumn("{task.completed:,} lines, {task.fields[rate]:,.0f}/s"),
        (BarColumn(), TimeRemainingColumn()),
    )
    columns = (SpinnerColumn(), count, TimeElapsedColumn(), *(left if total else ()))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total, rate=0.0)
        for line in lines:
            yield line
            progress.update(task, advance=1, rate=progress.tasks[0].speed or 0.0)
