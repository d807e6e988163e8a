"""`recambio train`, from its config to its run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

from benchmarks.fit.clock import Clock
from benchmarks.fit.work import Job
from recambio.experiment import train as command
from recambio.training.callbacks import Progress
from recambio.training.module import StepBatch


def train(job: Job, clock: Clock) -> None:
    """Run the command itself; the callback that shows progress calls the clock besides."""

    class Clocked(Progress):
        def on_train_batch_end(
            self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: StepBatch, batch_idx: int
        ) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            clock.step(batch.target_tokens, batch.wait)

    command.Progress = Clocked  # type: ignore[misc,attr-defined]
    command.run(job.config(), run=Path(job.folder) / "run")
