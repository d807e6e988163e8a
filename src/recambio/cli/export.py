"""``recambio export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recambio.cli import options


def export(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help=options.RUN_HELP, show_default=False)],
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="Where to write; by default under export/ of the run.", show_default=False),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="safetensors|marian|ctranslate2", help="The format.", show_default=False)
    ] = "",
    quantization: Annotated[
        str | None,
        typer.Option(metavar="float32|float16|int8", help="Precision of ctranslate2 weights; float32 by default."),
    ] = None,
    checkpoint: options.Checkpoint = None,
) -> None:
    """Write a run for another engine.

    Refuses what the format can't express. Prints the path.
    """
    from recambio.experiment import run_folder

    folder = run_folder.existing(run)

    from recambio.interop import export as exporting

    typer.echo(
        exporting.run(
            folder,
            to,
            out,
            quantization=quantization,
            checkpoint=checkpoint,
            plugins=options.plugins(context),
        )
    )
