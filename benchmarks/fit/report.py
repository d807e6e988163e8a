"""What was measured end to end, as Markdown tables and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from benchmarks.fit.contender import OURS, TITLES, available
from benchmarks.fit.measure import Fitted, Row
from benchmarks.peers.report import number, ratio, table


def as_markdown(found: Fitted, env: dict[str, Any]) -> str:
    """A table of rates and one of ratios."""
    size = found.size
    versions = ", ".join(f"{k} {v}" for k, v in env["versions"].items())
    lines = [
        f"`{env['command']}`",
        "",
        f"{size.name}: d_model {size.d_model}, ffn {size.d_ff}, {size.n_heads} heads, {size.n_layers}+{size.n_layers} layers, "
        f"vocabulary {size.vocabulary}; {found.corpus}, {found.step_tokens:,} target tokens a step. {env['cpu']} "
        f"({', '.join(env['cpu_flags'])}), {env['threads']} threads; {versions}.",
        "",
    ]
    head = ["row", "tokens/s (quartiles)", "share of the product's peak", "tokens a step", "waiting for the loader"]
    lines += table(head, [_cells(found, row) for row in found.laps])
    missing = [title for name, title in TITLES.items() if name not in available()]
    if missing:
        lines += ["", f"Not measured, for it is not installed: {', '.join(missing)}."]
    compared = [[what, ratio(found.ratio(a, b))] for what, a, b in _comparisons(found)]
    if compared:
        lines += ["", *table(["compared", "ratio (quartiles)"], compared)]
    return "\n".join(lines) + "\n"


def as_json(found: Fitted, env: dict[str, Any]) -> dict[str, Any]:
    """Everything, every single turn included."""
    return {
        "environment": env,
        "size": asdict(found.size),
        "corpus": found.corpus,
        "step_tokens": found.step_tokens,
        "flops_per_token": found.flops_per_token,
        "product_rates": found.product_rates,
        "rows": [
            {
                "contender": row[0],
                "precision": row[1],
                "laps": [asdict(lap) for lap in found.laps[row]],
                "rate": asdict(found.rate(row)),
                "share_of_peak": found.share_of_peak(row),
                "tokens_per_step": found.tokens_per_step(row),
                "waited": found.waited(row),
            }
            for row in found.laps
        ],
        "ratios": {what: asdict(found.ratio(a, b)) for what, a, b in _comparisons(found)},
    }


def _cells(found: Fitted, row: Row) -> list[str]:
    rate, waited = found.rate(row), found.waited(row)
    return [
        f"{TITLES[row[0]]}, {row[1]}",
        f"{number(rate.median)} ({number(rate.low)}-{number(rate.high)})",
        f"{found.share_of_peak(row):.0%}",
        f"{found.tokens_per_step(row):.0f}",
        "-" if waited is None else f"{waited:.2%}",
    ]


def _comparisons(found: Fitted) -> list[tuple[str, Row, Row]]:
    """Ours over the best peer and over each, in each precision, then ours over ours."""
    ours: list[Row] = [row for row in found.laps if row[0] == OURS]
    compared: list[tuple[str, Row, Row]] = []
    for row in ours:
        best = found.best_peer(row[1])
        for peer in (p for p in found.laps if p[1] == row[1] and p[0] != OURS):
            mark = " (the best peer)" if peer == best else ""
            compared.append((f"{row[1]}: recambio / {TITLES[peer[0]]}{mark}", row, peer))
    full: Row = (OURS, "fp32")
    return compared + [("recambio: bf16 / fp32", row, full) for row in ours if row[1] == "bf16" and full in ours]
