"""The state that a run resumes from is on the disk before it takes the old one's place."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recambio.training.callbacks import Checkpoints


def test_the_state_is_on_the_disk_before_the_old_one_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: done.append("sync") or sync(number))
    monkeypatch.setattr(os, "replace", lambda a, b: done.append(Path(b).name) or replace(a, b))
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        lightning_module=SimpleNamespace(state_weights=nullcontext),
        save_checkpoint=lambda path: path.write_bytes(b"state"),
    )
    Checkpoints(tmp_path / "checkpoints").save_state(trainer)
    assert done == ["sync", "last.ckpt"]
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "checkpoints").iterdir()] == [("last.ckpt", b"state")]
