"""A mixture of formats from the command line: prepared, trained, killed and resumed, reported."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from recambio.data.grammar import generate

CONFIG = """
extends: micro.yaml
name: mixed
data:
  root: data
  corpus:
    name: mixture
    parts:
      - {name: jsonl, train: own.jsonl}
      - {name: huggingface, path: Helsinki-NLP/opus-100, config: en-es}
    labels: [own, opus]
    weights: [2.5, 0.5]
training: {max_steps: 30}
"""


@pytest.fixture
def mixed(project: Path) -> Path:
    """``experiments/mixed.yaml`` with its data: 120 pairs in JSON Lines, 500 in the layout of OPUS-100."""
    pairs = [{"translation": {"en": p.source, "es": p.target}} for p in generate("train", 640, seed=3)]
    base = project / "data" / "Helsinki-NLP" / "opus-100" / "en-es"
    base.mkdir(parents=True)
    (project / "data" / "own.jsonl").write_text(
        "".join(json.dumps(p) + "\n" for p in [*pairs[:120], pairs[0], 5]), "utf-8"
    )
    for split, part in {"train": pairs[120:620], "validation": pairs[620:630], "test": pairs[630:]}.items():
        pq.write_table(pa.Table.from_pylist(part), base / f"{split}-00000-of-00001.parquet")
    (project / "experiments" / "mixed.yaml").write_text(CONFIG)
    return project


def test_a_mixture_is_prepared_trained_and_resumed(  # type: ignore[no-untyped-def]
    recambio, start, mixed: Path
) -> None:
    prepared = recambio("data", "prepare", "mixed")
    assert prepared.returncode == 0, prepared.stderr
    for line in ("  own: 120 of 122 pairs kept (1 duplicate, 1 not JSON)", "  own: 2.5 times an epoch, 300 pairs"):
        assert line in prepared.stdout.splitlines(), prepared.stdout
    assert "own.jsonl:122" in prepared.stdout

    run = mixed / "runs" / "mixed"
    process = start(config="mixed")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (run / "checkpoints" / "last.ckpt").is_file():
        time.sleep(0.01)
    assert process.poll() is None, "ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    resumed = recambio("train", "mixed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    unbroken = recambio("train", "mixed", "--run", "runs/unbroken")
    assert unbroken.returncode == 0, unbroken.stderr
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (run, mixed / "runs" / "unbroken"))
    assert ours.keys() == theirs.keys() and all(bool((ours[key] == theirs[key]).all()) for key in ours)

    data = json.loads((run / "manifest.json").read_text())["data"]
    own, opus = data["parts"]
    assert own == {"name": "own", "pairs": 120, "weight": 2.5, "per_epoch": 300}
    assert opus["name"] == "opus" and opus["weight"] == 0.5 and opus["pairs"] == data["pairs"]["train"] - 120
    assert opus["per_epoch"] == int(opus["pairs"] / 2 + 0.5)
    assert data["train"]["parts"][0]["dropped"] == {"not JSON": 1, "duplicate": 1}
    assert "times an epoch" in (run / "report.html").read_text()


def test_the_library_offline_is_one_line(recambio, mixed: Path) -> None:  # type: ignore[no-untyped-def]
    result = recambio("data", "prepare", "mixed", "data.corpus={name: huggingface, path: no/such-set}")
    assert result.returncode == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: data.corpus.path: ") and "no folder data/no/such-set" in line
