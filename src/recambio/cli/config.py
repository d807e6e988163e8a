"""``recambio config``."""

from __future__ import annotations

from typing import Any

import typer

from recambio.cli import options

app = typer.Typer(help="Configs, before training.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Configs, before training."""


@app.command("show")
def show(context: typer.Context, config: options.ConfigArgument, overrides: options.Overrides = None) -> None:
    """Show every value with its origin."""
    from recambio.config import load

    loaded = load(config, overrides or [], plugins=options.plugins(context), check_hardware=False)
    rows = [(key, _text(value), loaded.origins[key]) for key, value in loaded.leaves().items()]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for key, value, origin in rows:
        typer.echo(f"{key:{widths[0]}}  {value:{widths[1]}}  {origin}")


def _text(value: Any) -> str:
    """A value as YAML on one line."""
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")
