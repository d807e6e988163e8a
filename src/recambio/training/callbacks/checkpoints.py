"""What a run keeps: the whole state to resume from, the best weights, and those whose mean is taken."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
from torch import nn

from recambio.model.weights import average_weights, save_weights
from recambio.training.callbacks.limits import Limits


class Checkpoints(L.Callback):
    """Writes ``checkpoints/`` at each validation, every file aside and then renamed.

    ``last.ckpt`` is the whole state; ``best.safetensors`` the weights with the best monitored score; ``step-N.safetensors`` those
    whose mean is taken at the end; ``average.safetensors`` that mean, or the newest moving average.

    Args:
        folder: ``checkpoints`` of the run.
        monitor: ``nll`` or ``bleu``.
        average: How many weights to keep and average; 0 for none.
        keep: The ``last`` so many, or the ``best``; of equal scores the earlier is better.
        is_moving: Whether what is validated is a moving average.
        limits: They count each validation here, before the state is saved: a run that is killed afterwards has counted it, whatever the
            order of the callbacks.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str = "nll",
        average: int = 0,
        keep: Literal["last", "best"] = "last",
        *,
        is_moving: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.folder = folder
        self.monitor = monitor
        self.average = average
        self.keep = keep
        self.is_moving = is_moving
        self.limits = limits
        self.best: float | None = None
        self.best_step = 0
        self.scores: dict[int, float] = {}
        """Of the weights that are kept to be averaged, by step."""

    @property
    def kept(self) -> list[int]:
        """Steps whose weights are kept to be averaged."""
        return sorted(self.scores)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is done: the data cursor moves with it."""
        trainer.datamodule.advance()  # type: ignore[attr-defined]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep what this validation decided, then the state that knows of it."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        model = pl_module.model
        assert isinstance(model, nn.Module)
        step = trainer.global_step
        # As it was recorded: Lightning's own metrics are rounded to float32.
        score = float(pl_module.latest[f"valid/{self.monitor}"])  # type: ignore[index]
        if self.limits is not None:
            self.limits.count(trainer, score)
        is_better = self.best is None or self._cost(score) < self._cost(self.best)
        if is_better:
            self.best, self.best_step = score, step
        old: Sequence[int] = ()
        if self.average:
            old = self._rank({**self.scores, step: score})
        if trainer.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            if is_better:
                save_weights(model, self.folder / "best.safetensors")
            if self.is_moving:
                save_weights(model, self.folder / "average.safetensors")
            if step in self.scores:
                save_weights(model, self.snapshot(step))
        self.save_state(trainer)
        if trainer.is_global_zero:
            for k in old:
                self.snapshot(k).unlink(missing_ok=True)

    def _rank(self, scores: dict[int, float]) -> Sequence[int]:
        """Choose what is kept to be averaged. Returns: the steps that fell out."""
        best_first = sorted(scores, key=lambda k: (self._cost(scores[k]), k))
        order = best_first if self.keep == "best" else sorted(scores, reverse=True)
        self.scores = {k: scores[k] for k in order[: self.average]}
        return order[self.average :]

    def _cost(self, score: float) -> float:
        """The score as a number to be low; what is no number is the worst."""
        if math.isnan(score):
            return math.inf
        return score if self.monitor == "nll" else -score

    def save_state(self, trainer: L.Trainer) -> None:
        """Write ``last.ckpt``; a run killed meanwhile keeps the previous one. The model holds what is trained afterwards."""
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / "last.ckpt.part"
        with trainer.lightning_module.state_weights():  # type: ignore[operator]
            trainer.save_checkpoint(aside)
        if trainer.is_global_zero:
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(aside, self.folder / "last.ckpt")

    def snapshot(self, step: int) -> Path:
        """The file of the weights after a step."""
        return self.folder / f"step-{step:08d}.safetensors"

    def write_average(self) -> Path | None:
        """The mean of the kept weights; None if none are kept."""
        if not self.scores:
            return None
        path = self.folder / "average.safetensors"
        average_weights([self.snapshot(k) for k in self.kept], path)
        return path

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"best": self.best, "best_step": self.best_step, "scores": dict(self.scores)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best score and the files kept."""
        self.best, self.best_step = state_dict["best"], state_dict["best_step"]
        self.scores = {int(k): float(v) for k, v in state_dict["scores"].items()}
