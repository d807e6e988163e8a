"""``recambio train``."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from recambio import interrupts
from recambio.cli import options


def train(
    context: typer.Context,
    config: options.ConfigArgument,
    overrides: options.Overrides = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the newest unfinished run of this name; start one if there is none."),
    ] = False,
    run: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The run folder to continue.", show_default=False)
    ] = None,
) -> None:
    """Train a config.

    Data, tokenizer, training, final evaluation, report. Prints the run folder.
    """
    with interrupts.advising(interrupts.nothing_begun):
        from recambio.config import load
        from recambio.experiment import run_folder

        with _uncollected():
            loaded = load(config, overrides or [], plugins=options.plugins(context))

            from recambio.experiment import train as training

        folder = training.run(loaded, resume=resume, run=run)
    if run_folder.is_first_process():
        typer.echo(folder)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import torch and Lightning without looking for garbage, and never look among what they made.

    These are some million objects, all of which stay. Going through them again and again took a fifth of the start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
