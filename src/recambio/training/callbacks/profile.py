"""A few steps looked at closely: where their time goes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile

TEXT, TRACE = "profile.txt", "profile.trace.json"

_PRODUCTS = frozenset(
    {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addbmm", "mkldnn::_linear_pointwise"}
)
_RANGES = {
    "recambio::forward": "forward pass",
    "recambio::loss": "loss",
    "recambio::backward": "backward pass",
    "recambio::optimizer": "clipping and update",
}
_ROWS = 30


@dataclass(frozen=True)
class Shares:
    """Of the time between the first and the last profiled step's end.

    Attributes:
        seconds: That time.
        wait: Waiting for the loader.
        ranges: What the trainer does, by name.
        products: Matrix products, of the time that all operators take.
    """

    seconds: float
    wait: float
    ranges: dict[str, float]
    products: float


def shares(averages: Iterable[Any], seconds: float, waited: float, *, on_device: bool) -> Shares:
    """What a profile amounts to.

    Args:
        averages: ``key_averages()`` of a profile.
        seconds: How long it lasted.
        waited: How long of that the loader was waited for.
        on_device: Whether operators run on an accelerator, whose time counts then.
    """
    events = list(averages)
    total = "device_time_total" if on_device else "cpu_time_total"
    own = "self_device_time_total" if on_device else "self_cpu_time_total"
    operators = [e for e in events if e.key.startswith(("aten::", "mkldnn::", "triton", "_Fused"))]
    all_own = sum(getattr(e, own) for e in operators)
    products = sum(getattr(e, own) for e in operators if e.key in _PRODUCTS)
    ranges = {
        name: sum(getattr(e, total) for e in events if e.key == key) / (seconds * 1e6) for key, name in _RANGES.items()
    }
    return Shares(seconds, waited / seconds, ranges, products / all_own if all_own else 0.0)


class Profile(L.Callback):
    """Profiles some steps with ``torch.profiler`` and writes ``profile.txt`` and a trace for chrome://tracing or Perfetto.

    It looks and changes nothing: the same weights come out. The first process profiles itself. A validation ends the window early,
    for it is no training.

    Args:
        folder: Where the two files go.
        warmup: Steps before, in which kernels are chosen and memory is reserved.
        steps: How many are profiled.
    """

    def __init__(self, folder: Path, warmup: int = 3, steps: int = 5) -> None:
        self.folder = folder
        self.warmup = warmup
        self.steps = steps
        self._seen = 0
        self._first = 0
        self._since = self._waited = 0.0
        self._profile: profile | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin after the warm-up; count what this step waited for."""
        if self._profile is not None:
            self._waited += batch.wait
        elif self._seen == self.warmup and trainer.is_global_zero:
            activities = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(ProfilerActivity.CUDA)
            self._profile = profile(activities=activities)
            self._profile.start()
            self._first, self._since, self._waited = trainer.global_step + 1, time.perf_counter(), 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End after so many steps."""
        self._seen += 1
        if self._seen == self.warmup + self.steps:
            self._finish(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What was seen until here is written."""
        self._finish(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that is shorter than the window."""
        self._finish(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stop looking."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _finish(self, trainer: L.Trainer) -> None:
        if self._profile is None:
            return
        seen, self._profile = self._profile, None
        on_device = torch.cuda.is_available() and trainer.strategy.root_device.type == "cuda"
        if on_device:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._since
        seen.stop()
        averages = seen.key_averages()
        found = shares(averages, seconds, self._waited, on_device=on_device)
        table = averages.table(
            sort_by=f"self_{'device' if on_device else 'cpu'}_time_total", row_limit=_ROWS, max_name_column_width=60
        )
        window = f"steps {self._first} to {trainer.global_step}"
        (self.folder / TEXT).write_text(
            f"{report(found, window, trainer.global_step + 1 - self._first)}\n\n{table}", "utf-8"
        )
        seen.export_chrome_trace(str(self.folder / TRACE))


def report(found: Shares, window: str, steps: int) -> str:
    """The head of ``profile.txt``."""
    lines = [f"{window}: {found.seconds / max(steps, 1) * 1e3:.1f} ms a step", "", "share of that time"]
    lines += [f"  {name:<20} {share:6.1%}" for name, share in {"waiting for data": found.wait, **found.ranges}.items()]
    lines += [
        "",
        f"matrix products: {found.products:.1%} of the time of all operators",
        "",
        "operators by their own time",
    ]
    return "\n".join(lines)
