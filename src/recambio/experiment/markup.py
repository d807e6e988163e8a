"""HTML that can't be broken into: every text is escaped unless it is markup already."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


Child = Any
"""What may stand in a tag: markup, text, a number, None, or several of these."""


def tag(name: str, *children: Child, **attributes: Any) -> Markup:
    """``<name attributes>children</name>``.

    Args:
        name: Of the element.
        *children: Markup as it is, anything else escaped; None and False are left out.
        **attributes: ``class_`` is ``class``, other underscores are hyphens; None and False leave the attribute out, True
            writes its name alone.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value), quote=True)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other, escaped where they aren't markup."""
    return Markup("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None or child is False:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, list | tuple):
        return join(child)
    return html.escape(str(child), quote=True)
