"""``recambio import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Checkpoints of other packages.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Checkpoints of other packages."""


@app.command("marian")
def marian(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder of a MarianMTModel, as OPUS-MT's.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PATH", help="The run folder; by default runs/<name of PATH>.", show_default=False
        ),
    ] = None,
) -> None:
    """Make a run folder of a Marian checkpoint.

    For eval, translate and training.init_from. Prints the folder.
    """
    from recambio.interop import marian_import

    typer.echo(marian_import.run(path, out))
