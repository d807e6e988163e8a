"""When training stops: by steps, by minutes, or because it no longer improves."""

from __future__ import annotations

import time
from typing import Any

import lightning as L

from recambio.training.callbacks.agreement import Agreement


class Limits(L.Callback):
    """Stops training, always after one last validation and checkpoint.

    Args:
        max_steps: Optimiser steps; None for no limit.
        max_minutes: Wall-clock minutes, over all segments of a resumed run. Where it strikes depends on the machine: such a run
            can't be reproduced to the bit.
        patience: Validations without improvement of the monitored score before stopping; None for never.
        min_delta: What counts as an improvement.
        monitor: ``nll`` (falls) or ``bleu`` (rises).
        agreement: By which all ranks stop for time after the same step.
        max_epochs: Epochs of the data, for runs whose steps aren't known beforehand; None for no limit.
    """

    def __init__(
        self,
        max_steps: int | None,
        max_minutes: float | None = None,
        patience: int | None = None,
        min_delta: float = 0.0,
        monitor: str = "nll",
        agreement: Agreement | None = None,
        max_epochs: int | None = None,
    ) -> None:
        self.max_steps = max_steps
        self.max_epochs = max_epochs
        self.max_minutes = max_minutes
        self.patience = patience
        self.min_delta = min_delta
        self.monitor = monitor
        self.best: float | None = None
        self.bad = 0
        self.reason = ""
        self._spent = 0.0
        self._since = time.monotonic()
        self._agreement = agreement or Agreement()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._since = time.monotonic()
        if self.max_steps is not None and trainer.global_step >= self.max_steps:
            self._stop(trainer, self._at_max_steps())
        elif self._is_out_of_patience():
            self._stop(trainer, self._without_gain())

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask Lightning to validate and stop once a limit is reached."""
        if self.max_steps is not None and trainer.global_step >= self.max_steps:
            self._stop(trainer, self._at_max_steps())
        elif self.max_epochs is not None and trainer.datamodule.cursor.epoch >= self.max_epochs:  # type: ignore[attr-defined]
            self._stop(trainer, f"reached max_epochs={self.max_epochs}")
        elif self.max_minutes is not None and self._agreement.ask("minutes", self.minutes() >= self.max_minutes):
            self._stop(trainer, f"reached max_minutes={self.max_minutes}")

    def count(self, trainer: L.Trainer, score: float) -> None:
        """Count a validation, by its score, before a state is saved that is to know of it."""
        if self.patience is None:
            return
        gain = None if self.best is None else (self.best - score if self.monitor == "nll" else score - self.best)
        if gain is None or gain > self.min_delta:
            self.best, self.bad = score, 0
        else:
            self.bad += 1
        if self._is_out_of_patience():
            self._stop(trainer, self._without_gain())

    def minutes(self) -> float:
        """Minutes trained, over all segments."""
        return self._spent + (time.monotonic() - self._since) / 60

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"best": self.best, "bad": self.bad, "minutes": self.minutes()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the counts."""
        self.best, self.bad, self._spent = state_dict["best"], state_dict["bad"], state_dict["minutes"]

    def _stop(self, trainer: L.Trainer, reason: str) -> None:
        self.reason = reason
        trainer.should_stop = True

    def _is_out_of_patience(self) -> bool:
        return self.patience is not None and self.bad >= self.patience

    def _at_max_steps(self) -> str:
        return f"reached max_steps={self.max_steps}"

    def _without_gain(self) -> str:
        return f"no better {self.monitor} in {self.bad} validations"
