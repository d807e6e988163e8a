"""``recambio contrast``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recambio.cli import options


class Source(StrEnum):
    """Whose items."""

    HAND = "hand"
    GRAMMAR = "grammar"
    BOTH = "both"


def contrast(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help=options.RUN_HELP)] = "newest",
    overrides: options.Overrides = None,
    items: Annotated[
        list[Path] | None,
        typer.Option(
            "--items",
            metavar="FILE",
            help="Your own items, a phenomenon a file: source, right, wrong... with tabs between; may be repeated.",
        ),
    ] = None,
    source: Annotated[
        Source | None,
        typer.Option(
            help="The package's items: written by hand, made from the embedded grammar, or both, which is the default "
            "without --items.",
            show_default=False,
        ),
    ] = None,
    checkpoint: options.Checkpoint = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Right against minimally wrong.

    How often a run gives the right translation a higher probability than minimally wrong ones, by phenomenon.
    """
    from recambio.experiment import run_folder

    if "=" in run and not Path(run).exists():
        overrides, run = [run, *(overrides or [])], run_folder.NEWEST
    folder = run_folder.existing(run)
    if source is None and not items:
        source = Source.BOTH
    sources = ["hand", "grammar"] if source is Source.BOTH else [source.value] if source else []

    from recambio.experiment import contrast as contrasting

    contrasting.run(
        folder,
        sources=sources,
        files=items or [],
        checkpoint=checkpoint,
        as_json=json,
        overrides=overrides or [],
        plugins=options.plugins(context),
    )
