"""Where the time of a step goes: what the loader is waited for, and the shares of a profile."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import IterableDataset

from recambio.training import datamodule
from recambio.training.callbacks.profile import TEXT, TRACE, Profile, shares
from recambio.training.datamodule import TimedLoader
from recambio.training.module import StepBatch, TranslationModule
from tests.unit.test_training_step import SENTENCES, batch, module


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
    assert found.wait == pytest.approx(0.1 / seconds)
    assert found.ranges["forward pass"] > 3 * found.ranges["loss"] > 0
    assert found.ranges["backward pass"] == 0
    assert found.wait + sum(found.ranges.values()) <= 1.0


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
    assert set(share) == {"waiting for data", "forward pass", "loss", "backward pass", "clipping and update"}
    assert all(value > 0 for value in share.values()) and sum(share.values()) <= 101
    assert share["waiting for data"] > 10
    assert "matrix products: " in text and "aten::addmm" in text
    names = {event.get("name") for event in json.loads((tmp_path / TRACE).read_text())["traceEvents"]}
    assert {"recambio::loss", "recambio::optimizer", "aten::addmm"} <= names


def test_a_run_shorter_than_the_window_still_says_something(tmp_path: Path) -> None:
    trained(tmp_path, 0.0, steps=5, callbacks=[Profile(tmp_path)])
    assert (tmp_path / TEXT).read_text().startswith("steps 4 to 5: ")
    (tmp_path / TEXT).unlink()
    trained(tmp_path, 0.0, steps=2, callbacks=[Profile(tmp_path)])
    assert not (tmp_path / TEXT).exists()
