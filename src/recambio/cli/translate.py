"""``recambio translate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recambio.cli import options
from recambio.errors import InputError

if TYPE_CHECKING:
    from recambio.experiment.translator import LineTranslator

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
    others: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="RUN", help="A run that predicts together with RUN; may be repeated."),
    ] = None,
    n_best: Annotated[
        int | None, typer.Option("--n-best", metavar="N", min=1, help="JSON lines with N translations each.")
    ] = None,
    scores: Annotated[bool, typer.Option("--scores", help="JSON lines with each token's log-probability.")] = False,
    align: Annotated[bool, typer.Option("--align", help="JSON lines with each token's cross-attention.")] = False,
    align_layer: Annotated[
        int, typer.Option("--align-layer", metavar="N", help="The decoder layer of --align, from 0; -1 is the last.")
    ] = -1,
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="TEXT", help="What every translation begins with.")
    ] = None,
    prefix_file: Annotated[
        Path | None,
        typer.Option("--prefix-file", metavar="FILE", help="What each translation begins with, a line each."),
    ] = None,
    forbid: Annotated[
        list[str] | None,
        typer.Option("--forbid", metavar="PHRASE", help="Words that no translation may hold; may be repeated."),
    ] = None,
    devices: options.Devices = None,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", metavar="PHRASE", help="Words that every translation must hold; may be repeated."),
    ] = None,
    require_file: Annotated[
        Path | None,
        typer.Option("--require-file", metavar="FILE", help="Phrases of each translation, a line each, between tabs."),
    ] = None,
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
    is_exported = engine == "ctranslate2"
    if is_exported:
        from recambio.interop.ctranslate2_import import ctranslate2

        ctranslate2()  # before torch
        ours = {"--checkpoint": checkpoint, "--with": others, "--scores": scores, "--align": align, "--prefix": prefix,
                "--prefix-file": prefix_file, "--forbid": forbid, "--require": require, "--require-file": require_file,
                "--devices": devices}  # fmt: skip
        if given := [name for name, value in ours.items() if value]:
            raise InputError(f"{', '.join(given)}: can't be had of an exported model; leave out --engine")
    elif model is not None:
        raise InputError("--model: is an exported model; add --engine ctranslate2")
    from recambio.experiment import run_folder

    overrides = [a for a in arguments or [] if "=" in a and not Path(a).exists()]
    files = [a for a in arguments or [] if a not in overrides]
    if len(files) > 1:
        raise InputError(f"translate: takes one FILE, but got {', '.join(files)}; join them with cat and pipe them in")
    if align_layer != -1 and not align:
        raise InputError("--align-layer: says which layer --align shows; add --align, or leave it out")
    folder = run_folder.existing(run)

    from recambio.experiment import translate as translation

    plugins = options.plugins(context)

    def exported() -> LineTranslator:
        from recambio.interop.ctranslate2_engine import Engine

        return Engine(folder, model, overrides=overrides, plugins=plugins, n_best=n_best)

    translation.run(
        folder,
        file=Path(files[0]) if files else None,
        checkpoint=checkpoint,
        overrides=overrides,
        plugins=plugins,
        others=others or [],
        n_best=n_best,
        with_scores=scores,
        with_alignment=align,
        align_layer=align_layer,
        prefix=prefix,
        prefix_file=prefix_file,
        forbid=forbid or [],
        require=require or [],
        require_file=require_file,
        engine=exported if is_exported else None,
        devices=devices,
    )
