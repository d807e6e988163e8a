"""Ctrl-C and SIGTERM between two optimiser steps, with the state saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import lightning as L
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from recambio.training.callbacks.agreement import Agreement
from recambio.training.callbacks.checkpoints import Checkpoints


class Interrupt(L.Callback):
    """Turns ctrl-C, or the SIGTERM of a scheduler, into an orderly end: the step is finished, the state saved, then the run stops.

    Python would raise wherever the signal finds it, in the middle of a file being written or in a place that swallows it. A second
    signal does just that. One rank that is told is enough: all save and stop after the same step.

    Lightning's own treatment of signals is taken out of the way. It exchanges a flag before every step and reads it from the device, so the
    host waits for the device in every step, and it stops without saving. Under Slurm it saves a state of its own, without the place in the
    data.

    Args:
        checkpoints: What saves the state.
        validate_every: Steps between validations, which save the state themselves.
        agreement: By which all ranks stop after the same step.
    """

    def __init__(self, checkpoints: Checkpoints, validate_every: int, agreement: Agreement) -> None:
        self.checkpoints = checkpoints
        self.validate_every = validate_every
        self.is_asked = False
        self._agreement = agreement

    @contextmanager
    def taken_over(self) -> Iterator[None]:
        """Within, signals ask this callback. It goes around the whole of Lightning's work, which may end without its last hooks."""
        previous = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Leave Lightning no signal, before it takes any."""
        trainer._signal_connector.register_signal_handlers = _nothing  # type: ignore[method-assign]
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop; where a validation is due, after the last step as well, that comes first and saves."""
        is_due = trainer.should_stop or trainer.global_step % self.validate_every == 0
        if not self._agreement.ask("interrupt", self.is_asked) or is_due:
            return
        self.checkpoints.save_state(trainer)
        self.stop(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after the validation, whose checkpoint is written by now."""
        if self._agreement.settle("interrupt", self.is_asked):
            self.stop(trainer)

    @staticmethod
    def stop(trainer: L.Trainer) -> NoReturn:
        """Stop this rank where all do.

        Lightning watches the ranks that it has started, and kills this process when one has ended with any status but 0. The ranks that
        stop here are taken out of its sight, in the list that it looks at; the launcher still ends those that don't.

        Raises:
            KeyboardInterrupt: Always.
        """
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            watched = launcher.procs
            launcher.procs = [*watched]
            watched.clear()
        raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


def _nothing() -> None: ...
