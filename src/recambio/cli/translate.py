"""``recambio translate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recambio.cli import options
from recambio.errors import InputError

ENGINES = ("recambio", "ctranslate2")


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
    engine: Annotated[
        str, typer.Option(metavar="recambio|ctranslate2", help="ctranslate2: what `recambio export` wrote.")
    ] = "recambio",
    model: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The exported model; by default export/ctranslate2 of the run."),
    ] = None,
) -> None:
    """Translate a file or standard input.

    Line by line; interactive at a terminal.
    """
    if engine not in ENGINES:
        raise InputError(f"--engine {engine}: no such engine; there is {', '.join(ENGINES)}")
    if engine == "ctranslate2":
        from recambio.interop.ctranslate2_import import ctranslate2

        ctranslate2()  # before torch
        if checkpoint is not None:
            raise InputError("--checkpoint: an exported model has its weights; give it to recambio export instead")
    elif model is not None:
        raise InputError("--model: is an exported model; add --engine ctranslate2")
    from recambio.experiment import run_folder

    overrides = [a for a in arguments or [] if "=" in a and not Path(a).exists()]
    files = [a for a in arguments or [] if a not in overrides]
    if len(files) > 1:
        raise InputError(f"translate: takes one FILE, but got {', '.join(files)}; join them with cat and pipe them in")
    folder = run_folder.existing(run)

    from recambio.experiment import translate as translation

    plugins = options.plugins(context)

    def exported() -> translation.Lines:
        from recambio.interop.ctranslate2_engine import Engine

        return Engine(folder, model, overrides=overrides, plugins=plugins)

    translation.run(
        folder,
        file=Path(files[0]) if files else None,
        checkpoint=checkpoint,
        overrides=overrides,
        plugins=plugins,
        engine=exported if engine == "ctranslate2" else None,
    )
