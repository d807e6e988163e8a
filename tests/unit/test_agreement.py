"""One exchange between ranks for all that they agree on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from recambio.training.callbacks import Agreement, Limits, agreement


class Ranks:
    """Stands for torch.distributed with two ranks; ``other`` is what the other one wishes, one answer after the other."""

    ReduceOp = SimpleNamespace(MAX="max")

    def __init__(self, other: list[bool]) -> None:
        self.other = other
        self.groups: list[str] = []

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def get_world_size(self) -> int:
        return 2

    def new_group(self, backend: str) -> str:
        self.groups.append(backend)
        return backend

    def all_reduce(self, wished: Tensor, op: str, group: str, async_op: bool) -> Any:
        assert (op, group, async_op) == ("max", "gloo", True)
        theirs = int(self.other.pop(0))
        return SimpleNamespace(wait=lambda: wished.clamp_(min=theirs))


def test_what_one_rank_wishes_comes_a_step_later_and_for_its_subject_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks([False, True, False, False, True])
    monkeypatch.setattr(agreement, "distributed", ranks)
    shared = Agreement()
    assert not ranks.groups
    assert [shared.ask(subject, False) for subject in ("minutes", "interrupt")] == [False, False]
    assert [shared.ask(subject, False) for subject in ("minutes", "interrupt")] == [False, True]
    assert shared.settle("interrupt", False)
    assert ranks.groups == ["gloo"], "one group of processes serves both"


def test_a_run_without_a_limit_of_time_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks([])
    monkeypatch.setattr(agreement, "distributed", ranks)
    limits = Limits(max_steps=2)
    trainer: Any = SimpleNamespace(global_step=0, should_stop=False)
    limits.on_train_start(trainer, None)  # type: ignore[arg-type]
    for step in (1, 2):
        trainer.global_step = step
        limits.on_train_batch_end(trainer, None, None, None, step)  # type: ignore[arg-type]
    assert trainer.should_stop and not ranks.groups


def test_a_rank_alone_is_granted_its_wish_at_once() -> None:
    assert Agreement().ask("minutes", True) and not Agreement().settle("minutes", False)
