"""One decision for all ranks, without a wait in any step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class Agreement:
    """What one rank wishes, all ranks do, and at the same step.

    Each step hands in a wish and reads what came of the wishes of the step before, whose exchange went on while the device worked: a rank
    that asked the others for an answer in every step would have the host wait for the device, and the devices for each other. It
    goes through gloo, on the host, whatever the gradients go through.

    On one rank a wish is granted at once.
    """

    def __init__(self) -> None:
        self._group: Any = None
        if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
            self._group = distributed.new_group(backend="gloo")
        self._under_way: tuple[Tensor, Any] | None = None

    def ask(self, wish: bool) -> bool:
        """To be called by every rank in every step. Returns: whether any rank wished so in the step before."""
        if self._group is None:
            return wish
        agreed = self._answer()
        self._send(wish)
        return agreed

    def settle(self, wish: bool) -> bool:
        """Likewise where all ranks stand still anyhow. Returns: whether any rank wishes so now."""
        if self._group is None:
            return wish
        self._answer()
        self._send(wish)
        return self._answer()

    def _send(self, wish: bool) -> None:
        wished = torch.tensor([int(wish)])
        work = distributed.all_reduce(wished, distributed.ReduceOp.MAX, group=self._group, async_op=True)
        self._under_way = wished, work

    def _answer(self) -> bool:
        if self._under_way is None:
            return False
        wished, work = self._under_way
        work.wait()
        self._under_way = None
        return bool(wished.item())
