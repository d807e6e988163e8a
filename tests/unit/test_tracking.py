"""Metrics on disk over kills and resumes, and W&B without an account, a terminal or a network."""

from __future__ import annotations

import csv
import inspect
import json
import multiprocessing
import os
import pickle
import struct
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from recambio.errors import InputError
from recambio.training.tracking import (
    CSVMetrics,
    MetricsFile,
    WandbRun,
    close_loggers,
    has_wandb_key,
    log_samples,
    log_scores,
    make_loggers,
    wandb_mode,
)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_appear_when_they_are_first_logged(tmp_path):
    (logger,) = make_loggers(tmp_path, {})
    assert not (tmp_path / "metrics.csv").exists()
    logger.log_metrics({"train/loss": 2.5, "epoch": 0.0}, step=10)
    logger.log_metrics({"train/loss": 0.1 + 0.2, "epoch": 0.0}, step=20)
    logger.log_metrics({"valid/nll": 1.5, "valid/bleu": float("nan")}, step=20)
    rows = rows_of(tmp_path / "metrics.csv")
    assert list(rows[0]) == ["step", "epoch", "train/loss", "valid/nll", "valid/bleu"]
    assert [r["step"] for r in rows] == ["10", "20", "20"]
    assert float(rows[1]["train/loss"]) == 0.1 + 0.2
    assert rows[2] == {"step": "20", "epoch": "", "train/loss": "", "valid/nll": "1.5", "valid/bleu": "nan"}


def test_resume_drops_what_will_come_again_and_keeps_the_rest(tmp_path):
    (first,) = make_loggers(tmp_path, {})
    for step in (10, 20, 30, 40):
        first.log_metrics({"train/loss": 1 / step}, step=step)
        first.log_metrics({"valid/nll": 1.0}, step=step)
    close_loggers([first])
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("15,0.0,")  # killed within a write, after as many cells as a whole row has
    (second,) = make_loggers(tmp_path, {}, resume_step=20)
    for step in (30, 40):
        second.log_metrics({"train/loss": 2 / step, "train/grad_norm": 1.0}, step=step)
    rows = rows_of(tmp_path / "metrics.csv")
    assert [(r["step"], r["train/loss"] != "") for r in rows] == [
        ("10", True),
        ("10", False),
        ("20", True),
        ("20", False),
        ("30", True),
        ("40", True),
    ]
    assert [r["train/grad_norm"] for r in rows] == ["", "", "", "", "1.0", "1.0"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.csv"]


def test_a_resume_at_an_unknown_step_never_runs_backwards(tmp_path):
    """The first row decides: what lies behind it stays, what it repeats goes, another metric of its step stays."""
    path = tmp_path / "metrics.csv"
    written = [(1, "train"), (2, "train"), (2, "valid"), (3, "train"), (4, "valid")]

    def resumed(*rows: tuple[int, str]) -> list[tuple[str, str]]:
        path.unlink(missing_ok=True)
        for part in (written, rows):
            file = MetricsFile(path)
            for step, name in part:
                file.write({"step": step, "epoch": 0.0, name: 0.5})
            file.close()
        return [(r["step"], "train" if r["train"] else "valid") for r in rows_of(path)]

    text = [(str(step), name) for step, name in written]
    assert resumed((3, "train"), (4, "train")) == [*text[:3], ("3", "train"), ("4", "train")]
    assert resumed((2, "valid")) == [*text[:2], ("2", "valid")]
    assert resumed((3, "valid")) == [*text[:4], ("3", "valid")]
    assert resumed((9, "train")) == [*text, ("9", "train")]


def test_closing_and_going_on_in_one_process_keeps_every_row(tmp_path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for _ in range(3):
        file.write({"step": 1, "x": 1.0})
        file.close()
    assert len(rows_of(file.path)) == 3


def test_a_torn_header_is_no_loss(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,tra")
    file = MetricsFile(path)
    file.write({"step": 1, "train/loss": 2.0})
    assert rows_of(path) == [{"step": "1", "train/loss": "2.0"}]


def _write_for_ever(path: Path, written: Any) -> None:
    file = MetricsFile(path)
    while True:
        file.write({"step": written.value, "loss": 1.0 / (written.value + 1)})
        written.value += 1


def test_killed_run_keeps_every_row_it_wrote(tmp_path):
    context = multiprocessing.get_context("fork")
    written = context.Value("q", 0, lock=False)
    process = context.Process(target=_write_for_ever, args=(tmp_path / "metrics.csv", written))
    process.start()
    while written.value < 500:
        time.sleep(0.001)
    process.kill()
    process.join()
    rows = rows_of(tmp_path / "metrics.csv")
    assert len(rows) >= written.value >= 500
    assert [int(r["step"]) for r in rows] == list(range(len(rows)))


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers = make_loggers(tmp_path, {}, wandb=True)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    for logger in loggers:
        logger.log_metrics({"x": 1.0}, step=1)
    log_scores(loggers, {"a": {"bleu": {"score": 1.0}}})
    log_samples(loggers, 1, "a", [])
    assert loggers[1].run is None
    close_loggers(loggers)
    assert list(tmp_path.iterdir()) == []


def test_a_row_costs_little(tmp_path):
    logger = CSVMetrics(tmp_path)
    metrics = {f"train/{i}": i / 7 for i in range(8)}
    logger.log_metrics(metrics, step=0)
    times = []
    for step in range(1, 300):
        since = time.perf_counter()
        logger.log_metrics(metrics, step=step)
        times.append(time.perf_counter() - since)
    assert sorted(times)[150] < 1e-3


# Weights & Biases -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "netrc", "mode"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": "k"}, None, "online"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, None, "offline"),
        ({"WANDB_MODE": "dryrun"}, None, "offline"),
        ({"WANDB_MODE": "disabled"}, None, "disabled"),
        ({"WANDB_MODE": "online", "WANDB_API_KEY": "k"}, None, "online"),
        ({}, "machine api.wandb.ai login user password secret", "online"),
        ({}, "machine example.org login user password secret", "offline"),
        ({"WANDB_BASE_URL": "https://example.org"}, "machine example.org login user password secret", "online"),
        ({}, "machine machine machine", "offline"),
    ],
)
def test_mode_without_a_question(environment, netrc, mode, tmp_path):
    if netrc is not None:
        (tmp_path / ".netrc").write_text(netrc)
        (tmp_path / ".netrc").chmod(0o600)
    assert wandb_mode({"HOME": str(tmp_path), **environment}) == mode


def test_online_without_a_key_is_refused_and_so_are_unknown_modes(tmp_path):
    with pytest.raises(InputError, match="WANDB_MODE: 'online' needs a key; run `wandb login`"):
        wandb_mode({"HOME": str(tmp_path), "WANDB_MODE": "online"})
    with pytest.raises(InputError, match="WANDB_MODE: unknown mode 'onlin'"):
        wandb_mode({"HOME": str(tmp_path), "WANDB_MODE": "onlin"})
    with pytest.raises(InputError, match=r"tracking.wandb.mode: 'online' needs a key"):
        wandb_mode({"HOME": str(tmp_path)}, "online")
    assert wandb_mode({"HOME": str(tmp_path), "WANDB_API_KEY": "k"}, "offline") == "offline"
    assert wandb_mode({"HOME": str(tmp_path), "WANDB_MODE": "offline"}, "disabled") == "offline"
    assert not has_wandb_key({"HOME": str(tmp_path)})


def test_missing_package_and_unknown_options(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"tracking.wandb.projekt: unknown option; it takes project, entity"):
        make_loggers(tmp_path, {}, wandb={"projekt": "x"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'recambio\[wandb\]'"):
        make_loggers(tmp_path, {}, wandb=True)
    assert [type(x) for x in make_loggers(tmp_path, {}, wandb=False)] == [CSVMetrics]
    assert make_loggers(tmp_path, {}, csv=False) == []


class FakeRun:
    """Records calls as W&B's run would get them."""

    def __init__(self, **arguments: object) -> None:
        self.arguments = arguments
        self.rows: list[dict[str, object]] = []
        self.summary: dict[str, object] = {}
        self.metrics: list[tuple[object, ...]] = []
        self.exit_code: int | None = None

    # What stands below has the arguments of W&B's own, as the next test sees to.

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        assert step is None and commit is None
        self.rows.append(data)

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
    ) -> None:
        self.metrics.append((name, {"step_metric": step_metric} if step_metric else {}))

    def finish(self, exit_code: int | None = None) -> None:
        self.exit_code = exit_code


@pytest.mark.parametrize("name", ["log", "define_metric", "finish"])
def test_the_fake_takes_what_the_real_run_takes(name):
    wandb = pytest.importorskip("wandb")

    def arguments(of: Any) -> list[tuple[str, object, object]]:
        return [(p.name, p.kind, p.default) for p in inspect.signature(getattr(of, name)).parameters.values()]

    assert arguments(FakeRun) == arguments(wandb.Run)


@pytest.fixture
def fake_wandb(monkeypatch):
    wandb = pytest.importorskip("wandb")
    runs: list[FakeRun] = []

    def init(**arguments: object) -> FakeRun:
        runs.append(FakeRun(**arguments))
        return runs[-1]

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_MODE", "offline")
    return runs


def test_one_start_one_id_own_step(fake_wandb, tmp_path):
    """P21: one init a segment, the same id over segments, a step that goes on."""
    for segment, steps in enumerate(([1, 2], [3])):
        (logger,) = make_loggers(tmp_path, {"seed": 7}, csv=False, wandb={"project": "mt", "tags": ["a"]})
        assert len(fake_wandb) == segment
        logger = pickle.loads(pickle.dumps(logger))
        for step in steps:
            logger.log_metrics({"train/loss": 1.0}, step=step)
        log_scores([logger], {"test": {"bleu": {"score": 31.5, "signature": "s", "low": 30.0, "high": 33.0}, "n": 4}})
        close_loggers([logger])
    first, second = fake_wandb
    assert first.arguments["id"] == second.arguments["id"] == (tmp_path / "wandb" / "id").read_text().strip()
    assert first.arguments["mode"] == "offline" and first.arguments["resume"] == "allow"
    assert first.arguments["dir"] == str(tmp_path) and first.arguments["config"] == {"seed": 7}
    assert first.arguments["project"] == "mt" and first.arguments["tags"] == ["a"]
    assert [row["step"] for run in fake_wandb for row in run.rows] == [1, 2, 3]
    assert ("*", {"step_metric": "step"}) in first.metrics
    assert first.summary["eval/test/bleu"] == 31.5 and first.summary["eval/test/bleu/low"] == 30.0
    assert first.exit_code == second.exit_code == 0


def test_a_run_that_failed_says_so(fake_wandb, tmp_path):
    (logger,) = make_loggers(tmp_path, {}, csv=False, wandb=True)
    logger.log_metrics({"x": 1.0}, step=1)
    logger.finalize("success")
    assert fake_wandb[0].exit_code is None, "the final evaluation belongs to it"
    logger.finalize("failed")
    assert fake_wandb[0].exit_code == 1


def test_given_id_wins(fake_wandb, tmp_path):
    (logger,) = make_loggers(tmp_path, {}, csv=False, wandb=True, resume_id="abc")
    logger.log_metrics({}, step=1)
    assert fake_wandb[0].arguments["id"] == "abc" and logger.version == "abc"


def test_without_a_network_the_run_is_logged_offline(fake_wandb, tmp_path, monkeypatch):
    import wandb

    start = wandb.init

    def unreachable(**arguments: object) -> FakeRun:
        if arguments["mode"] == "online":
            raise wandb.errors.CommError("timed out")
        return start(**arguments)

    monkeypatch.setattr(wandb, "init", unreachable)
    logger = WandbRun(tmp_path, {}, "online", "tiny")
    with pytest.warns(UserWarning, match=r"W&B can't be reached \(timed out\); logging offline"):
        logger.log_metrics({"x": 1.0}, step=1)
    assert fake_wandb[0].arguments["mode"] == "offline" and fake_wandb[0].rows == [{"step": 1, "x": 1.0}]


def test_a_failure_of_wandb_does_not_stop_training(fake_wandb, tmp_path, monkeypatch):
    (logger,) = make_loggers(tmp_path, {}, csv=False, wandb=True)
    logger.log_metrics({"x": 1.0}, step=1)
    monkeypatch.setattr(FakeRun, "log", lambda self, data: 1 / 0)
    with pytest.warns(UserWarning, match="W&B failed .*; the run goes on without it"):
        logger.log_metrics({"x": 1.0}, step=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_metrics({"x": 1.0}, step=3)
    assert len(fake_wandb) == 1


def records(path: Path) -> list[object]:
    """The protobuf records of a ``.wandb`` file: LevelDB's log format after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, position, found, buffer = path.read_bytes(), 7, [], b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        buffer += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(buffer)
            found.append(record)
            buffer = b""
    return found


OFFLINE = """
import sys, time
from pathlib import Path
from recambio.training.tracking import close_loggers, log_final, make_loggers
options = {"project": "mt", "entity": None, "mode": None, "tags": []}
config = {"model": {"d_model": 64}, "seed": 3, "tracking": {"wandb": options}}
sample = {"source": "a", "reference": "b", "hypothesis": "<script>", "is_exact": False}
scores = {"bleu": {"score": 31.25, "signature": "nrefs:1", "low": 30.0, "high": 32.0}, "samples": [sample]}
def segment(start, end):
    loggers = make_loggers(Path(sys.argv[1]), config, wandb=options, run_name="tiny", resume_step=start)
    for step in range(start + 1, end + 1):
        for logger in loggers:
            logger.log_metrics({"train/loss": 1 / step}, step=step)
    if start:
        log_final(Path(sys.argv[1]), config, {"sets": {"test": scores}})
    close_loggers(loggers)
segment(0, 5)
time.sleep(1.1)  # W&B names a segment's folder by the second
segment(5, 8)
"""


def test_offline_without_account_or_terminal(tmp_path):
    """The real W&B in a process of its own, two segments of a run: config, both halves of the curve, table and summary are on disk."""
    pytest.importorskip("wandb")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and k != "NETRC"}
    environment |= {"HOME": str(tmp_path / "home"), "NETRC": str(tmp_path / "none")}
    (tmp_path / "home").mkdir()
    run_dir = tmp_path / "tiny"
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(run_dir)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "W&B failed" not in done.stderr and "Error" not in done.stderr, done.stderr
    run_id = (run_dir / "wandb" / "id").read_text().strip()
    files = sorted(run_dir.glob(f"wandb/offline-run-*/run-{run_id}.wandb"))
    assert files
    seen, config, summary, table = [], {}, {}, 0
    for record in (r for path in files for r in records(path)):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = {item.nested_key[0] if item.nested_key else item.key: item.value_json for item in record.history.item}
            if "train/loss" in row:
                seen.append((json.loads(row["step"]), json.loads(row["train/loss"])))
            table += any(k == "samples/test" for k in row)
        elif kind == "run":
            assert record.run.run_id == run_id and record.run.display_name == "tiny"
            config |= {u.key: json.loads(u.value_json) for u in record.run.config.update}
        elif kind == "summary":
            summary |= {u.key: u.value_json for u in record.summary.update}
    assert sorted(seen) == [(step, 1 / step) for step in range(1, 9)]
    assert config["model"] == {"d_model": 64} and config["seed"] == 3
    assert json.loads(summary["eval/test/bleu"]) == 31.25 and table == 1
    assert list(run_dir.glob("wandb/offline-run-*/files/media/table/samples/*.json"))
    assert [int(r["step"]) for r in rows_of(run_dir / "metrics.csv")] == list(range(1, 9))
