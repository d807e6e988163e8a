"""What a run survives: kills at any moment, signals, other numbers of ranks, the death of one of them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import phrases
from tests.integration.forks import PHASES, Forked, Moment
from tests.integration.test_training import rows, same_weights


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_at_any_moment_lose_nothing(  # type: ignore[no-untyped-def]
    kills: int, recambio, start, unbroken, project: Path
) -> None:
    """In the start, a step, a validation, at an epoch's edge, while a file is written: resumed in a loop, the run ends as one that went
    through. Each phase comes by turns; the first time the kill is within it, afterwards up to 30 ms later, wherever that is."""
    draw = random.Random(kills)
    often = "training.validate_every=10"
    most = {"start": 1, "step": 20, "validation": 2, "edge": 1, "file": 4}
    hit: Counter[str] = Counter()
    for number in range(kills):
        phase = PHASES[number % len(PHASES)]
        delay = 0.0 if number < len(PHASES) else draw.uniform(0.0001, 0.03)
        process = start(
            "--resume", "training.max_steps=1000000", often, moment=(phase, draw.randint(1, most[phase]), delay)
        )
        _, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, error
        hit[process.phase()] += 1
    assert {*PHASES} <= hit.keys(), hit
    reached = torch.load(project / "runs" / "micro" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    end = [f"training.max_steps={reached + 20}", often]
    last = recambio("train", "micro", "--resume", *end)
    assert last.returncode == 0, last.stderr
    assert same_weights(project / "runs" / "micro", unbroken(*end))
    assert rows(project / "runs" / "micro") == rows(unbroken(*end))


@pytest.mark.parametrize("counts", [(1, 4), pytest.param((2, 3, 5, 7), marks=pytest.mark.slow)], ids=["few", "more"])
def test_no_moment_of_a_checkpoint_is_the_wrong_one(  # type: ignore[no-untyped-def]
    counts: tuple[int, ...], recambio, start, unbroken, project: Path
) -> None:
    """Dead before, after and within each of the first files that are written, and of later ones: what is there is whole, or not there."""
    statuses = []
    moments: list[Moment] = [("after", 2)]  # the config, then two of the tokenizer's, are the first that are renamed
    for count in counts:
        moments += [("before", 3 + count), ("after", 3 + count), ("within", count)]
    for moment in moments:
        process = start("--resume", moment=moment)
        process.communicate()
        statuses.append(process.returncode)
    assert set(statuses) <= {-signal.SIGKILL, 0} and statuses.count(-signal.SIGKILL) >= 2 * len(counts), statuses
    assert recambio("train", "micro", "--resume").returncode == 0
    assert same_weights(project / "runs" / "micro", unbroken())
    run = project / "runs" / "micro"
    hidden = {path.name for path in [*run.rglob(".*"), *run.rglob("*.part")]}
    assert hidden == {".lock"}, "what a killed run left half done is there still"


def test_what_a_kill_at_the_end_leaves_over_is_removed(recambio, unbroken, project: Path) -> None:  # type: ignore[no-untyped-def]
    """Between the manifest that says that training is done and the removal of what was averaged."""
    run = shutil.copytree(unbroken(), project / "runs" / "micro")
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "finished": False}))
    assert manifest["trained"] and not list(run.rglob("step-*"))
    shutil.copy(run / "weights.safetensors", run / "checkpoints" / "step-00000040.safetensors")
    resumed = recambio("train", "micro", "--resume")
    assert resumed.returncode == 0 and "validation" not in resumed.stderr, resumed.stderr
    assert not list(run.rglob("step-*")) and same_weights(run, unbroken())


def waited(run: Path, process: Forked) -> None:
    """Until the run has recorded something."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (run / "metrics.csv").is_file():
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[1]


def members(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[2]) == group:
            found.append(int(folder.name))
    return found


def gone(group: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not members(group):
            return True
        time.sleep(0.1)
    return False


WATCHFUL = """
import atexit
import os
import time

from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from recambio.registry import LOSS
from recambio.training.losses.label_smoothing import LabelSmoothing

_ChildProcessObserver.__init__.__defaults__ = (0.01,)
if os.environ.get("LOCAL_RANK", "0") == "0":
    atexit.register(time.sleep, 0.5)


@LOSS.register("watchful")
class Watchful(LabelSmoothing):
    \"\"\"Label smoothing: a plugin has a part.\"\"\"
"""
"""Lightning looks at its ranks all the time, and the first takes longer to end than the others."""


@pytest.mark.parametrize("whom", ["first", "all"])
def test_sigterm_stops_two_ranks_after_the_same_step_with_the_state_saved(  # type: ignore[no-untyped-def]
    whom: str, recambio, start, unbroken, project: Path
) -> None:
    pair = ["model.dropout=0.1", "trainer.devices=2", "trainer.strategy=ddp", "training.accumulate=1"]
    far = ["training.max_steps=3000", "training.validate_every=1000"]
    (project / "watchful.py").write_text(WATCHFUL)
    process = start(*pair, *far, *(["--plugin", "watchful.py"] if whom == "all" else []))
    run = project / "runs" / "micro"
    waited(run, process)
    if whom == "first":
        os.kill(process.pid, signal.SIGTERM)
    else:
        os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert gone(process.pid, 10), "a rank is left behind"
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert f"interrupted: step {step} is saved in runs/micro; the same command with --resume goes on" in error
    if whom == "all":
        return  # the state is the same
    end = [*pair, f"training.max_steps={step + 8}", "training.validate_every=1000"]
    assert recambio("train", "micro", "--resume", *end).returncode == 0
    assert same_weights(run, unbroken(*end, is_whole=True))


@pytest.mark.parametrize("which", ["first", "other"])
def test_a_rank_that_dies_ends_the_run_with_an_error(which: str, start, project: Path) -> None:  # type: ignore[no-untyped-def]
    process = start("trainer.devices=2", "trainer.strategy=ddp", "training.max_steps=100000")
    waited(project / "runs" / "micro", process)
    (other,) = [pid for pid in members(process.pid) if pid != process.pid]
    os.kill(process.pid if which == "first" else other, signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode not in (0, None)
    assert gone(process.pid, 30), "a rank waits for the dead one"


HUNGRY = """
import os

import torch

from recambio.registry import LOSS
from recambio.training.losses.label_smoothing import LabelSmoothing


@LOSS.register("hungry")
class Hungry(LabelSmoothing):
    \"\"\"Runs out of memory on one rank only, which has the longer sentences.\"\"\"

    passed = 0

    def forward(self, hidden, weight, bias, targets):
        self.passed += self.training
        if self.passed > 15 and os.environ.get("LOCAL_RANK") == "1":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(hidden, weight, bias, targets)
"""


def test_a_rank_that_runs_out_of_memory_ends_the_run_with_its_line(start, project: Path) -> None:  # type: ignore[no-untyped-def]
    (project / "hungry.py").write_text(HUNGRY)
    process = start(
        *("--plugin", "hungry.py", "training.loss=hungry", "training.accumulate=1"),
        *("trainer.devices=2", "trainer.strategy=ddp"),
    )
    _, error = process.communicate(timeout=90)
    assert process.returncode not in (0, None), error
    assert gone(process.pid, 30), "the other rank waits for the one without memory"
    (line,) = [line for line in error.splitlines() if "out of memory" in line]
    assert line.startswith("error: out of memory at step 16 of training, in a batch of "), error
    assert "Traceback" not in error
    state = torch.load(project / "runs" / "micro" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 10


SERVED = """
from recambio.registry import LOSS
from recambio.training.losses.label_smoothing import LabelSmoothing
from recambio.training.module import TranslationModule

plain = TranslationModule.training_step


def training_step(self, batch, batch_idx):
    ids = [i for part in batch.batches if part.weight for i in part.ids.tolist()]
    with open(f"served-{self.global_rank}.txt", "a") as file:
        file.write(" ".join(map(str, [self.global_step, batch.epoch, *ids])) + "\\n")
    plain(self, batch, batch_idx)


TranslationModule.training_step = training_step


@LOSS.register("served")
class Served(LabelSmoothing):
    \"\"\"Label smoothing: a plugin has a part.\"\"\"
"""


def served(project: Path) -> list[list[int]]:
    """What each rank has been given since the last call: step, epoch, sentences."""
    files = [*project.glob("served-*.txt")]
    found = [[int(n) for n in line.split()] for file in files for line in file.read_text().splitlines()]
    for file in files:
        file.unlink()
    return found


def test_a_run_goes_on_with_other_numbers_of_ranks_and_takes_every_sentence_once_an_epoch(  # type: ignore[no-untyped-def]
    recambio, start, unbroken, project: Path
) -> None:
    """Two ranks, then one, then three: of what came before the checkpoints that they went on from, each sentence once in both epochs."""
    (project / "served.py").write_text(SERVED)
    epochs = ["training.max_steps=null", "training.max_epochs=2", "training.accumulate=1", "training.validate_every=3"]

    def on(ranks: int) -> list[str]:
        return [f"trainer.devices={ranks}", "trainer.strategy=ddp"] if ranks > 1 else []

    run = project / "runs" / "micro"
    segments = []
    for ranks, until in ((2, 6), (1, 14)):
        process = start("--resume", "--plugin", "served.py", *epochs, *on(ranks))
        checkpoint = run / "checkpoints" / "last.ckpt"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if checkpoint.is_file() and torch.load(checkpoint, weights_only=True, mmap=True)["global_step"] >= until:
                break
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[1]
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        segments.append(served(project))
    last = recambio("train", "micro", "--resume", "--plugin", "served.py", *epochs, *on(3))
    assert last.returncode == 0, last.stderr
    segments.append(served(project))
    broken, whole = (json.loads((r / "manifest.json").read_text()) for r in (run, unbroken(*epochs)))
    starts = [min(step for step, *_ in segment) for segment in segments]
    assert starts[0] == 0 and 6 <= starts[1] < starts[2]
    times = Counter(
        (epoch, sentence)
        for segment, end in zip(segments, [*starts[1:], broken["steps"]], strict=True)
        for step, epoch, *sentences in segment
        if step < end
        for sentence in sentences
    )
    assert times == Counter((epoch, i) for epoch in range(2) for i in range(broken["data"]["pairs"]["train"]))
    assert broken["tokens_seen"] == whole["tokens_seen"]
    assert broken["steps"] != whole["steps"]


def test_a_run_with_sampled_segmentations_goes_on_in_a_later_epoch(  # type: ignore[no-untyped-def]
    recambio, start, unbroken, project: Path
) -> None:
    """Killed in the second epoch; the decay to the end of the run is that of a run that went through."""
    few = ["data.corpus.train_size=200", "data.regularization.alpha=0.2", "training.schedule.name=linear"]
    few += [
        "training.schedule.warmup=5",
        "training.max_steps=null",
        "training.max_epochs=2",
        "training.validate_every=4",
    ]
    # The 23rd file that is renamed into place is one of the second epoch.
    killed = start("--resume", *few, moment=("after", 23))
    _, before = killed.communicate()
    assert killed.returncode == -signal.SIGKILL and "epoch 1" in before
    resumed = recambio("train", "micro", "--resume", *few)
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1" in resumed.stderr and "epoch 0" not in resumed.stderr
    assert "training ended: reached max_epochs=2" in resumed.stderr
    whole = unbroken(*few)
    assert same_weights(project / "runs" / "micro", whole)
    assert rows(project / "runs" / "micro") == rows(whole)


def test_validation_scores_every_sentence_once_on_more_ranks_than_sentences(  # type: ignore[no-untyped-def]
    recambio, project: Path
) -> None:
    """Loss and BLEU of the dev set are those of one process, on three ranks, of which one has no sentence.

    Both score the same weights: three ranks round their sums otherwise, and after 40 steps of their own would score others.
    """
    few = [*phrases(project, dev=2), "training.validate_every=40", "decoding.batch_tokens=16"]
    alone = recambio("train", "micro", "--run", "runs/alone", *few)
    assert alone.returncode == 0, alone.stderr
    unmoved = [
        "training.max_steps=2",
        "training.schedule.warmup=1",
        "training.optimizer.lr=1e-12",
        "training.validate_every=2",
    ]
    three = [*few, *unmoved, "training.init_from=runs/alone", "trainer.devices=3", "trainer.strategy=ddp"]
    ranks = recambio("train", "micro", "--run", "runs/three", *three)
    assert ranks.returncode == 0, ranks.stderr
    a, b = (next(r for r in rows(project / "runs" / n) if r.get("valid/nll")) for n in ("alone", "three"))
    assert float(a["valid/nll"]) == pytest.approx(float(b["valid/nll"]), rel=1e-5)
    assert float(a["valid/bleu"]) == pytest.approx(float(b["valid/bleu"]), abs=1e-6)
    assert float(a["valid/bleu"]) > 1, "a score of 0 would be the same of any sentences"


@pytest.mark.slow
def test_torchrun_on_two_nodes_trains_what_one_command_does(  # type: ignore[no-untyped-def]
    repository: Path, recambio, project: Path, environment: dict[str, str]
) -> None:
    """The script of the docs, one process on each of two "nodes", started together; then again, which finds the run finished."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    tail = ["training.max_steps=8", "training.accumulate=1", "model.dropout=0"]
    script = [str(repository / "docs" / "launch" / "torchrun.sh"), "micro", "runs/nodes", *tail]
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def node(number: int) -> subprocess.Popen[str]:
        variables = {"NODES": "2", "GPUS": "1", "NODE": str(number), "PORT": port, "PATH": path}
        return subprocess.Popen(
            script,
            cwd=project,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    for _ in range(2):
        nodes = [node(number) for number in (1, 0)]
        for process in nodes:
            _, error = process.communicate(timeout=240)
            assert process.returncode == 0, error
    recorded = rows(project / "runs" / "nodes")
    pair = recambio("train", "micro", "--run", "runs/pair", *tail, "trainer.devices=2", "trainer.strategy=ddp")
    assert pair.returncode == 0, pair.stderr
    assert recorded == rows(project / "runs" / "pair")
    assert same_weights(project / "runs" / "nodes", project / "runs" / "pair")
