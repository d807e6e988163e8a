"""The clock of a contender's process, and the process as the one that measures sees it.

A process trains without end. Its clock is called after every step and holds training up between turns, so that only one
process computes at a time, and imports, caches and the first steps cost nothing that counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from benchmarks.fit.work import Job

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Lap:
    """One turn of one contender.

    Attributes:
        tokens: Real target tokens trained.
        steps: Optimiser steps.
        seconds: Wall clock.
        waited: Seconds of them that training waited for its loader; None where the toolkit doesn't say.
    """

    tokens: int
    steps: int
    seconds: float
    waited: float | None = None


class Clock:
    """Within a contender's process.

    Args:
        warmup: Steps before the first turn.
        orders: Gives a line for each turn, the tokens that it should have; its end is the process's.
        reports: Takes a line for each turn.
        now: Seconds.
        leave: Ends the process.
    """

    def __init__(
        self,
        warmup: int,
        orders: TextIO,
        reports: TextIO,
        now: Callable[[], float] = time.perf_counter,
        leave: Callable[[], None] = lambda: os._exit(0),
    ) -> None:
        self.orders, self.reports, self.now, self.leave = orders, reports, now, leave
        self._left = warmup
        self._goal = 0
        self._lap = [0, 0, 0.0]
        self._since = 0.0

    def step(self, tokens: int, waited: float | None = None) -> None:
        """An optimiser step is done.

        Args:
            tokens: Its real target tokens.
            waited: Seconds for which it waited for its batch.
        """
        if self._left > 1:
            self._left -= 1
            return
        if self._left == 1:
            self._left = 0
            self._report({})
            self._begin()
            return
        self._lap[0] += tokens
        self._lap[1] += 1
        self._lap[2] += waited or 0.0
        if self._lap[0] < self._goal:
            return
        lap = Lap(
            int(self._lap[0]), int(self._lap[1]), self.now() - self._since, None if waited is None else self._lap[2]
        )
        self._report(asdict(lap))
        self._begin()

    def _report(self, line: dict[str, object]) -> None:
        self.reports.write(json.dumps(line) + "\n")
        self.reports.flush()

    def _begin(self) -> None:
        order = self.orders.readline()
        if not order:
            self.leave()
            return
        self._goal, self._lap, self._since = int(order), [0, 0, 0.0], self.now()


class Running:
    """A contender's process, warmed up.

    Raises:
        RuntimeError: It ended by itself; its last words are in the text.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.log = Path(job.folder) / "log.txt"
        read, write = os.pipe()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fit.contender", str(job.save()), str(write)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                pass_fds=(write,),
            )
        os.close(write)
        self.reports = os.fdopen(read)
        self._answer()

    def turn(self, tokens: int) -> Lap:
        """Train until so many target tokens are done."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{tokens}\n")
        self.process.stdin.flush()
        return Lap(**json.loads(self._answer()))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.reports.close()

    def _answer(self) -> str:
        line = self.reports.readline()
        if not line:
            self.process.wait()
            words = self.log.read_text(errors="replace").strip()[-2000:]
            raise RuntimeError(
                f"{self.job.contender}, {self.job.precision}: exit {self.process.returncode} while training: {words}"
            )
        return line
