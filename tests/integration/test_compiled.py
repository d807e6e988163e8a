"""``trainer.compile`` in whole runs: the same sentences, the losses of eager mode, and what a kill leaves of both.

Slow: torch compiles for minutes.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import torch

from recambio.training.compilation import SPENT
from tests.integration.test_reliability import SERVED, served
from tests.integration.test_training import kill_after_step, rows

pytestmark = pytest.mark.slow

PLUGIN = ("--plugin", "served.py", "training.log_every=1")
BAND = 1e-5
"""Between losses, relative; what was measured is 2e-7 between compiled and eager, and 0 between two compiled runs."""


@pytest.fixture
def train(recambio, project: Path):  # type: ignore[no-untyped-def]
    """``recambio train micro ...``, which notes what it trains on. Returns: its outputs, and that by step."""

    def trained(*arguments: str) -> tuple[subprocess.CompletedProcess[str], list[list[int]]]:
        (project / "served.py").write_text(SERVED)
        result = recambio("train", "micro", *PLUGIN, *arguments, timeout=1500)
        assert result.returncode == 0, result.stderr
        return result, served(project)

    return trained


def within(one: Path, other: Path, band: float) -> bool:
    """Whether two runs record the same, step by step: the losses and gradients of training, the losses of validations."""
    for a, b in zip(rows(one), rows(other), strict=True):
        assert a["step"] == b["step"]
        for key in ("train/loss", "train/nll", "train/grad_norm", "valid/nll"):
            assert bool(a.get(key)) == bool(b.get(key))
            if a.get(key) and float(a[key]) != pytest.approx(float(b[key]), rel=band):
                return False
    return True


def test_compiled_training_stays_within_a_band_of_eager(train, project: Path) -> None:  # type: ignore[no-untyped-def]
    """Without dropout, whose numbers compiled kernels draw by themselves (``unit/test_compiled_dropout.py``)."""
    _, plain = train("model.dropout=0", "--run", "runs/eager")
    compiled, same = train("model.dropout=0", "trainer.compile=true", "--run", "runs/compiled")
    assert plain == same and len(plain) == 40
    assert within(project / "runs" / "eager", project / "runs" / "compiled", BAND)
    made, budget = map(int, re.findall(r"trainer\.compile: (\d+) graphs of (\d+) by step 40", compiled.stderr)[-1])
    assert 2 <= made <= budget / 2 and SPENT not in compiled.stderr


def test_a_killed_compiled_run_goes_on_with_the_same_sentences_and_losses(  # type: ignore[no-untyped-def]
    train, start, project: Path
) -> None:
    """With dropout, whose numbers follow from (seed, step, rank) here too."""
    compiled = ("trainer.compile=true",)
    _, whole = train(*compiled, "--run", "runs/whole")
    run = project / "runs" / "micro"
    kill_after_step(start(*PLUGIN, *compiled), run, 15)
    reached = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert reached == 10
    before = served(project)
    _, after = train("--resume", *compiled)
    assert [step for step in before if step[0] < reached] + after == whole
    assert within(run, project / "runs" / "whole", BAND)
