"""What a person sees while a run trains: rate, time left, loss, and each validation."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress(L.Callback):
    """A live bar at a terminal, plain lines elsewhere, on standard error.

    Args:
        max_steps: Optimiser steps of the run, for the time left; None if unknown.
        log_every: Steps between lines.
    """

    def __init__(self, max_steps: int | None, log_every: int) -> None:
        self.max_steps = max_steps
        self.log_every = log_every
        self.console = Console(file=sys.stderr)
        self._bar: Bar | None = None
        self._task: Any = None
        self._start = time.monotonic()
        self._first = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar."""
        self._start, self._first = time.monotonic(), trainer.global_step
        if trainer.is_global_zero and self.console.is_terminal:
            self._bar = Bar(
                TextColumn("[bold]training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task("training", total=self.max_steps, completed=trainer.global_step, note="")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar; where there is none, print a line now and then."""
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        is_record = step % self.log_every == 0
        note = self._note(pl_module) if is_record else None
        if self._bar is not None:
            self._bar.update(self._task, completed=step)
            if note:
                self._bar.update(self._task, note=note)
        elif note:
            self.console.print(f"step {step}{self._of()}  {note}{self._left(step)}", highlight=False, soft_wrap=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """One line per validation."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        values = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("valid/")}
        text = "  ".join(f"{k.removeprefix('valid/')} {v:.3f}" for k, v in values.items())
        self.console.print(
            f"step {trainer.global_step}{self._of()}  validation  {text}", highlight=False, soft_wrap=True
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _of(self) -> str:
        return f"/{self.max_steps}" if self.max_steps else ""

    def _note(self, module: L.LightningModule) -> str:
        latest: dict[str, float] = module.latest  # type: ignore[assignment]
        return f"loss {latest['train/loss']:.3f}  {latest['train/tokens_per_second']:,.0f} tokens/s  epoch {latest['epoch']:.0f}"

    def _left(self, step: int) -> str:
        if not self.max_steps or step <= self._first:
            return ""
        seconds = (time.monotonic() - self._start) / (step - self._first) * (self.max_steps - step)
        return f"  {int(seconds // 60)}:{int(seconds % 60):02d} left"
