"""What was measured, as Markdown tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.decode.measure import Measured
from benchmarks.decode.rows import CONTENDERS, Contender
from benchmarks.peers.report import number, ratio, table
from benchmarks.peers.sizes import Size

COMPARED = (
    ("recambio-fp32", "torch", "fp32 / best on torch"),
    ("recambio-bf16", "torch", "bf16 / best on torch"),
    ("recambio-fp32", "ctranslate2-fp32", "fp32 / CTranslate2 fp32"),
    ("recambio-bf16", "ctranslate2-fp32", "bf16 / CTranslate2 fp32"),
    ("recambio-int8", "ctranslate2-int8", "int8 / CTranslate2 int8"),
)
"""A contender, another or the best of a kind, and the column's head."""


def as_markdown(size: Size, contenders: Sequence[Contender], rows: Sequence[Measured], env: dict[str, Any]) -> str:
    """A table of rates, one of ratios, one of agreement."""
    versions = ", ".join(f"{k} {v}" for k, v in env["versions"].items())
    lines = [
        f"`{env['command']}`",
        "",
        f"{size.name}: d_model {size.d_model}, ffn {size.d_ff}, {size.n_heads} heads, {size.n_layers}+{size.n_layers} layers, "
        f"vocabulary {size.vocabulary}; {size.longest} tokens out. {env['cpu']} ({', '.join(env['cpu_flags'])}), {env['threads']} threads; "
        f"{versions}.",
        "",
        "Sentences a second:",
        "",
    ]
    titles = {c.name: c.title for c in contenders}
    lines += table(
        ["row", *titles.values()],
        [[m.row.name, *(_rate(m, name) for name in titles)] for m in rows],
    )
    lines += ["", "How many times as fast (quartiles):", ""]
    lines += table(
        ["row", *(head for _, _, head in COMPARED)],
        [[m.row.name, *(_ratio(m, name, other) for name, other, _ in COMPARED)] for m in rows],
    )
    lines += ["", "Tokens equal to those of recambio fp32:", ""]
    lines += table(
        ["row", *titles.values()],
        [[m.row.name, *(f"{m.agreement[n]:.1%}" if n in m.agreement else "-" for n in titles)] for m in rows],
    )
    missing = [c.title for c in contenders if not c.is_installed]
    if missing:
        lines += ["", f"Not installed: {', '.join(missing)}."]
    return "\n".join(lines) + "\n"


def as_json(size: Size, rows: Sequence[Measured], env: dict[str, Any]) -> dict[str, Any]:
    """Everything, every single time included."""
    return {
        "environment": env,
        "size": asdict(size),
        "rows": [
            {
                "name": m.row.name,
                **asdict(m),
                "rates": {name: asdict(m.rate(name)) for name in m.seconds},
                "ratios": {head: _spread(m, name, other) for name, other, head in COMPARED},
            }
            for m in rows
        ],
    }


def _other(m: Measured, other: str) -> str | None:
    return m.best(other) if other == "torch" else other if other in m.seconds else None


def _rate(m: Measured, name: str) -> str:
    if not CONTENDERS[name].is_installed:
        return "not installed"
    return number(m.rate(name).median) if name in m.seconds else "-"


def _ratio(m: Measured, name: str, other: str) -> str:
    against = _other(m, other)
    return "-" if name not in m.seconds or against is None else ratio(m.ratio(name, against))


def _spread(m: Measured, name: str, other: str) -> dict[str, float] | None:
    against = _other(m, other)
    return None if name not in m.seconds or against is None else asdict(m.ratio(name, against))
