"""A run that is killed or interrupted at any of its validations stops where an unbroken one does, and knows why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from recambio.training.callbacks import Agreement, Checkpoints, Interrupt, Limits
from tests.unit.test_average import _Data, module, trainer_of

PATIENCE, EVERY = 3, 2


class Killed(Exception):
    """As a SIGKILL, once the state is saved."""


class Dying(Checkpoints):
    """Checkpoints of a run that dies right after its n-th state is written."""

    lives = 0

    def save_state(self, trainer: L.Trainer) -> None:
        super().save_state(trainer)
        self.lives -= 1
        if not self.lives:
            raise Killed


class Asked(L.Callback):
    """ctrl-C within the n-th validation."""

    def __init__(self, interrupt: Interrupt, which: int) -> None:
        self.interrupt, self.which = interrupt, which

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.which -= 1
        self.interrupt.is_asked |= not self.which


def run(
    folder: Path, *, is_reversed: bool = False, killed: int = 0, asked: int = 0, max_steps: int | None = None
) -> tuple[L.Trainer, Limits]:
    """A segment of a run, from the folder's state if there is one; no validation counts as better than the first."""
    limits = Limits(max_steps, patience=PATIENCE, min_delta=1e9)
    kept = Dying(folder, limits=limits)
    kept.lives = killed
    interrupt = Interrupt(kept, EVERY, Agreement())
    callbacks: list[L.Callback] = [kept, limits, Asked(interrupt, asked), interrupt]
    trainer = trainer_of(folder, callbacks[::-1] if is_reversed else callbacks, val_check_interval=EVERY)
    last = folder / "last.ckpt"
    resumed: dict[str, Any] = {"ckpt_path": last, "weights_only": True} if last.is_file() else {}
    trainer.fit(module(None), datamodule=_Data(), **resumed)
    return trainer, limits


@pytest.mark.parametrize("which", range(1, PATIENCE + 2))
@pytest.mark.parametrize("is_reversed", [False, True], ids=["checkpoints first", "limits first"])
def test_a_run_killed_after_a_validation_stops_where_an_unbroken_one_does(
    which: int, is_reversed: bool, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run(tmp_path, killed=which, is_reversed=is_reversed)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == which * EVERY
    trainer, limits = run(tmp_path, is_reversed=is_reversed)
    assert trainer.global_step == (PATIENCE + 1) * EVERY
    assert limits.reason == "no better nll in 3 validations"


@pytest.mark.parametrize("which", range(1, PATIENCE + 2))
def test_nor_does_an_interrupt_within_a_validation_lose_anything(which: int, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, asked=which)
    trainer, limits = run(tmp_path)
    assert trainer.global_step == (PATIENCE + 1) * EVERY
    assert limits.reason == "no better nll in 3 validations"


def test_an_unbroken_run_stops_there(tmp_path: Path) -> None:
    assert run(tmp_path)[0].global_step == (PATIENCE + 1) * EVERY


def test_a_resumed_run_that_had_taken_its_last_step_says_so(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, killed=1)
    trainer, limits = run(tmp_path, max_steps=EVERY)
    assert trainer.global_step == EVERY and limits.reason == f"reached max_steps={EVERY}"


def test_an_interrupt_in_the_last_step_leaves_the_last_validation_to_come(tmp_path: Path) -> None:
    """The last step is none that a validation is due after by itself: the state is saved after the one that ends the run."""
    limits = Limits(5)
    kept = Checkpoints(tmp_path, average=2, limits=limits)
    interrupt = Interrupt(kept, 4, Agreement())

    class AtTheEnd(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            interrupt.is_asked = trainer.global_step == 4

    trainer = trainer_of(tmp_path, [AtTheEnd(), kept, limits, interrupt], val_check_interval=4)
    with pytest.raises(SystemExit):
        trainer.fit(module(None), datamodule=_Data())
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["global_step"] == 5 and interrupt.is_asked
    assert set(state["callbacks"]["Checkpoints"]["scores"]) == {4, 5}
