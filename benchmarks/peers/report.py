"""What was measured, as Markdown tables and as JSON."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.checks import Sameness
from benchmarks.peers.contenders import CONTENDERS, OURS
from benchmarks.peers.measure import Measured
from benchmarks.peers.sizes import Size
from benchmarks.peers.timing import Spread

PACKAGES = ("recambio", "torch", "lightning", "transformers", "accelerate", "joeynmt", "ctranslate2", "numpy")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")


def environment() -> dict[str, Any]:
    """What the numbers depend on beside the code."""
    cpu, flags = _processor()
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "versions": {"python": platform.python_version(), **_versions()},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu,
        "cpu_flags": flags,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),
        "omp": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "KMP_", "MKL_"))},
    }


def _versions() -> dict[str, str]:
    """Of what is installed."""
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> tuple[str, list[str]]:
    """The processor's name, and which of `FLAGS` it has."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine(), []
    fields: dict[str, str] = {}
    for line in info.read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    known = (fields.get("flags") or fields.get("Features") or "").split()
    return fields.get("model name", platform.machine()), [f for f in FLAGS if f in known]


def as_json(size: Size, rows: Sequence[Measured], same: Sameness, env: dict[str, Any]) -> dict[str, Any]:
    """Everything, every single time included."""
    return {
        "environment": env,
        "size": asdict(size),
        "sameness": asdict(same),
        "rows": [
            {
                "name": r.row.name,
                **asdict(r),
                "unit": _unit(r),
                "rates": {n: asdict(r.rate(n)) for n in r.seconds},
                "ratios": {n: asdict(r.ratio(n)) for n in r.seconds if n != OURS},
                "best_peer": r.best_peer(),
                "share_of_peak": {n: r.share_of_peak(n) for n in r.seconds},
            }
            for r in rows
        ],
        "behind": [r.row.name for r in behind(rows)],
        "problems": problems(rows, same),
    }


def behind(rows: Sequence[Measured]) -> list[Measured]:
    """Rows in which a peer is faster, by the median over the rounds."""
    return [r for r in rows if r.ratio(r.best_peer()).median < 1.0]


def problems(rows: Sequence[Measured], same: Sameness) -> list[str]:
    """What makes the comparison void."""
    return same.problems + [p for r in rows for p in r.problems()]


def as_markdown(size: Size, rows: Sequence[Measured], same: Sameness, env: dict[str, Any]) -> str:
    """Tables of rates, of memory and of the share of the matrix products' peak."""
    titles = {name: entry.load().title for name, entry in CONTENDERS.items()}
    versions = ", ".join(f"{k} {v}" for k, v in env["versions"].items())
    lines = [
        f"`{env['command']}`",
        "",
        f"{size.name}: d_model {size.d_model}, ffn {size.d_ff}, {size.n_heads} heads, {size.n_layers}+{size.n_layers} layers, "
        f"vocabulary {size.vocabulary}, {same.parameters[OURS]:,} parameters. {env['cpu']} ({', '.join(env['cpu_flags'])}), "
        f"{env['threads']} threads; {versions}.",
        "",
        f"Loss at step 0, fp32: {_losses(same, 'fp32', titles)}; bf16: {_losses(same, 'bf16', titles)}.",
        "",
    ]
    head = ["row", "unit", *titles.values(), "recambio / best peer (quartiles)"]
    lines += table(
        head,
        [
            [
                r.row.name,
                _unit(r),
                *(number(r.rate(n).median) if n in r.seconds else "-" for n in titles),
                ratio(r.ratio(r.best_peer())),
            ]
            for r in rows
        ],
    )
    if any(r.peak_memory for r in rows):
        lines += ["", "Peak memory, MiB over the imports:", ""]
        lines += table(
            ["row", *titles.values()],
            [[r.row.name, *(f"{r.peak_memory[n]:.0f}" if n in r.peak_memory else "-" for n in titles)] for r in rows],
        )
    lines += ["", "Share of the best plain matrix product's rate, and tokens equal to ours:", ""]
    ceilings = list(rows[0].product_rates)
    lines += table(
        ["row", *(f"{p}, GFLOP/s" for p in ceilings), *titles.values(), "equal tokens"],
        [
            [
                r.row.name,
                *(f"{r.product_rates[p] / 1e9:.0f}" for p in ceilings),
                *(f"{r.share_of_peak(n):.0%}" if n in r.seconds else "-" for n in titles),
                ", ".join(f"{titles[n]} {share:.1%}" for n, share in r.agreement.items()) or "-",
            ]
            for r in rows
        ],
    )
    late = behind(rows)
    lines += ["", f"Behind in: {', '.join(r.row.name for r in late)}." if late else "Behind in no row."]
    return "\n".join(lines) + "\n"


def _unit(row: Measured) -> str:
    return "tokens/s" if row.row.task == "train" else "sentences/s"


def _losses(same: Sameness, precision: str, titles: dict[str, str]) -> str:
    return ", ".join(f"{titles[n]} {loss:.5f}" for n, loss in same.losses[precision].items())


def number(x: float) -> str:
    """Three digits, or whole."""
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def ratio(s: Spread) -> str:
    """Median and quartiles."""
    return f"**{s.median:.2f}** ({s.low:.2f}-{s.high:.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
