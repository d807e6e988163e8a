"""The contract of a learning-rate schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod

from recambio.registry import SCHEDULE


@SCHEDULE.define
class Schedule(ABC):
    """The learning rate as a pure function of the optimiser step, so that a resumed run needs no state of it."""

    @abstractmethod
    def factor(self, step: int) -> float:
        """What the optimizer's ``lr`` is multiplied by at this step, counted from 1."""


def warmed(step: int, warmup: int) -> float:
    """Linear rise to 1 over ``warmup`` steps."""
    return min(1.0, step / warmup) if warmup > 0 else 1.0


def check_warmup(warmup: int) -> None:
    """Refuse a negative warm-up."""
    if warmup < 0:
        raise ValueError(f"`warmup` must not be negative, but is {warmup}")
