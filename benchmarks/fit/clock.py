"""The clock of a contender's process, and the process as the one that measures sees it.

A process trains without end. Its clock is called after every step and holds training up between turns, so that only one
process computes at a time, and imports, caches and the first steps cost nothing that counts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from benchmarks.child import Child
from benchmarks.fit.work import Job


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


class Running(Child):
    """A contender's process, warmed up."""

    def __init__(self, job: Job) -> None:
        name = f"{job.contender}, {job.precision}"
        super().__init__(name, "benchmarks.fit.contender", job.save(), Path(job.folder) / "log.txt", "training")

    def turn(self, tokens: int) -> Lap:
        """Train until so many target tokens are done."""
        return Lap(**self.ask(str(tokens)))
