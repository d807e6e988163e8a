"""The Transformer paper's schedule as written."""

from __future__ import annotations

from recambio.registry import SCHEDULE, Card
from recambio.training.schedules.base import Schedule, check_warmup


@SCHEDULE.register(
    "noam",
    card=Card(
        claim="The paper's learning rate, which follows from d_model and warmup; the optimizer's lr is a multiplier (1.0 in the paper).",
        formula="D^-0.5 * min(s^-0.5, s * warmup^-1.5)",
        paper="Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 5.3, equation 3",
    ),
)
class Noam(Schedule):
    """Equation 3 of the paper.

    Args:
        d_model: Width of the model.
        warmup: Steps of the rise.
    """

    def __init__(self, d_model: int, warmup: int = 4000) -> None:
        check_warmup(warmup)
        self.d_model = d_model
        self.warmup = max(1, warmup)

    def factor(self, step: int) -> float:
        """See :meth:`Schedule.factor`."""
        return float(self.d_model**-0.5 * min(step**-0.5, step * self.warmup**-1.5))
