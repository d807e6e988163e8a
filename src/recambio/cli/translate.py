"""``recambio translate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recambio.cli import options
from recambio.errors import InputError


def translate(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help=options.RUN_HELP, show_default=False)],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE KEY=VALUE",
            help="English sentences, one a line (standard input by default); changes of the config.",
            show_default=False,
        ),
    ] = None,
    checkpoint: options.Checkpoint = None,
) -> None:
    """Translate a file or standard input.

    Line by line; interactive at a terminal.
    """
    from recambio.experiment import run_folder

    overrides = [a for a in arguments or [] if "=" in a and not Path(a).exists()]
    files = [a for a in arguments or [] if a not in overrides]
    if len(files) > 1:
        raise InputError(f"translate: takes one FILE, but got {', '.join(files)}; join them with cat and pipe them in")
    folder = run_folder.existing(run)

    from recambio.experiment import translate as translation

    translation.run(
        folder,
        file=Path(files[0]) if files else None,
        checkpoint=checkpoint,
        overrides=overrides,
        plugins=options.plugins(context),
    )
