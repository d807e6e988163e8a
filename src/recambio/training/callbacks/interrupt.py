"""Ctrl-C between two optimiser steps, with the state saved."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import lightning as L

from recambio.training.callbacks.checkpoints import Checkpoints


class Interrupt(L.Callback):
    """Turns ctrl-C into an orderly end: the step is finished, the state saved, then the run stops.

    Python would raise wherever the signal finds it, in the middle of a file being written or in a place that swallows it. A second
    ctrl-C does just that. On several ranks nothing is saved, for they may stand in different steps: the last checkpoint serves.

    Args:
        checkpoints: What saves the state.
        validate_every: Steps between validations, which save the state themselves.
    """

    def __init__(self, checkpoints: Checkpoints, validate_every: int) -> None:
        self.checkpoints = checkpoints
        self.validate_every = validate_every
        self.is_asked = False
        self._previous: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signal."""
        self._previous = signal.signal(signal.SIGINT, self._ask)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop; where a validation is due, that comes first and saves."""
        if not self.is_asked or trainer.global_step % self.validate_every == 0:
            return
        if trainer.world_size == 1:
            self.checkpoints.save_state(trainer)
        raise KeyboardInterrupt

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after the validation, whose checkpoint is written by now."""
        if self.is_asked:
            raise KeyboardInterrupt

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
