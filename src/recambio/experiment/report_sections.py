"""The sections of a run's report, each from what the run folder holds; None where it holds nothing of it."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from recambio.experiment.curves import line_chart, series_of
from recambio.experiment.markup import Markup, join, tag
from recambio.experiment.overlap import what_was_found

if TYPE_CHECKING:
    from recambio.experiment.report import Run

CHARTS: tuple[tuple[str, str, tuple[tuple[str, str], ...], bool], ...] = (
    (
        "Loss",
        "nats per target token",
        (("train/nll", "training"), ("valid/nll", "validation"), ("train/loss", "training objective")),
        False,
    ),
    ("BLEU", "percent, validation", (("valid/bleu", "validation"),), False),
    ("Perplexity", "per target token, validation", (("valid/ppl", "validation"),), True),
    ("Learning rate", "per step", (("train/lr", "learning rate"),), False),
    ("Throughput", "target tokens per second", (("train/tokens_per_second", "training"),), False),
    ("Waiting for data", "share of the time", (("train/wait", "training"),), False),
    ("Gradient norm", "before clipping", (("train/grad_norm", "training"),), True),
)
"""Title, unit, columns with their labels, whether the axis is logarithmic."""

_NOT_DRAWN = {"step", "epoch", "train/tokens"}
_METRIC_NAMES = {"bleu": "BLEU", "chrf": "chrF", "chrf++": "chrF++", "spbleu": "spBLEU", "ter": "TER"}
_METRIC_NAMES |= {"exact_match": "exact match", "length_ratio": "length ratio"}


def header(run: Run, nav: Markup) -> Markup:
    manifest = run.manifest
    is_finished = manifest.get("finished")
    badge = None
    if is_finished is not None:
        badge = tag(
            "span", "finished" if is_finished else "not finished", class_="badge" if is_finished else "badge open"
        )
    model = run.config.get("model") or {}
    kinds = ("attention", "positions", "normalization", "feed_forward", "activation", "block")
    parts = [str(_part_name(model[k])) for k in kinds if k in model]
    started = _time(manifest.get("started"))
    line = ["English to Spanish"]
    if parts:
        line.append(", ".join(parts))
    if started:
        line.append(f"{started:%d %B %Y, %H:%M} UTC")
    facts: list[tuple[str, Any]] = [
        ("optimiser steps", _count(manifest.get("steps"))),
        ("target tokens seen", _count(manifest.get("tokens_seen"))),
        ("wall-clock time", _duration(manifest)),
        ("parameters", _count(manifest.get("parameters"))),
        ("best validation", _best(run)),
        ("recommended weights", _weights(manifest.get("weights"))),
    ]
    given = [(k, v) for k, v in facts if v]
    return tag(
        "header",
        tag("div", "recambio run", class_="eyebrow"),
        tag("h1", run.folder.resolve().name, badge),
        tag("p", " · ".join(line)),
        tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in given], class_="facts") if given else None,
        nav,
    )


def headline(run: Run) -> Markup | None:
    cards = []
    for name, entry in run.sets.items():
        scores = dict(_scores(entry))
        if not scores:
            continue
        first = "bleu" if "bleu" in scores else next(iter(scores))
        main = scores.pop(first)
        also = [tag("span", tag("small", f"{metric_name(k)} "), f"{s['score']:.1f}") for k, s in scores.items()]
        if isinstance(entry.get("exact_match"), int | float):
            also.append(tag("span", tag("small", "exact "), f"{entry['exact_match']:.1f} %"))
        cards.append(
            tag(
                "div",
                tag("h3", name, tag("small", f" · {entry.get('n', 0):,} sentences")),
                tag("div", f"{main['score']:.1f}", tag("small", metric_name(first)), class_="big"),
                _interval_bar(main),
                tag("div", also, class_="also") if also else None,
                class_="card",
            )
        )
    return tag("div", cards, class_="cards") if cards else None


def _interval_bar(score: Mapping[str, Any]) -> Markup | None:
    if score.get("low") is None:
        return None
    low, high, value = (min(max(float(score[k]), 0.0), 100.0) for k in ("low", "high", "score"))
    return join(
        [
            tag(
                "div",
                tag("i", style=f"left:{low:.2f}%;width:{high - low:.2f}%"),
                tag("b", style=f"left:{value:.2f}%"),
                class_="ci",
                title="of 0 to 100",
            ),
            tag("small", f"95 % interval {score['low']:.1f} to {score['high']:.1f}"),
        ]
    )


def curves(run: Run) -> Markup | None:
    drawn: set[str] = set(_NOT_DRAWN)
    charts = []
    for title, unit, columns, is_log in CHARTS:
        drawn |= {c for c, _ in columns}
        if found := [s for column, label in columns if (s := series_of(run.metrics, column, label))]:
            charts.append(line_chart(title, unit, found, is_log))
    # What a plugin or another loss logs is shown too.
    others = sorted({key for row in run.metrics for key in row} - drawn)
    for column in others:
        if found_one := series_of(run.metrics, column, column):
            charts.append(line_chart(column, "", [found_one]))
    return tag("div", charts, class_="charts") if charts else None


def sets(run: Run) -> Markup | None:
    rows = []
    for name, entry in run.sets.items():
        for i, (key, score) in enumerate(_scores(entry)):
            interval = "" if score.get("low") is None else f"{score['low']:.2f} to {score['high']:.2f}"
            rows.append(
                tag(
                    "tr",
                    tag("td", tag("b", name) if i == 0 else None),
                    tag("td", f"{entry.get('n', 0):,}" if i == 0 else None, class_="n"),
                    tag("td", metric_name(key)),
                    tag("td", f"{score['score']:.2f}", class_="n"),
                    tag("td", interval, class_="n"),
                    tag("td", tag("code", score.get("signature", "")), class_="signature"),
                )
            )
    if not rows:
        return None
    head = [
        tag("th", t, class_=c) for t, c in (("set", None), ("n", "n"), ("metric", None), ("score", "n"), ("95 %", "n"))
    ]
    table = table_of([*head, tag("th", "signature")], rows)
    files = [
        tag("li", tag("code", e.get("hypotheses", "")), tag("small", f" sha256 {str(e.get('sha256', ''))[:16]}…"))
        for e in run.sets.values()
    ]
    doubts = [tag("li", tag("b", name), f": {w}") for name, e in run.sets.items() for w in e.get("warnings") or []]
    return join(
        [
            tag("div", tag("p", "Read these scores with care"), tag("ul", doubts), class_="note") if doubts else None,
            table,
            tag("p", tag("small", "TER counts errors: less is better. Scores compare only under equal signatures.")),
            tag("details", tag("summary", "Hypothesis files"), tag("ul", files)),
        ]
    )


def phenomena(run: Run) -> Markup | None:
    descriptions = phenomenon_descriptions()
    blocks = []
    for name, entry in run.sets.items():
        for key, title in (("phenomena", ""), ("lengths", " by source words")):
            table = entry.get(key)
            if not isinstance(table, dict) or not table:
                continue
            order = {tag_name: i for i, tag_name in enumerate(descriptions)} if key == "phenomena" else {}
            names = sorted(table, key=lambda t: (order.get(t, len(order)), 0)) if order else list(table)
            rows = [_accuracy_row(t, descriptions.get(t, "") if order else "", table[t]) for t in names]
            heading = tag("h3", name, title, tag("small", " · sentences translated exactly as the reference"))
            blocks.append(join([heading, tag("div", tag("table", tag("tbody", rows), class_="bars"), class_="scroll")]))
    return join(blocks) if blocks else None


def _accuracy_row(name: str, description: str, entry: Mapping[str, Any]) -> Markup:
    exact = float(entry["exact"])
    low, high = float(entry.get("low", exact)), float(entry.get("high", exact))
    bar = tag(
        "div",
        tag("i", style=f"width:{exact:.2f}%"),
        tag("b", style=f"left:{low:.2f}%;width:{max(high - low, 0.3):.2f}%"),
        class_="bar",
        title=f"{exact:.1f} %, 95 % interval {low:.1f} to {high:.1f}, n = {entry['n']:,}",
    )
    return tag(
        "tr",
        tag("td", name),
        tag("td", bar, tag("div", description, class_="about") if description else None),
        tag("td", f"{exact:.1f} %", class_="n"),
        tag("td", tag("small", f"n = {entry['n']:,}"), class_="n"),
    )


def samples(run: Run) -> Markup | None:
    blocks = []
    for name, entry in run.sets.items():
        samples = [s for s in entry.get("samples") or [] if isinstance(s, dict)]
        if samples:
            blocks.append(tag("h3", name))
            blocks.append(tag("div", [_sample(s) for s in samples], class_="samples"))
    return join(blocks) if blocks else None


def _sample(sample: Mapping[str, Any]) -> Markup:
    source, reference, hypothesis = (str(sample.get(k, "")) for k in ("source", "reference", "hypothesis"))
    is_right = bool(sample.get("is_exact"))
    wanted, came = (reference, hypothesis) if is_right else word_difference(reference, hypothesis)
    pairs: list[tuple[str, str | Markup]] = [("source", source), ("translation", came or tag("small", "(empty)"))]
    if not is_right:
        pairs.append(("reference", wanted))
    return tag(
        "div",
        tag("dl", [(tag("dt", k), tag("dd", v)) for k, v in pairs]),
        class_=f"sample{' right' if is_right else ''}",
    )


def word_difference(reference: str, hypothesis: str) -> tuple[Markup, Markup]:
    """Both texts, the words that only one has marked."""
    wanted, came = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (reference, hypothesis))
    left: list[Any] = []
    right: list[Any] = []
    for action, i, j, k, m in difflib.SequenceMatcher(None, wanted, came, autojunk=False).get_opcodes():
        a, b = "".join(wanted[i:j]), "".join(came[k:m])
        left.append(a if action == "equal" or not a.strip() else tag("del", a))
        right.append(b if action == "equal" or not b.strip() else tag("ins", b))
    return join(left), join(right)


def config(run: Run) -> Markup | None:
    if not run.config:
        return None
    origins = run.manifest.get("origins")
    origins = origins if isinstance(origins, dict) else {}
    leaves = list(_leaves(run.config, ""))
    changed = [(k, v) for k, v in leaves if origins.get(k, "default") != "default"]

    def row(key: str, value: Any, is_marked: bool) -> Markup:
        origin = origins.get(key, "")
        cells = [tag("td", tag("code", key)), tag("td", tag("code", _value(value)))]
        if origins:
            cells.append(tag("td", tag("small", origin if origin != "default" else "")))
        return tag("tr", cells, class_="changed" if is_marked else None)

    head = [tag("th", t) for t in ("key", "value", *(("set in",) if origins else ()))]
    marked = {k for k, _ in changed}
    full = table_of(head, [row(k, v, k in marked) for k, v in leaves])
    if not origins:
        return full
    return join(
        [
            tag("p", f"{len(changed)} of {len(leaves)} settings differ from the defaults."),
            table_of(head, [row(k, v, False) for k, v in changed]) if changed else None,
            tag("details", tag("summary", f"All {len(leaves)} settings"), full),
        ]
    )


def data(run: Run) -> Markup | None:
    data = run.manifest.get("data")
    if not isinstance(data, dict) or not data:
        return None
    blocks: list[Any] = []
    facts: list[tuple[str, Any]] = []
    if isinstance(pairs := data.get("pairs"), dict):
        facts += [(f"{split} pairs", f"{n:,}") for split, n in pairs.items() if isinstance(n, int)]
    if isinstance(vocabulary := data.get("vocabulary"), list | tuple):
        sizes = [f"{v:,}" for v in vocabulary if isinstance(v, int)]
        facts.append(("vocabulary", " and ".join(dict.fromkeys(sizes))))
    if facts:
        blocks.append(tag("dl", [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts], class_="facts"))
    for key, report in data.items():
        if isinstance(report, dict) and isinstance(report.get("dropped"), dict) and report.get("read"):
            blocks.append(_cleaning(key, report))
            if isinstance(overlap := report.get("overlap"), dict) and overlap.get("sets"):
                blocks.append(_overlap(overlap))
    if isinstance(parts := data.get("parts"), list):
        blocks.append(_parts(parts, data.get("train")))
    known = {"pairs", "vocabulary", "parts"} | {k for k, v in data.items() if isinstance(v, dict) and "dropped" in v}
    rest = [(k, v) for key in data if key not in known for k, v in _leaves(data[key], key)]
    if rest:
        rows = [tag("tr", tag("td", tag("code", k)), tag("td", tag("code", _value(v)))) for k, v in rest]
        blocks.append(tag("details", tag("summary", "Hashes and the rest"), table_of([], rows)))
    return join(blocks) if blocks else None


def _cleaning(name: str, report: Mapping[str, Any]) -> Markup:
    read, kept = int(report["read"]), int(report.get("kept", 0))

    def row(reason: str, n: int, kind: str) -> Markup:
        share = 100 * n / read
        bar = tag("div", tag("i", style=f"width:{share:.2f}%"), class_=f"bar{kind}")
        return tag(
            "tr",
            tag("td", reason),
            tag("td", bar),
            tag("td", f"{n:,}", class_="n"),
            tag("td", f"{share:.2f} %", class_="n"),
        )

    dropped = sorted(report["dropped"].items(), key=lambda item: -item[1])
    rows = [row("kept", kept, ""), *(row(f"dropped: {reason}", int(n), " drop") for reason, n in dropped)]
    heading = tag("h3", name, tag("small", f" · {read:,} pairs read"))
    return join([heading, tag("div", tag("table", tag("tbody", rows), class_="bars"), class_="scroll")])


def _parts(parts: Sequence[Any], cleaning: Any) -> Markup:
    """What each part of a mixture gives to an epoch, and what cleaning left out of it."""
    reports = cleaning.get("parts") if isinstance(cleaning, dict) else None
    reports = [r for r in reports if isinstance(r, dict)] if isinstance(reports, list) else []
    dropped = {str(r.get("name")): r.get("dropped") for r in reports}
    rows = []
    for part in (p for p in parts if isinstance(p, dict)):
        name, left = str(part.get("name")), dropped.get(str(part.get("name")))
        reasons = ", ".join(f"{_value(n)} {reason}" for reason, n in left.items()) if isinstance(left, dict) else ""
        numbers = [part.get(key) for key in ("pairs", "weight", "per_epoch")]
        cells = [tag("td", f"{n:,}" if isinstance(n, int) else _value(n), class_="n") for n in numbers]
        rows.append(tag("tr", tag("td", name), cells, tag("td", reasons)))
    head = [tag("th", text) for text in ("part", "pairs", "times an epoch", "pairs an epoch", "left out")]
    return join([tag("h3", "parts"), table_of(head, rows)])


def _overlap(overlap: Mapping[str, Any]) -> Markup:
    columns = ("exact", "normalised", "ngrams")
    rows = [
        tag(
            "tr",
            tag("td", tag("b", name)),
            tag("td", f"{found['size']:,}", class_="n"),
            [tag("td", f"{found[column]:,}", class_="n") for column in columns],
            tag("td", what_was_found(overlap, name)),
        )
        for name, found in overlap["sets"].items()
    ]
    heads = (
        "sentences",
        "the same sentence",
        "but for case and punctuation",
        f"{overlap['ngram_words']} words in a row",
    )
    head = [tag("th", "set"), *(tag("th", text, class_="n") for text in heads), tag("th", "what became of them")]
    return join([tag("h3", "Training pairs that stood in evaluation sets"), table_of(head, rows)])


def environment(run: Run) -> Markup | None:
    shown = {"data", "origins", "plugins"}
    leaves = [(k, v) for key, value in run.manifest.items() if key not in shown for k, v in _leaves(value, key)]
    for i, plugin in enumerate(run.manifest.get("plugins") or []):
        leaves += list(_leaves(plugin, f"plugins[{i}]"))
    if not leaves:
        return None
    return table_of([], [tag("tr", tag("td", tag("code", k)), tag("td", tag("code", _value(v)))) for k, v in leaves])


# Small parts ----------------------------------------------------------------------------------------------------------


def phenomenon_descriptions() -> dict[str, str]:
    """What each tag of the embedded corpus means."""
    from recambio.data.grammar.phenomena import PHENOMENA

    return dict(PHENOMENA)


def table_of(head: Sequence[Markup], rows: Sequence[Markup]) -> Markup:
    top = tag("thead", tag("tr", head)) if head else None
    return tag("div", tag("table", top, tag("tbody", rows)), class_="scroll")


def _scores(entry: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in entry.items():
        if isinstance(value, dict) and isinstance(value.get("score"), int | float):
            yield key, value


def metric_name(key: str) -> str:
    name, _, number = key.rpartition("_")
    if not number.isdigit():
        return _METRIC_NAMES.get(key, key)
    return f"{_METRIC_NAMES.get(name, name)} ({number})"


def _leaves(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything below; lists of plain values stay whole."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{at}[{i}]")
    else:
        yield at, value


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _part_name(node: Any) -> Any:
    if isinstance(node, list):
        return " / ".join(dict.fromkeys(str(_part_name(n)) for n in node))
    return node.get("name", "?") if isinstance(node, dict) else node


def _count(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) and value > 0 else None


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _duration(manifest: Mapping[str, Any]) -> str | None:
    started, ended = _time(manifest.get("started")), _time(manifest.get("ended"))
    if started is None or ended is None:
        return None
    seconds = round((ended - started) / timedelta(seconds=1))
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds % 60} s"


def _best(run: Run) -> str | None:
    best = run.manifest.get("best")
    if isinstance(best, dict) and isinstance(best.get("score"), int | float) and math.isfinite(best["score"]):
        step = f" at step {best['step']:,}" if isinstance(best.get("step"), int) else ""
        return f"{best.get('monitor', 'score')} {best['score']:.4g}{step}"
    for column, label, choose in (("valid/bleu", "BLEU", max), ("valid/nll", "loss", min)):
        if one := series_of(run.metrics, column, label):
            x, y = choose(one.points, key=lambda point: point[1])
            return f"{label} {y:.4g} at step {x:,.0f}"
    return None


def _weights(value: Any) -> str | None:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    return value if isinstance(value, str) else None
