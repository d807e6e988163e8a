"""A constant learning rate after warm-up."""

from __future__ import annotations

from recambio.registry import SCHEDULE, Card
from recambio.training.schedules.base import Schedule, check_warmup, warmed


@SCHEDULE.register(
    "constant",
    card=Card(claim="Linear warm-up, then the peak rate to the end.", formula="min(1, s / warmup)"),
)
class Constant(Schedule):
    """Linear warm-up, then constant.

    Args:
        warmup: Steps of the rise; 0 for none.
    """

    def __init__(self, warmup: int = 0) -> None:
        check_warmup(warmup)
        self.warmup = warmup

    def factor(self, step: int) -> float:
        """See :meth:`Schedule.factor`."""
        return warmed(step, self.warmup)
