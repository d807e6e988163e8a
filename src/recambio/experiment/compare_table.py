"""A comparison as lines: they survive a narrow terminal, a log file and a screen reader."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

ONE_SEED = "not testable: one seed per system; these tests speak of {}, not of the parts"


def print_comparison(data: Mapping[str, Any]) -> None:
    """Print a comparison to standard output.

    Args:
        data: As :func:`recambio.experiment.compare.compare` returns it.
    """
    for name, table in data["sets"].items():
        print(f"{name} ({table['n']:,} sentences)")
        for metric in table["metrics"].values():
            _print_metric(metric)
        print()
    if len(data["systems"]) == 1:
        print("one system: the configs differ in nothing but name and seed")
    elif all(len(members) == 1 for members in data["systems"]):
        print(ONE_SEED.format("these two runs" if len(data["runs"]) == 2 else "these runs"))
    print_differences(data)


def print_differences(data: Mapping[str, Any]) -> None:
    """Print the settings, then the circumstances, that aren't the same in every run."""
    for title, rows in (("config", data["differences"]["config"]), ("circumstances", data["differences"]["run"])):
        print(f"\n{title}: {'what differs' if rows else 'no difference'}")
        width = max(map(len, rows), default=0)
        for key, values in rows.items():
            print(f"  {key:<{width}}  {'  |  '.join(_value(v) for v in values)}")


def _print_metric(metric: Mapping[str, Any]) -> None:
    runs = metric["runs"]
    is_family = len(runs) > 2
    print(f"  {metric['name']}{'' if metric['is_higher_better'] else ' (less is better)'}  {metric['signature']}")
    rows = [["run", "score", "95 %", "difference", "95 %", "p randomisation", "p bootstrap"]]
    for run in runs:
        row = [run["run"], f"{run['score']:.2f}", f"{run['low']:.2f} to {run['high']:.2f}"]
        if "difference" in run:
            row += [f"{run['difference']:+.2f}", f"{run['difference_low']:+.2f} to {run['difference_high']:+.2f}"]
            row += [f"{run['p_randomisation']:.4f}", f"{run['p_bootstrap']:.4f}"]
        else:
            row += ["baseline", "", "", ""]
        rows.append(row)
    _print_rows(rows)
    if is_family:
        print(f"    p-values are Holm-corrected for {len(runs) - 1} comparisons with the baseline")
    if any(system["n"] > 1 for system in metric["systems"]):
        _print_systems(metric["systems"])


def _print_systems(systems: Sequence[Mapping[str, Any]]) -> None:
    rows = [["system, over its seeds", "seeds", "mean", "deviation", "difference", "p over seeds"]]
    for system in systems:
        deviation = "-" if system["deviation"] is None else f"{system['deviation']:.2f}"
        row = [", ".join(system["runs"]), str(system["n"]), f"{system['mean']:.2f}", deviation]
        if "difference" in system:
            p = system["p_seeds"]
            row += [f"{system['difference']:+.2f}", "not testable" if p is None else f"{p:.4f}"]
        else:
            row += ["baseline", ""]
        rows.append(row)
    _print_rows(rows)
    if len(systems) > 2:
        print("    p-values over seeds are Holm-corrected too")
    if any("difference" in s and s["p_seeds"] is None for s in systems):
        print("    not testable: two seeds or more of both systems are needed, with scores that vary")


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Columns, the first to the left and numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print(f"    {'  '.join(cells)}".rstrip())


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
