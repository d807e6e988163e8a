"""Measure every part of the package.

python -m benchmarks.parts cost [KIND[/NAME] ...] [--rounds N] [--bf16] [--threads 1]
python -m benchmarks.parts losses [KIND[/NAME] ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch

from benchmarks.parts import cost, losses
from benchmarks.parts.places import places
from recambio import registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print Markdown. Returns: 1 if a part learned less than the bar, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parts", description="Measure every part of the package."
    )
    parser.add_argument(
        "what", choices=("cost", "losses"), help="time and memory, or what is learned in a few hundred steps"
    )
    parser.add_argument("only", nargs="*", metavar="KIND[/NAME]", help="all parts of a kind, or one part")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds that count (7)")
    parser.add_argument("--bf16", action="store_true", help="under autocast to bfloat16")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads (1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    registry.load_builtins()
    if not places(options.only):
        parser.error(f"{' '.join(options.only)}: no such part; try attention, or attention/multi_head")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if options.what == "cost":
        found = cost.measure(options.only, options.rounds, torch.bfloat16 if options.bf16 else None, say)
        print(cost.as_markdown(found))
        return 0
    bar, learned = losses.bigram(), losses.measure(options.only, say)
    print(losses.as_markdown(learned, bar))
    return int(any(row.nll >= bar and not row.is_control for row in learned))


if __name__ == "__main__":
    sys.exit(main())
