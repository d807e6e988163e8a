"""``recambio components``."""

from __future__ import annotations

import difflib
import json
import textwrap
from typing import Annotated, Any

import typer

from recambio.cli import options
from recambio.errors import InputError

FIELDS = ("formula", "paper", "departures", "sites", "parameters", "flops", "fast_path", "effect")


def components(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="As attention.", show_default=False)] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="As multi_head.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what can be swapped.

    The parts of every kind, of one kind, or one part's card.
    """
    from recambio import plugins, registry

    registry.load_builtins()
    plugins.load_plugins(options.plugins(context))
    if kind is not None and kind not in registry.REGISTRIES:
        close = difflib.get_close_matches(kind, registry.REGISTRIES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{kind}: no such kind of part.{hint} Kinds: {', '.join(registry.REGISTRIES)}")
    chosen = [registry.REGISTRIES[kind]] if kind else list(registry.REGISTRIES.values())
    if name is not None:
        (parts,) = chosen
        card = parts.describe(name)
        typer.echo(_json(card) if as_json else _card(card))
        return
    cards = [parts.describe(n) for parts in chosen for n in [*parts.names(), *sorted(parts.presets)]]
    if as_json:
        typer.echo(_json(cards))
        return
    for parts in chosen:
        typer.echo(f"{parts.kind}:")
        for card in cards:
            if card["kind"] == parts.kind:
                typer.echo(_line(card))
    if kind is None:
        for point, module in sorted(plugins.available().items()):
            typer.echo(f"installed plugin, loaded when named: {point} ({module})")


def _line(card: dict[str, Any]) -> str:
    if "preset_of" in card:
        return f"  {card['name']:22} = {_call(card)}"
    origin = f" [plugin {card['plugin']}]" if card["plugin"] else ""
    return f"  {card['name']:22} {card['claim']}{origin}"


def _call(card: dict[str, Any]) -> str:
    options = "".join(f", {k}: {json.dumps(v)}" for k, v in card["preset_options"].items())
    return f"{{name: {card['preset_of']}{options}}}"


def _card(card: dict[str, Any]) -> str:
    lines = [f"{card['kind']} {card['name']}", *textwrap.wrap(card["claim"], 100)]
    if "preset_of" in card:
        lines.append(f"preset       {_call(card)}")
    for field in FIELDS:
        value = ", ".join(card[field]) if isinstance(card[field], list) else card[field]
        if value:
            lines += textwrap.wrap(f"{field.replace('_', ' '):12} {value}", 100, subsequent_indent=" " * 13)
    for option in card["options"]:
        default = f" = {json.dumps(option['default'], default=str)}" if "default" in option else " (required)"
        if "part" in option["type"] and "default" not in option:
            default = " (the model's)"
        lines.append(f"option       {option['name']}: {option['type']}{default}")
    lines.append(f"source       {card['source_file']}")
    if card["plugin"]:
        lines.append(f"plugin       {card['plugin']}")
    return "\n".join(lines)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
