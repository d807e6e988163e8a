"""One contender's process: ``python -m benchmarks.decode.worker JOB DESCRIPTOR``.

A toolkit is alone in it, with its own threads. CTranslate2's never imports torch, whose OpenMP library slows it several times.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.child import Child

Decode = Callable[[Sequence[Sequence[int]], str, int], list[list[int]]]
"""Sources, ``greedy`` or ``beam``, tokens of each output."""


@dataclass(frozen=True)
class Job:
    """What one contender's process is told.

    Attributes:
        module: Where its ``load(job)`` is, which gives a :data:`Decode`.
        precision: What it computes in.
        size: Name of the model's size.
        threads: CPU threads.
        folder: What was made for it before.
    """

    module: str
    precision: str
    size: str
    threads: int
    folder: str


@dataclass(frozen=True)
class Turn:
    """One batch decoded.

    Attributes:
        seconds: Wall clock.
        tokens: What came out.
    """

    seconds: float
    tokens: list[list[int]]


class Running(Child):
    """A contender's process."""

    def __init__(self, name: str, job: Job) -> None:
        folder = Path(job.folder)
        place = folder / f"{name}.json"
        place.write_text(json.dumps(asdict(job)))
        threads = {"OMP_NUM_THREADS": str(job.threads)}
        super().__init__(name, "benchmarks.decode.worker", place, folder / f"{name}.log", "decoding", threads)

    def turn(self, sources: Sequence[Sequence[int]], task: str, n_tokens: int) -> Turn:
        """Decode one batch."""
        return Turn(**self.ask(json.dumps([sources, task, n_tokens])))


def main(arguments: Sequence[str]) -> None:
    """Decode until the orders end."""
    job = Job(**json.loads(Path(arguments[0]).read_text()))
    reports = os.fdopen(int(arguments[1]), "w")
    decode: Decode = importlib.import_module(job.module).load(job)
    gc.collect()
    gc.freeze()
    _report(reports.write, {})
    reports.flush()
    for order in sys.stdin:
        sources, task, n_tokens = json.loads(order)
        gc.collect()
        started = time.perf_counter()
        tokens = decode(sources, task, n_tokens)
        _report(reports.write, asdict(Turn(time.perf_counter() - started, tokens)))
        reports.flush()


def _report(write: Callable[[str], object], line: dict[str, object]) -> None:
    write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
