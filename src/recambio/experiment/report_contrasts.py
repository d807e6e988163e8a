"""Whether the run prefers right translations to minimally wrong ones: a section of its report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recambio.experiment.markup import Markup, join, tag
from recambio.experiment.report_sections import table_of

N_EXAMPLES = 3
"""Items that went wrong, shown for each phenomenon: those with the largest margin."""

_TITLES = {
    "hand": "written by hand",
    "grammar": "made from the embedded grammar",
    "items": "from your own files",
}


def read_contrasts(run_dir: Path) -> dict[str, Any]:
    """What ``eval/contrastive.json`` holds, by the items' origin; nothing where it isn't there or can't be read."""
    try:
        found = json.loads((run_dir / "eval" / "contrastive.json").read_text(encoding="utf-8"))
        sources = found["contrastive"]["sources"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return sources if isinstance(sources, dict) else {}


def contrasts(sources: Mapping[str, Any]) -> Markup | None:
    """A table for each origin; None where nothing was scored."""
    if not sources:
        return None
    about = (
        "How often the run gives the right translation a higher probability than every minimally wrong one. "
        "The margin is the difference of the log-probabilities to the best wrong one, in nats."
    )
    return join([tag("p", about), [_origin(name, entry) for name, entry in sources.items()]])


def _origin(name: str, entry: Mapping[str, Any]) -> Markup:
    heads = ("items", "right", "95 %", "chance", "margin", "right by token")
    head = [tag("th", "phenomenon"), *(tag("th", text, class_="n") for text in heads), tag("th", "what is wrong")]
    rows = [
        _row(phenomenon, one, (item for item in entry["items"] if item["phenomenon"] == phenomenon))
        for phenomenon, one in entry["phenomena"].items()
    ]
    title = tag("h3", _TITLES.get(name, name), tag("small", f" · {entry['all']['n']:,} items"))
    return join([title, table_of(head, [*rows, _row("all", entry["all"], ())])])


def _row(name: str, one: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Markup:
    cells = (
        f"{one['n']:,}",
        f"{one['accuracy']:.1f} %",
        f"{one['low']:.1f} to {one['high']:.1f}",
        f"{one['chance']:.1f} %",
        f"{one['margin']:+.2f}",
        f"{one['token_accuracy']:.1f} %",
    )
    examples = sorted((item for item in items if not item["is_right"]), key=_margin)[:N_EXAMPLES]
    shown = [
        tag(
            "dl",
            tag("dt", item["source"]),
            [
                tag("dd", tag("small", f"{number:.2f} {'right' if i == 0 else 'wrong'} "), text)
                for i, (text, number) in enumerate(zip(item["translations"], item["log_probabilities"], strict=True))
            ],
        )
        for item in examples
    ]
    return tag(
        "tr",
        tag("td", name),
        [tag("td", cell, class_="n") for cell in cells],
        tag(
            "td",
            one.get("description", ""),
            tag("details", tag("summary", "where the run prefers the wrong one"), shown) if shown else None,
        ),
    )


def _margin(item: Mapping[str, Any]) -> float:
    right, *wrong = item["log_probabilities"]
    return float(right - max(wrong))
