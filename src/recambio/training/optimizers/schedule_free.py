"""AdamW that averages its weights instead of lowering its rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from recambio.registry import OPTIMIZER, Card
from recambio.training.optimizers.base import GroupwiseOptimizer, OptimizerPart, ParameterGroups


@OPTIMIZER.register(
    "schedule_free",
    card=Card(
        claim="AdamW that needs no schedule and no planned end: gradients are taken between the newest weights and their running "
        "average, and the average is what is kept.",
        formula="y = (1 - beta1) z + beta1 x; z -= lr * (g(y) / (sqrt(v) + eps) + weight_decay * y); x += lr^2 / sum(lr^2) (z - x)",
        paper="Defazio et al. 2024, The Road Less Scheduled, https://arxiv.org/abs/2405.15682, algorithm 1",
        departures="x, y and z are all kept, a buffer more than need be, so that a resumed run is bit-equal. To be used with the schedule "
        "`constant`, with warm-up. Norms, biases and gains are not decayed.",
        fast_path="one kernel for a list of tensors each (foreach)",
    ),
)
class ScheduleFree(OptimizerPart):
    """Schedule-free AdamW. The average x is validated and saved, y is trained.

    The authors advise a learning rate of 1 to 10 times that of AdamW with a schedule.

    Args:
        lr: Learning rate.
        beta1: Share of the average in the weights that are trained.
        beta2: Decay of the second moment.
        eps: Added to the root of the second moment.
        weight_decay: Of matrices.
    """

    def __init__(
        self,
        lr: float = 2.5e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.lr = lr
        self.betas = (beta1, beta2)
        self.eps = eps
        self.weight_decay = weight_decay

    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        """See :meth:`OptimizerPart.build`."""
        groups = parameters.groups(self.weight_decay)
        # The sum of squared rates so far and the steps taken live in the group, and so in its state.
        start = {"weight_sum": 0.0, "n_steps": 0}
        return _ScheduleFreeAdamW(groups, {"lr": self.lr, "betas": self.betas, "eps": self.eps, **start})


class _ScheduleFreeAdamW(GroupwiseOptimizer):
    def update(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]
        for p in parameters:
            if "x" not in self.state[p]:
                self.state[p]["x"], self.state[p]["z"] = p.clone(), p.clone()
        x, z = self.buffers(parameters, "x"), self.buffers(parameters, "z")
        squares = self.buffers(parameters, "exp_avg_sq")
        group["n_steps"] += 1
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        scale = torch._foreach_div(squares, 1 - beta2 ** group["n_steps"])
        torch._foreach_sqrt_(scale)
        torch._foreach_add_(scale, group["eps"])
        directions = torch._foreach_div(gradients, scale)
        if group["weight_decay"]:
            torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        torch._foreach_add_(z, directions, alpha=-lr)
        group["weight_sum"] += lr**2
        if group["weight_sum"]:
            torch._foreach_lerp_(x, z, lr**2 / group["weight_sum"])
        self._interpolate(parameters, x, z, beta1)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average into the parameters."""
        for _, parameters, x, _ in self._started():
            torch._foreach_copy_(parameters, x)

    @torch.no_grad()
    def train(self) -> None:
        """Put back what is trained, computed as it was after the last step."""
        for group, parameters, x, z in self._started():
            self._interpolate(parameters, x, z, group["betas"][0])

    def _started(self) -> list[tuple[dict[str, Any], list[Tensor], list[Tensor], list[Tensor]]]:
        """Each group with those of its parameters that have been updated, and their sequences."""
        found = []
        for group in self.param_groups:
            parameters = [p for p in group["params"] if "x" in self.state.get(p, {})]
            if parameters:
                found.append((group, parameters, self.buffers(parameters, "x"), self.buffers(parameters, "z")))
        return found

    @staticmethod
    def _interpolate(parameters: list[Tensor], x: list[Tensor], z: list[Tensor], beta1: float) -> None:
        torch._foreach_copy_(parameters, z)
        torch._foreach_lerp_(parameters, x, beta1)
