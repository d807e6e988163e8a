"""Measure recambio beside its peers.

python -m benchmarks [train|decode|all|fit|engines] [--size small|base] [--repeats N] [--threads 2] [--json PATH] [--quick]

``all`` is train and decode: bare steps and batches, in one process. ``fit`` is training end to end and ``engines`` decoding
beside CTranslate2 too, both with a process per contender.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.sizes import PRECISIONS, SIZES, Size, rows_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, write JSON. Returns: 1 if the contenders don't compute the same, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure recambio beside its peers.")
    parser.add_argument(
        "kind", nargs="?", choices=("train", "decode", "all", "fit", "engines"), default="all", help="what to measure"
    )
    parser.add_argument("--size", choices=[s for s in SIZES if s != "tiny"], default="small", help="of the model")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="rounds that count (9)")
    parser.add_argument(
        "--discard", type=int, default=2, metavar="N", help="rounds before them (2); fit warms each process up instead"
    )
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads of each contender (2)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every number to this file")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows whose name contains this: 'batch 1,'")
    parser.add_argument("--who", default="", metavar="NAME,NAME", help="engines: only these contenders")
    parser.add_argument("--no-memory", action="store_true", help="don't measure peak memory; fit never does")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny model and one round: does it run? Numbers mean nothing"
    )
    options = parser.parse_args(arguments)
    for name, least in (("repeats", 1), ("discard", 0), ("threads", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name}: must be at least {least}, but is {getattr(options, name)}")
    size = SIZES["tiny" if options.quick else options.size]
    if options.kind == "fit":
        return _fit(parser, options, size)
    if options.kind == "engines":
        return _engines(parser, options, size)
    rows = [row for row in rows_of(size, options.kind) if options.only in row.name]
    if not rows:
        names = "; ".join(row.name for row in rows_of(size, options.kind))
        parser.error(f"--only: no row has {options.only!r} in its name; the rows are {names}")
    _needs(parser, "transformers")

    import torch

    from benchmarks.peers import checks, report
    from benchmarks.peers.contenders import same_weights
    from benchmarks.peers.measure import measure

    torch.set_num_threads(options.threads)
    environment = report.environment()
    same = checks.compare(same_weights(size))
    measured = measure(
        rows,
        size,
        1 if options.quick else options.repeats,
        1 if options.quick else options.discard,
        options.threads,
        with_memory=not options.no_memory and not options.quick,
        say=_say,
    )
    print(report.as_markdown(size, measured, same, environment))
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(size, measured, same, environment), indent=1) + "\n")
    found = report.problems(measured, same)
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if found else 0


def _fit(parser: argparse.ArgumentParser, options: argparse.Namespace, size: Size) -> int:
    """Measure training end to end."""
    _needs(parser, "transformers", "accelerate")

    import torch

    from benchmarks.fit import report
    from benchmarks.fit.contender import available
    from benchmarks.fit.measure import Row, measure
    from benchmarks.peers.report import environment

    every: list[Row] = [(name, precision) for precision in PRECISIONS for name in available()]
    rows = [row for row in every if options.only in ", ".join(row)]
    if not rows:
        names = "; ".join(", ".join(row) for row in every)
        parser.error(f"--only: no row has {options.only!r} in its name; the rows are {names}")
    torch.set_num_threads(options.threads)
    found = measure(rows, size, 1 if options.quick else options.repeats, options.threads, _say)
    env = environment()
    print(report.as_markdown(found, env))
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(found, env), indent=1) + "\n")
    return 0


def _engines(parser: argparse.ArgumentParser, options: argparse.Namespace, size: Size) -> int:
    """Measure decoding, a process per contender."""
    import torch

    from benchmarks.decode import report
    from benchmarks.decode.measure import measure
    from benchmarks.decode.rows import CONTENDERS, rows_of
    from benchmarks.peers.report import environment

    rows = [row for row in rows_of(size) if options.only in row.name]
    if not rows:
        parser.error(
            f"--only: no row has {options.only!r} in its name; the rows are {'; '.join(r.name for r in rows_of(size))}"
        )
    wanted = options.who.split(",") if options.who else list(CONTENDERS)
    if unknown := [name for name in wanted if name not in CONTENDERS]:
        parser.error(f"--who: no contender {', '.join(unknown)}; they are {', '.join(CONTENDERS)}")
    contenders = [CONTENDERS[name] for name in wanted]
    torch.set_num_threads(options.threads)
    repeats, discard = (1, 0) if options.quick else (options.repeats, options.discard)
    found = measure(contenders, rows, size, repeats, discard, options.threads, _say)
    env = environment()
    print(report.as_markdown(size, contenders, found, env))
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(size, found, env), indent=1) + "\n")
    return 0


def _needs(parser: argparse.ArgumentParser, *packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            parser.error(f'{package}: is not installed; run pip install -e ".[bench]", or make bench')


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
