"""A few steps looked at closely: where their time goes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

TEXT, TRACE = "profile.txt", "profile.trace.json"

_OPERATORS = ("aten::", "mkldnn::", "triton", "_Fused", "CompiledFunction", "Torch-Compiled Region", "## Call Compiled")
_PRODUCTS = "matrix products"
_OTHER = "other operators"
_KINDS = {
    _PRODUCTS: r"aten::(mm|addmm|bmm|baddbmm|addbmm)$|mkldnn::_linear",
    "attention kernels": r"aten::.*attention",
    "norms": r"aten::.*(layer|rms)_norm|_Fused.*Norm",
    "softmax": r"aten::.*softmax",
    "dropout": r"aten::.*dropout|aten::(bernoulli|random|uniform|rand)",
    "copies and casts": r"aten::(copy_|cat|_foreach_copy|index_select|gather)",
    "update": r"aten::(_foreach|_fused|linalg_vector_norm)",
    # The call of a compiled graph: on a CPU its kernels have no name of their own.
    "compiled layers": r"triton|CompiledFunction|Torch-Compiled|## Call",
}
"""Kinds of operators: the first whose expression matches the start of the name."""
_RANGES = {
    "recambio::forward": "forward pass",
    "recambio::loss": "loss",
    "recambio::backward": "backward pass",
    "recambio::optimizer": "clipping and update",
}
_BACKWARD = "backward pass"
_NODES = "autograd::engine::evaluate_function"
_ROWS = 30


@dataclass(frozen=True)
class Shares:
    """Of the time between the first and the last profiled step's end.

    Attributes:
        seconds: That time.
        wait: Waiting for the loader.
        ranges: What the trainer does, by name.
        kinds: Kinds of operators, of the time that all operators take.
    """

    seconds: float
    wait: float
    ranges: dict[str, float]
    kinds: dict[str, float]

    @property
    def products(self) -> float:
        """Matrix products, of the time that all operators take."""
        return self.kinds[_PRODUCTS]


def shares(averages: Iterable[Any], seconds: float, waited: float, *, on_device: bool) -> Shares:
    """What a profile amounts to.

    Args:
        averages: ``key_averages()`` of a profile.
        seconds: How long it lasted.
        waited: How long of that the loader was waited for.
        on_device: Whether operators run on an accelerator, whose time counts then.
    """
    # A device's own rows, its kernels and its copy of each range, are what the operators that started them have been given already.
    events = [e for e in averages if e.device_type == DeviceType.CPU]
    total = "device_time_total" if on_device else "cpu_time_total"
    own = "self_device_time_total" if on_device else "self_cpu_time_total"

    def share(is_meant: Callable[[str], bool]) -> float:
        return float(sum(getattr(e, total) for e in events if is_meant(e.key)) / (seconds * 1e6))

    ranges = {name: share(key.__eq__) for key, name in _RANGES.items()}
    if on_device:
        # Autograd starts a device's kernels from a thread of its own, which the range around the call knows nothing of.
        ranges[_BACKWARD] = share(lambda key: key.startswith(_NODES))
    kinds = dict.fromkeys([*_KINDS, _OTHER], 0.0)
    for event in events:
        if event.key.startswith(_OPERATORS):
            kinds[_kind(event.key)] += getattr(event, own)
    all_own = sum(kinds.values())
    return Shares(seconds, waited / seconds, ranges, {k: t / all_own if all_own else 0.0 for k, t in kinds.items()})


def _kind(operator: str) -> str:
    return next((kind for kind, expression in _KINDS.items() if re.match(expression, operator)), _OTHER)


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
        window = f"steps {self._first} to {trainer.global_step}"
        n_steps = trainer.global_step + 1 - self._first
        text = summary(seen, seconds, self._waited, window, n_steps, on_device=on_device)
        (self.folder / TEXT).write_text(text, "utf-8")
        seen.export_chrome_trace(str(self.folder / TRACE))


def summary(seen: profile, seconds: float, waited: float, window: str, steps: int, *, on_device: bool) -> str:
    """``profile.txt``: the shares, and the operators with the most time of their own.

    Args:
        seen: A profile that has been stopped.
        seconds: How long it lasted.
        waited: How long of that the loader was waited for.
        window: What was looked at, in words.
        steps: How many steps that was.
        on_device: Whether operators run on an accelerator, whose time counts then.
    """
    averages = seen.key_averages()
    by = f"self_{'device' if on_device else 'cpu'}_time_total"
    table = averages.table(sort_by=by, row_limit=_ROWS, max_name_column_width=60)
    return f"{report(shares(averages, seconds, waited, on_device=on_device), window, steps)}\n\n{table}"


def report(found: Shares, window: str, steps: int) -> str:
    """The head of ``profile.txt``."""
    lines = [f"{window}: {found.seconds / max(steps, 1) * 1e3:.1f} ms a step", "", "share of that time"]
    lines += [f"  {name:<20} {share:6.1%}" for name, share in {"waiting for data": found.wait, **found.ranges}.items()]
    lines += ["", "share of the time of all operators"]
    lines += [f"  {name:<20} {share:6.1%}" for name, share in found.kinds.items()]
    lines += ["", "operators by their own time"]
    return "\n".join(lines)
