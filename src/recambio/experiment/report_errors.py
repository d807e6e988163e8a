"""What can be seen to be wrong in the translations of a set, and scores of its parts: sections of a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recambio.experiment.markup import Markup, join, tag
from recambio.experiment.report_sections import metric_name, table_of

ABOUT = {
    "copied source": "the source came back untranslated",
    "unfinished": "empty, under half the reference's words, or no closing mark where the references have one",
    "repeated": "a word three times in a row, or two to four words twice",
    "hallucination": "three content words or more, none of them shared with a reference",
    "numbers lost": "a number of source and reference is missing",
    "names lost": "a capitalised word of source and reference is missing",
    "punctuation pairs": "¿ ?, ¡ ! or « » in unequal numbers",
}
"""What is counted, in words."""


def errors(sets: Mapping[str, Any]) -> Markup | None:
    """Errors with examples, then slices, of every set that has them; None where none has."""
    blocks = []
    for name, entry in sets.items():
        counts, slices = (entry[k] if isinstance(entry.get(k), dict) else {} for k in ("errors", "slices"))
        if counts:
            rows = [_error_row(error, count) for error, count in counts.items() if isinstance(count, dict)]
            head = [tag("th", text, class_=c) for text, c in (("error", None), ("sentences", "n"), ("of", "n"))]
            blocks += [
                tag("h3", name, tag("small", " · errors")),
                table_of([*head, tag("th", "what is counted")], rows),
            ]
        for title, buckets in slices.items():
            blocks += [tag("h3", name, tag("small", f" · by {title}")), _slice_table(buckets)]
    return join(blocks) if blocks else None


def _error_row(name: str, count: Mapping[str, Any]) -> Markup:
    examples = [e for e in count.get("examples") or [] if isinstance(e, dict) and isinstance(e.get("index"), int)]
    shown = [
        tag(
            "dl",
            tag("dt", f"line {e['index'] + 1}: {e.get('detail', '')}"),
            [tag("dd", tag("small", f"{side} "), e.get(side, "")) for side in ("source", "hypothesis", "reference")],
        )
        for e in examples
    ]
    return tag(
        "tr",
        tag("td", name),
        tag("td", count.get("n"), class_="n"),
        tag("td", count.get("of"), class_="n"),
        tag("td", ABOUT.get(name, ""), tag("details", tag("summary", "examples"), shown) if shown else None),
    )


def _slice_table(buckets: Mapping[str, Mapping[str, float]]) -> Markup:
    keys = list(dict.fromkeys(key for scores in buckets.values() for key in scores if key != "n"))
    rows = [
        tag(
            "tr",
            tag("td", bucket),
            tag("td", f"{scores['n']:,}", class_="n"),
            [tag("td", f"{scores[key]:.2f}" if key in scores else "", class_="n") for key in keys],
        )
        for bucket, scores in buckets.items()
    ]
    head = [tag("th", ""), tag("th", "n", class_="n"), *(tag("th", metric_name(key), class_="n") for key in keys)]
    return table_of(head, rows)
