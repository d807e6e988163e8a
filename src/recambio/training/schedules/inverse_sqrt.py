"""Inverse square-root decay after warm-up, scaled to its peak."""

from __future__ import annotations

from recambio.registry import SCHEDULE, Card
from recambio.training.schedules.base import Schedule, check_warmup


@SCHEDULE.register(
    "inverse_sqrt",
    card=Card(
        claim="The Transformer paper's curve with its peak set by the optimizer's lr; needs no planned end.",
        formula="min(s / warmup, sqrt(warmup / s))",
        paper="Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.3",
        departures="Normalised so that the peak, at step warmup, is the optimizer's lr.",
    ),
)
class InverseSqrt(Schedule):
    """Linear warm-up, then decay with the inverse square root of the step.

    Args:
        warmup: Steps of the rise.
    """

    def __init__(self, warmup: int = 4000) -> None:
        check_warmup(warmup)
        self.warmup = max(1, warmup)

    def factor(self, step: int) -> float:
        """See :meth:`Schedule.factor`."""
        return float(min(step / self.warmup, (self.warmup / step) ** 0.5))
