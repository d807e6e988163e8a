"""Arguments and options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one in experiments/.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes of the config, as model.d_model=512.", show_default=False),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(metavar="best|last|average|PATH", help="Weights to use; by default what the run recommends."),
]
Devices = Annotated[
    str | None,
    typer.Option(metavar="N|auto|DEVICE,...", help="Devices that share the lines, a process each; one by default."),
]
RUN_HELP = "A run folder, the name of one under runs/, or 'newest'."


def plugins(context: typer.Context) -> list[str]:
    """What ``--plugin`` named."""
    return list(context.obj or [])
