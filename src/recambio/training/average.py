"""An exponential moving average of the weights, kept beside those that are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage:
    """``average += (1 - d) * (weights - average)`` after every optimiser step, ``d = min(decay, (1 + t) / (10 + t))``.

    t counts the steps that are in the average, which starts as the weights after the first: with so short a memory at first, the
    initial weights are soon forgotten. The average is float32 at least, whatever the weights are, or small changes would vanish
    in it. Parameters are averaged; buffers stay as they are.

    Paper: Polyak & Juditsky 1992, "Acceleration of Stochastic Approximation by Averaging", https://doi.org/10.1137/0330046;
    the warm-up is that of TensorFlow's ``ExponentialMovingAverage``.

    Args:
        model: Tied parameters are averaged once.
        decay: Share of the average that a step leaves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.n_steps = 0
        self._average: dict[str, Tensor] = {}
        self._trained: list[Tensor] | None = None

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of one more optimiser step."""
        weights = [p.to(torch.promote_types(p.dtype, torch.float32)) for p in self.model.parameters()]
        if self.n_steps == 0:
            names = [name for name, _ in self.model.named_parameters()]
            self._average = {name: w.detach().clone() for name, w in zip(names, weights, strict=True)}
        else:
            share = 1 - min(self.decay, (1 + self.n_steps) / (10 + self.n_steps))
            torch._foreach_lerp_(self._held(), weights, share)
        self.n_steps += 1

    @torch.no_grad()
    def put(self) -> None:
        """The average takes the place of the weights, until :meth:`take_back`; before the first step nothing changes."""
        if self._trained is not None or self.n_steps == 0:
            return
        parameters = list(self.model.parameters())
        self._trained = [p.detach().clone() for p in parameters]
        for parameter, average in zip(parameters, self._held(), strict=True):
            parameter.copy_(average)

    @torch.no_grad()
    def take_back(self) -> None:
        """The weights that are trained, to the bit."""
        if self._trained is not None:
            torch._foreach_copy_(list(self.model.parameters()), self._trained)
            self._trained = None

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and tensors."""
        return {"n_steps": self.n_steps, "weights": dict(self._average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up an average where a checkpoint left it."""
        self.n_steps = int(state["n_steps"])
        self._average = {name: state["weights"][name] for name, _ in self.model.named_parameters() if self.n_steps}

    def _held(self) -> list[Tensor]:
        """The average in the order of the parameters and beside them: a checkpoint is read before the model has its device."""
        for name, parameter in self.model.named_parameters():
            self._average[name] = self._average[name].to(parameter.device)
        return list(self._average.values())
