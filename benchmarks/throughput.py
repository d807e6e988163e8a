"""How many lines a second `recambio translate` makes of a big file on a CPU: by one process, by one for each core, and by CTranslate2.

    recambio export RUN --to ctranslate2
    python benchmarks/throughput.py RUN --source FILE [--search greedy]

Every way is the command itself, in turns. Starting is not counted: the clock runs from the line where each process has had a chunk of
512 lines, on two cores 1,536, to the last.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

CORES = os.cpu_count() or 1

FIRST = 512 * (CORES + 1)
"""Lines that don't count: a chunk for each process and one more."""

WAYS = {
    "one process": [],
    "a process for each core": ["--devices", str(CORES)],
    "one process, bf16": ["decoding.precision=bf16"],
    "a process for each core, bf16": ["--devices", str(CORES), "decoding.precision=bf16"],
    "CTranslate2": ["--engine", "ctranslate2"],
}


@dataclass
class Taken:
    """What one command took.

    Attributes:
        rate: Lines a second, without the first.
        whole: Seconds from start to end.
        lines: What it wrote.
    """

    rate: float
    whole: float
    lines: list[bytes]


def timed(run: Path, source: Path, options: list[str]) -> Taken:
    """One command.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, "-m", "recambio", "translate", str(run), str(source), *options]
    lines: list[bytes] = []
    start = time.perf_counter()
    first = start
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if len(lines) == FIRST:
                first = time.perf_counter()
        end = time.perf_counter()
        if process.wait():
            errors.seek(0)
            raise RuntimeError(errors.read().decode())
    return Taken((len(lines) - FIRST) / (end - first), end - start, lines)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=6_000, help="of the file, from its start on again where it ends")
    parser.add_argument("--search", default="beam")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.lines <= FIRST:
        parser.error(f"--lines must be more than {FIRST}, which aren't counted")
    lines = options.source.read_bytes().splitlines(keepends=True)
    taken: dict[str, list[Taken]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.txt"
        source.write_bytes(b"".join(lines[i % len(lines)] for i in range(options.lines)))
        for turn in range(options.repeats):
            ways = [*WAYS][turn % len(WAYS) :] + [*WAYS][: turn % len(WAYS)]
            for way in ways:
                taken[way].append(timed(options.run, source, [f"decoding.search={options.search}", *WAYS[way]]))
                print(f"{way}: {taken[way][-1].rate:.4g} lines/s", file=sys.stderr, flush=True)
    plain = taken["one process"]
    print("| way | lines/s | beside one process (least, most) | seconds in all | lines as of one process |")
    print("| --- | --- | --- | --- | --- |")
    for way, found in taken.items():
        ratios = [a.rate / b.rate for a, b in zip(found, plain, strict=True)]
        same = sum(a == b for a, b in zip(found[0].lines, plain[0].lines, strict=True)) / options.lines
        rate, whole = (statistics.median(x) for x in ([t.rate for t in found], [t.whole for t in found]))
        ratio = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {way} | {rate:.4g} | {ratio} | {whole:.3g} | {same:.1%} |")


if __name__ == "__main__":
    main()
