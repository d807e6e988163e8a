"""A million lines through a pipe: does memory grow, and does every line come back in its place? Run

    python benchmarks/streaming.py [--lines N] [--devices N] [--run RUN]

It trains a small model on the embedded corpus (a minute) unless a run is named, pipes short lines through ``recambio translate``, and
prints the resident memory of all its processes at ten moments. The figures of docs/decoding.md are what it prints.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from recambio.data.grammar import generate

CONFIG = """
name: streaming
data:
  corpus: {name: embedded, train_size: 20000, dev_size: 100, test_size: 100}
  tokenizer: {name: unigram, vocabulary_size: 1000}
  batch_tokens: 2048
model:
  d_model: 32
  n_heads: 2
  d_ff: 64
  encoder: {n_layers: 1}
  decoder: {n_layers: 1}
training:
  max_steps: 800
  validate_every: 800
  optimizer: {name: adamw, lr: 0.004}
  schedule: {name: inverse_sqrt, warmup: 100}
trainer: {accelerator: cpu}
decoding: {search: greedy}
"""
DISTINCT = 997
"""Different lines, which come in turn. Prime to the size of a chunk, so that no two chunks are the same."""


def main() -> int:
    """Measure and print. Returns: 1 if a line is missing or out of its place, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--devices", help="as of recambio translate")
    parser.add_argument("--run", type=Path, help="an existing run folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run.resolve() if options.run else trained(Path(folder))
        return measure(run, options.lines, [] if options.devices is None else ["--devices", options.devices])


def trained(folder: Path) -> Path:
    """A run whose model is small, but translates different lines differently."""
    (folder / "streaming.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "recambio", "train", "streaming.yaml"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "runs" / "streaming"


def measure(run: Path, n: int, options: list[str]) -> int:
    """Pipe ``n`` lines through and print what became of them."""
    pairs = (pair.source for pair in generate("test", 20 * DISTINCT, 7))
    sources = list(dict.fromkeys(source for source in pairs if len(source.split()) <= 6))[:DISTINCT]
    assert len(sources) == DISTINCT
    command = [sys.executable, "-m", "recambio", "translate", str(run)]
    text = "".join(f"{source}\n" for source in sources).encode()
    wanted = subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True).stdout.splitlines(keepends=True)
    print(f"{n:,} lines of {DISTINCT} different ones, which have {len(set(wanted))} different translations\n")
    process = subprocess.Popen([*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    threading.Thread(target=feed, args=(process, text, n), daemon=True).start()
    print("| lines | seconds | resident MiB |\n| --- | --- | --- |")
    start = time.monotonic()
    misplaced = came = 0
    marks = {max(1, n * tenth // 10) for tenth in range(1, 11)} | {1, min(n, 10_000)}
    for line in process.stdout:
        misplaced += line != wanted[came % DISTINCT]
        came += 1
        if came == 1:
            first = time.monotonic()  # what went before is the start
        if came in marks:
            print(f"| {came:,} | {time.monotonic() - start:.0f} | {resident(process.pid):,.0f} |", flush=True)
    if came > 1:
        print(f"\n{(came - 1) / (time.monotonic() - first):,.0f} lines/s")
    status = process.wait()
    print(f"{came:,} lines came back, {misplaced:,} of them not as if translated apart; exit status {status}")
    # A tie that rounding decides otherwise in another batch is one line in thousands; a line out of its place moves all that follow.
    return int(came != n or misplaced > n // 1000 or status != 0)


def feed(process: subprocess.Popen[bytes], text: bytes, n: int) -> None:
    """Write the lines over and over, ``n`` in all, as fast as the pipe takes them."""
    assert process.stdin is not None
    whole, rest = divmod(n, DISTINCT)
    with process.stdin as pipe:
        for _ in range(whole):
            pipe.write(text)
        pipe.writelines(text.splitlines(keepends=True)[:rest])


def resident(pid: int) -> float:
    """MiB of a process and its descendants."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    children = [
        child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20 + sum(resident(int(child)) for child in children)


if __name__ == "__main__":
    sys.exit(main())
