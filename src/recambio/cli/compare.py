"""``recambio compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from recambio.cli import options


def compare(
    context: typer.Context,
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN ...", help="Run folders, or names under runs/; the baseline first.")
    ],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="A set that all have scored; may be repeated. All by default."),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", metavar="NAME", help="A metric; may be repeated. What all were scored by by default."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare runs.

    Paired significance tests on the stored translations, and what differs between the runs.
    """
    from recambio.experiment import compare as comparison
    from recambio.experiment import run_folder

    comparison.run(
        [run_folder.existing(run) for run in runs],
        sets=sets or [],
        metrics=metrics or [],
        as_json=json,
        plugins=options.plugins(context),
    )
