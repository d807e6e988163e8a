"""Where the time of a step goes: what the loader is waited for, and the shares of a profile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import IterableDataset

from recambio.training import datamodule
from recambio.training.callbacks.profile import TEXT, TRACE, Profile, shares
from recambio.training.datamodule import TimedLoader
from recambio.training.module import StepBatch, TranslationModule
from tests.unit.test_training_step import SENTENCES, batch, module

PASSES = {"waiting for data", "forward pass", "loss", "backward pass", "clipping and update"}


class _Slow(IterableDataset[StepBatch]):
    """Steps that take their time to be made."""

    def __init__(self, count: int, seconds: float, sleep: Any = time.sleep) -> None:
        self.count, self.seconds, self.sleep = count, seconds, sleep

    def __iter__(self) -> Iterator[StepBatch]:
        for seed in range(self.count):
            self.sleep(self.seconds)
            parts = [batch(SENTENCES, seed)]
            yield StepBatch(parts, parts[0].source_tokens, parts[0].target_tokens, 0)


def test_a_step_knows_how_long_it_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    class Time:
        @staticmethod
        def perf_counter() -> float:
            return clock[0]

    def pass_time(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(datamodule, "time", Time)
    waits = []
    for step in TimedLoader(_Slow(3, 0.25, pass_time), batch_size=None):
        pass_time(100.0)  # training is not waiting
        waits.append(step.to("cpu").wait)
    assert waits == [0.25] * 3


def trained(
    folder: Path, seconds: float, steps: int = 12, callbacks: list[L.Callback] | None = None
) -> TranslationModule:
    fitted = module()
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    fitted.log_every = steps
    trainer.fit(fitted, TimedLoader(_Slow(steps, seconds), batch_size=None))
    return fitted


def test_the_share_of_waiting_is_recorded(tmp_path: Path) -> None:
    since = time.perf_counter()
    slow = trained(tmp_path, 0.1).latest["train/wait"]
    elapsed = time.perf_counter() - since
    # It slept 1.2 s of a time that is no longer than the whole fit.
    assert 1.2 / elapsed * 0.9 < slow <= 1.0 and slow > 0.5
    assert trained(tmp_path, 0.0).latest["train/wait"] < 0.3


def test_shares_of_a_profile() -> None:
    matrix = torch.randn(400, 400)

    def products(count: int) -> None:
        for _ in range(count):
            matrix @ matrix

    products(3)
    since = time.perf_counter()
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        with record_function("recambio::forward"):
            products(60)
        with record_function("recambio::loss"):
            for _ in range(60):
                matrix.exp()
        time.sleep(0.1)
    seconds = time.perf_counter() - since
    found = shares(seen.key_averages(), seconds, 0.1, on_device=False)
    own = {e.key: e.self_cpu_time_total for e in seen.key_averages()}
    assert found.products == pytest.approx(own["aten::mm"] / (own["aten::mm"] + own["aten::exp"]), abs=0.1)
    assert found.kinds["other operators"] == pytest.approx(1 - found.products, abs=0.01)
    assert found.wait == pytest.approx(0.1 / seconds)
    assert found.ranges["forward pass"] > 3 * found.ranges["loss"] > 0
    assert found.ranges["backward pass"] == 0
    assert found.wait + sum(found.ranges.values()) <= 1.0


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::mm", "matrix products"),
        ("aten::mm_like", "other operators"),
        ("mkldnn::_linear_pointwise", "matrix products"),
        ("aten::_scaled_dot_product_flash_attention_backward", "attention kernels"),
        ("aten::_fused_rms_norm_backward", "norms"),
        ("aten::native_layer_norm", "norms"),
        ("aten::_fused_adamw_", "update"),
        ("aten::_foreach_mul_", "update"),
        ("aten::_foreach_copy_", "copies and casts"),
        ("triton_poi_fused_add_0", "compiled layers"),
        ("CompiledFunctionBackward", "compiled layers"),
        ("aten::bernoulli_", "dropout"),
    ],
)
def test_kinds_of_operators(operator: str, kind: str) -> None:
    found = shares([row(operator, cpu=5.0)], 1.0, 0.0, on_device=False)
    assert {k for k, value in found.kinds.items() if value} == {kind}


def row(key: str, cpu: float = 0.0, device: float = 0.0, own: float = 0.0, on: DeviceType = DeviceType.CPU) -> Any:
    """A row of ``key_averages()``, times in microseconds."""
    return SimpleNamespace(
        key=key,
        device_type=on,
        cpu_time_total=cpu,
        self_cpu_time_total=cpu,
        device_time_total=device,
        self_device_time_total=own,
    )


def test_shares_of_a_profile_on_a_device() -> None:
    # As torch.autograd.profiler gives them: a device's kernels and its copies of the ranges have rows beside the operators that started
    # them, and the range around the backward pass, whose kernels another thread starts, has none of their time.
    found = shares(
        [
            row("recambio::forward", cpu=900.0, device=200.0),
            row("recambio::forward", device=250.0, own=250.0, on=DeviceType.CUDA),
            row("recambio::backward", cpu=900.0),
            row("autograd::engine::evaluate_function: MmBackward0", cpu=10.0, device=300.0),
            row("autograd::engine::evaluate_function: CompiledFunctionBackward", cpu=10.0, device=100.0),
            row("aten::mm", cpu=5.0, device=450.0, own=450.0),
            row("triton_poi_fused_add_0", cpu=5.0, device=150.0, own=150.0),
            row("triton_poi_fused_add_0", device=150.0, own=150.0, on=DeviceType.CUDA),
            row("void gemm_kernel", device=450.0, own=450.0, on=DeviceType.CUDA),
        ],
        1e-3,
        0.0,
        on_device=True,
    )
    assert found.ranges["forward pass"] == pytest.approx(0.2)
    assert found.ranges["backward pass"] == pytest.approx(0.4)
    assert found.products == pytest.approx(0.75) and found.kinds["compiled layers"] == pytest.approx(0.25)


def test_a_profile_changes_nothing_and_names_where_the_time_goes(tmp_path: Path) -> None:
    seen, plain = trained(tmp_path, 0.02, callbacks=[Profile(tmp_path)]), trained(tmp_path, 0.0)
    for (name, a), b in zip(seen.model.named_parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    text = (tmp_path / TEXT).read_text()
    assert text.startswith("steps 4 to 8: ")
    share = {
        line.rsplit(None, 1)[0].strip(): float(line.rsplit(None, 1)[1][:-1])
        for line in text.splitlines()
        if line.endswith("%")
    }
    passes, kinds = ({k: v for k, v in share.items() if (k in PASSES) == wanted} for wanted in (True, False))
    assert set(passes) == PASSES and all(value > 0 for value in passes.values()) and sum(passes.values()) <= 101
    assert passes["waiting for data"] > 10
    assert kinds["matrix products"] > 0 and kinds["norms"] > 0 and kinds["compiled layers"] == 0
    assert sum(kinds.values()) == pytest.approx(100, abs=1)
    assert "aten::addmm" in text
    names = {event.get("name") for event in json.loads((tmp_path / TRACE).read_text())["traceEvents"]}
    assert {"recambio::loss", "recambio::optimizer", "aten::addmm"} <= names


def test_a_run_shorter_than_the_window_still_says_something(tmp_path: Path) -> None:
    trained(tmp_path, 0.0, steps=5, callbacks=[Profile(tmp_path)])
    assert (tmp_path / TEXT).read_text().startswith("steps 4 to 5: ")
    (tmp_path / TEXT).unlink()
    trained(tmp_path, 0.0, steps=2, callbacks=[Profile(tmp_path)])
    assert not (tmp_path / TEXT).exists()
