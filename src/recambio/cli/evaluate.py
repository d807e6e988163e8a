"""``recambio eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recambio.cli import options


def evaluate(
    context: typer.Context,
    run: Annotated[str, typer.Argument(metavar="RUN", help=options.RUN_HELP)] = "newest",
    overrides: options.Overrides = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME", help="A set of the config, of data.root or of sacreBLEU; may be repeated."
        ),
    ] = None,
    source: Annotated[Path | None, typer.Option(metavar="FILE", help="English sentences, one a line.")] = None,
    reference: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Their Spanish translations; may be repeated.")
    ] = None,
    checkpoint: options.Checkpoint = None,
    devices: options.Devices = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[
        bool, typer.Option("--html", help="Write eval/SET.html too: the sentences side by side, differences marked.")
    ] = False,
) -> None:
    """Score a run.

    Corpus metrics with signature and confidence interval.
    """
    from recambio.experiment import run_folder

    if "=" in run and not Path(run).exists():
        overrides, run = [run, *(overrides or [])], run_folder.NEWEST
    folder = run_folder.existing(run)

    from recambio.experiment import evaluate as evaluation

    evaluation.run(
        folder,
        sets=sets or [],
        source=source,
        reference=reference or [],
        checkpoint=checkpoint,
        as_json=json,
        as_html=html,
        overrides=overrides or [],
        plugins=options.plugins(context),
        devices=devices,
    )
