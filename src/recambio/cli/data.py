"""``recambio data``."""

from __future__ import annotations

import typer

from recambio.cli import options

app = typer.Typer(help="Data, before training.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Data, before training."""


@app.command("prepare")
def prepare(context: typer.Context, config: options.ConfigArgument, overrides: options.Overrides = None) -> None:
    """Prepare the data of a config.

    Read, clean, tokenise; says what became of it.
    """
    from recambio.config import load
    from recambio.experiment import prepare as preparation

    preparation.run(load(config, overrides or [], plugins=options.plugins(context), check_hardware=False))
