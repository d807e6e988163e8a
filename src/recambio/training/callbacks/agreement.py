"""Decisions for all ranks, without a wait in any step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class Agreement:
    """What one rank wishes, all ranks do, and at the same step.

    Each step hands in a wish and reads what came of the wishes of the step before, whose exchange went on while the device worked: a rank
    that asked the others for an answer in every step would have the host wait for the device, and the devices for each other. It
    goes through gloo, on the host, whatever the gradients go through.

    One agreement serves all who ask, each for a subject of its own; the group of processes is made when it is first needed. On one rank a
    wish is granted at once.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._is_open = False
        self._under_way: dict[str, tuple[Tensor, Any]] = {}

    def ask(self, subject: str, wish: bool) -> bool:
        """To be called by every rank in every step. Returns: whether any rank wished so in the step before."""
        if self._is_alone():
            return wish
        agreed = self._answer(subject)
        self._send(subject, wish)
        return agreed

    def settle(self, subject: str, wish: bool) -> bool:
        """Likewise where all ranks stand still anyhow. Returns: whether any rank wishes so now."""
        if self._is_alone():
            return wish
        self._answer(subject)
        self._send(subject, wish)
        return self._answer(subject)

    def _is_alone(self) -> bool:
        if not self._is_open:
            self._is_open = True
            if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
                self._group = distributed.new_group(backend="gloo")
        return self._group is None

    def _send(self, subject: str, wish: bool) -> None:
        wished = torch.tensor([int(wish)])
        work = distributed.all_reduce(wished, distributed.ReduceOp.MAX, group=self._group, async_op=True)
        self._under_way[subject] = wished, work

    def _answer(self, subject: str) -> bool:
        if subject not in self._under_way:
            return False
        wished, work = self._under_way.pop(subject)
        work.wait()
        return bool(wished.item())
