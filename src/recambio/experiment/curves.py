"""Learning curves: ``metrics.csv`` read back and drawn as SVG, without a plotting library or a script."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recambio.experiment.markup import Markup, join, tag

WIDTH, HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 40
_MOST_POINTS = 400  # a line; more can't be told apart at this width
_MOST_DOTS = 60


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        label: What the legend writes.
        points: (x, y), in the order of x.
    """

    label: str
    points: list[tuple[float, float]]


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv``, empty cells left out; a last line that a killed run didn't finish is passed over.

    Args:
        path: The file; a missing one has no rows.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    header, *lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))) or [[]]
    rows = []
    for line in lines:
        row = {}
        for key, cell in zip(header, line, strict=False):
            try:
                row[key] = float(cell)
            except ValueError:
                continue
        if row:
            rows.append(row)
    return rows


def series_of(rows: Sequence[dict[str, float]], column: str, label: str) -> Series | None:
    """A column over ``step``; None where it has no finite value. A step that comes twice keeps its last value."""
    points = {row["step"]: row[column] for row in rows if column in row and "step" in row}
    finite = [(x, y) for x, y in sorted(points.items()) if math.isfinite(x) and math.isfinite(y)]
    return Series(label, finite) if finite else None


def line_chart(title: str, unit: str, series: Sequence[Series], is_log: bool = False) -> Markup:
    """A chart with axes, grid, legend, and the value of each point on hovering.

    Args:
        title: Over the chart.
        unit: Of the vertical axis.
        series: At least one, each with a point.
        is_log: Logarithmic vertical axis; ignored where a value is not positive.
    """
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points]
    is_log = is_log and min(ys) > 0
    scale: Callable[[float], float] = math.log10 if is_log else float
    x_ticks = ticks(min(xs), max(xs), 6)
    y_ticks = log_ticks(min(ys), max(ys)) if is_log else ticks(min(ys), max(ys), 5)
    x_low, x_high = _range(min(xs), max(xs))
    y_low, y_high = _range(min([*map(scale, ys), scale(y_ticks[0])]), max([*map(scale, ys), scale(y_ticks[-1])]))

    def at_x(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT)

    def at_y(y: float) -> float:
        return HEIGHT - _BOTTOM - (scale(y) - y_low) / (y_high - y_low) * (HEIGHT - _TOP - _BOTTOM)

    y_step = None if is_log else y_ticks[1] - y_ticks[0]
    x_step = x_ticks[1] - x_ticks[0]
    body: list[Markup] = []
    for y in y_ticks:
        body.append(tag("line", class_="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=f"{at_y(y):.1f}", y2=f"{at_y(y):.1f}"))
        body.append(
            tag("text", number_text(y, y_step), class_="tick", x=_LEFT - 7, y=f"{at_y(y) + 4:.1f}", text_anchor="end")
        )
    for x in (t for t in x_ticks if x_low <= t <= x_high):
        place = f"{at_x(x):.1f}"
        body.append(tag("line", class_="mark", x1=place, x2=place, y1=HEIGHT - _BOTTOM, y2=HEIGHT - _BOTTOM + 4))
        body.append(
            tag("text", number_text(x, x_step), class_="tick", x=place, y=HEIGHT - _BOTTOM + 17, text_anchor="middle")
        )
    base = HEIGHT - _BOTTOM
    body.append(tag("line", class_="axis", x1=_LEFT, x2=WIDTH - _RIGHT, y1=base, y2=base))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    body.append(tag("text", "optimiser step", class_="label", x=f"{middle:.0f}", y=HEIGHT - 5, text_anchor="middle"))
    for i, one in enumerate(series):
        drawn = thinned(one.points, _MOST_POINTS)
        path = "M" + "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in drawn)
        body.append(tag("path", class_=f"line c{i % 4}", d=path))
        step = max(1, math.ceil(len(drawn) / _MOST_DOTS))
        shown = sorted({*range(0, len(drawn), step), len(drawn) - 1})
        for x, y in (drawn[j] for j in shown):
            hover = tag("title", f"{one.label}: {y:.5g} at step {x:,.0f}")
            body.append(tag("circle", hover, class_=f"dot c{i % 4}", cx=f"{at_x(x):.1f}", cy=f"{at_y(y):.1f}", r=4))
    legend = [tag("span", tag("i", class_=f"key c{i % 4}"), s.label) for i, s in enumerate(series)]
    caption = tag(
        "figcaption",
        tag("b", title),
        tag("small", unit, ", log scale" if is_log else None),
        tag("span", *legend, class_="legend") if len(series) > 1 else None,
    )
    last = "; ".join(f"{s.label} ends at {s.points[-1][1]:.4g}" for s in series)
    svg = tag("svg", join(body), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{title}: {last}")
    return tag("figure", caption, svg)


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most about ``most`` points that keep the first, the last, and the extremes of every stretch between."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(2 * len(points) / most)
    kept = {0, len(points) - 1}
    for start in range(0, len(points), size):
        stretch = range(start, min(start + size, len(points)))
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from at or below ``low`` to at or above ``high``."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # flat, to the eye
        high = low + (abs(low) or 1.0)
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten around a range; powers alone over more than three decades."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    found = [m * 10.0**e for e in decades for m in factors]
    start = max((i for i, t in enumerate(found) if t <= low), default=0)
    end = min((i for i, t in enumerate(found) if t >= high), default=len(found) - 1)
    return found[start : max(end, start + 1) + 1]


def number_text(value: float, step: float | None = None) -> str:
    """A tick's number, short: ``20k``, ``1.5M``, ``0.25``, ``3e-05``.

    Args:
        value: The number.
        step: Distance of its neighbours, from which it must differ in writing.
    """
    size = abs(value)
    digits = 4 if not step or not size else min(15, max(4, math.floor(math.log10(size / step) + 1e-9) + 2))
    for limit, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if size >= limit:
            return f"{value / unit:.{digits}g}{letter}"
    return f"{value:.{digits}g}"


def _range(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)
