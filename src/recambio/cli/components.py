"""``recambio components``."""

from __future__ import annotations

import copy
import difflib
import json
import textwrap
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from recambio.cli import options
from recambio.errors import InputError

FIELDS = ("formula", "config", "paper", "departures", "sites", "parameters", "flops", "fast_path", "effect")


def components(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="As attention.", show_default=False)] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="As multi_head.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, as docs/parts.md.")] = False,
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
    if as_markdown and name is None:
        typer.echo(catalogue(chosen), nl=False)
        return
    if name is not None:
        (parts,) = chosen
        card = card_of(parts, name)
        typer.echo(_json(card) if as_json else _section(card) if as_markdown else card_text(card))
        return
    cards = [card_of(parts, n) for parts in chosen for n in [*parts.names(), *sorted(parts.presets)]]
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


def card_of(parts: Any, name: str) -> dict[str, Any]:
    """What the registry says of a part, and how a config takes it."""
    card: dict[str, Any] = parts.describe(name)
    return {**card, "config": in_config(parts.kind, card["sites"], parts.example(name))}


def in_config(kind: str, sites: Sequence[str], node: Any) -> str:
    """A config that takes a part wherever it may stand, as YAML on one line.

    Args:
        kind: The part's.
        sites: Where its card lets it stand; empty for everywhere.
        node: The part.
    """
    import yaml

    from recambio.config import schema

    held = {path: key for path, key in schema.all_keys() if key.kind == kind}
    chosen = [_key(kind, site) for site in sites] or [next(iter(held))]
    values: dict[str, Any] = {}
    for path in chosen:
        *sections, last = path.split(".")
        section = values
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = (
            [node] if held[path].is_list else copy.copy(node)
        )  # YAML would write one object twice as an alias
    text: str = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip()[1:-1]


def _key(kind: str, site: str) -> str:
    """The key of a stack that holds a part for a site."""
    return "model.decoder.cross_attention" if site == "cross" else f"model.{site.partition('_')[0]}.{kind}"


def _line(card: dict[str, Any]) -> str:
    if "preset_of" in card:
        return f"  {card['name']:22} = {_call(card)}"
    origin = f" [plugin {card['plugin']}]" if card["plugin"] else ""
    return f"  {card['name']:22} {card['claim']}{origin}"


def _call(card: dict[str, Any]) -> str:
    options = "".join(f", {k}: {json.dumps(v)}" for k, v in card["preset_options"].items())
    return f"{{name: {card['preset_of']}{options}}}"


def card_text(card: dict[str, Any]) -> str:
    """A part's card as lines of text."""
    lines = [f"{card['kind']} {card['name']}", *textwrap.wrap(card["claim"], 100)]
    if "preset_of" in card:
        lines.append(f"preset       {_call(card)}")
    for field in FIELDS:
        if value := _said(card, field):
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


def _said(card: dict[str, Any], field: str) -> str:
    """A field as text; empty if there is nothing to say."""
    value: str = ", ".join(card[field]) if isinstance(card[field], list) else card[field]
    return "" if field in ("parameters", "flops") and value == "0" else value


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def catalogue(kinds: Sequence[Any]) -> str:
    """Every part of these kinds as a page of Markdown.

    Args:
        kinds: Registries.
    """
    lines = [
        "# The parts",
        "",
        "<!-- made by `make docs`; a test fails where this page is not what the cards say -->",
        "",
        "Every part that a config can name, from the cards beside the code. `recambio components KIND NAME` prints one, "
        "`recambio plugin check KIND/NAME` proves it. What is not here, and why: [left out](left_out.md). What each costs and learns: "
        "[benchmarks](../benchmarks/README.md).",
        "",
        "Shapes: `B` batch, `T` queries, `S` keys, `D` d_model, `H` heads, `Dh` = D / H, `F` d_ff, `V` vocabulary, `L` layers of the "
        "stack, `K` sub-layers a layer. Parameters are those of one part (a block and positions serve a stack, an "
        "embedding the model); FLOPs are matrix products a token, a multiplication and an addition being two.",
    ]
    for parts in kinds:
        lines += ["", f"## {parts.kind}", ""]
        lines += [f"- [`{n}`](#{_anchor(parts.kind, n)}): {parts.describe(n)['claim']}" for n in parts.names()]
        lines += [f"- `{n}` = `{_call(parts.describe(n))}`" for n in sorted(parts.presets)]
        for name in parts.names():
            lines += ["", _section(card_of(parts, name))]
    return "\n".join(lines) + "\n"


def _section(card: dict[str, Any]) -> str:
    lines = [
        f"### {card['kind']} {card['name']}",
        "",
        card["claim"],
        "",
        f"`{card['formula']}`" if card["formula"] else "",
    ]
    lines += ["", f"**Config**: `{card['config']}`"]
    for field in FIELDS[2:]:
        if value := _said(card, field):
            lines += ["", f"**{field.replace('_', ' ').capitalize()}**: {value}"]
    if card["options"]:
        lines += ["", "| option | type | default |", "| --- | --- | --- |"]
    for option in card["options"]:
        is_part = "part" in option["type"] and "default" not in option
        default = "the model's" if is_part else "required"
        if "default" in option:
            default = f"`{json.dumps(option['default'], default=str)}`"
        lines.append(f"| `{option['name']}` | {option['type'].replace('|', 'or')} | {default} |")
    return "\n".join(lines)


def _anchor(kind: str, name: str) -> str:
    return f"{kind}-{name}"
