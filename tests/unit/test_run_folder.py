"""Run folders: never overwritten, never half written, found again."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from recambio.errors import InputError
from recambio.experiment import run_folder
from recambio.experiment.run_folder import Manifest


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)


def make(name: str = "tiny", **values: object) -> Path:
    """A run folder with a manifest."""
    return run_folder.create(Manifest(name, 1, versions={}, git=None, **values))  # type: ignore[arg-type]


def test_folders_are_numbered_and_never_overwritten() -> None:
    assert [str(make()) for _ in range(3)] == ["runs/tiny", "runs/tiny-2", "runs/tiny-3"]
    (Path("runs/tiny-2") / "weights").write_text("precious")
    os.rename("runs/tiny", "elsewhere")
    assert str(make()) == "runs/tiny"
    assert str(make()) == "runs/tiny-4"
    assert Path("runs/tiny-2/weights").read_text() == "precious"
    assert str(make("tiny-2")) == "runs/tiny-2-2"


def _start(barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    results.put([str(make()) for _ in range(5)])  # type: ignore[attr-defined]


def test_starts_at_once_get_folders_of_their_own() -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_start, args=(barrier, results)) for _ in range(4)]
    for process in processes:
        process.start()
    made = [folder for _ in processes for folder in results.get(timeout=30)]
    for process in processes:
        process.join()
    assert len(set(made)) == 20
    assert {Path(f).name for f in made} == {"tiny", *(f"tiny-{i}" for i in range(2, 21))}


def _hold(folder: Path, is_held: Event) -> None:
    with run_folder.held(folder):
        is_held.set()
        time.sleep(60)


def test_one_process_trains_in_a_folder_until_it_dies() -> None:
    folder = make()
    context = multiprocessing.get_context("fork")
    is_held = context.Event()
    process = context.Process(target=_hold, args=(folder, is_held))
    process.start()
    assert is_held.wait(30)
    with pytest.raises(InputError, match=rf"runs/tiny: process {process.pid} trains in it"), run_folder.held(folder):
        pass
    process.kill()
    process.join()
    for _ in range(2):
        with run_folder.held(folder):
            pass


def test_manifest_round_trip() -> None:
    folder = make(data={"train": "abc"}, plugins=[{"spec": "p.py"}], tokens_seen=7, weights={"holds": "best"})
    manifest = run_folder.read_manifest(folder)
    assert (manifest.data, manifest.tokens_seen, manifest.weights, manifest.finished) == (
        {"train": "abc"},
        7,
        {"holds": "best"},
        False,
    )
    manifest.finished = True
    run_folder.write_manifest(folder, manifest)
    assert run_folder.read_manifest(folder) == manifest


def test_a_later_version_adds_keys_and_an_older_one_lacks_some() -> None:
    folder = make()
    values = json.loads((folder / "manifest.json").read_text())
    del values["versions"], values["git"], values["started"]
    (folder / "manifest.json").write_text(json.dumps({**values, "invented_later": 1}))
    manifest = run_folder.read_manifest(folder)
    # Nothing of this machine may be passed off as the run's.
    assert (manifest.versions, manifest.git, manifest.started) == ({}, None, "")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seed": 1}', '"x"'])
def test_a_damaged_manifest_is_wrong_input(text: str) -> None:
    folder = make()
    (folder / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"^runs/tiny/manifest\.json: can't be read: "):
        run_folder.read_manifest(folder)
    assert run_folder.all_runs() == []


def test_newest_and_unfinished() -> None:
    first = make(started="2026-01-01T00:00:00", finished=True)
    second = make(started="2026-01-03T00:00:00", finished=False)
    third = make(started="2026-01-02T00:00:00", finished=False)
    fourth = make(started="2026-01-04T00:00:00", finished=True)
    other = make("other", started="2026-01-05T00:00:00")
    Path("runs/empty").mkdir()
    assert run_folder.newest() == other
    assert run_folder.newest("tiny") == fourth
    assert run_folder.unfinished("tiny") == second
    assert [f for f, _ in run_folder.all_runs("tiny")] == [fourth, second, third, first]
    assert run_folder.unfinished("nothing") is None
    with pytest.raises(InputError, match=r"^no runs of 'nothing' under runs/: run `make train`"):
        run_folder.newest("nothing")


def test_runs_of_the_same_instant_are_ordered_by_number() -> None:
    folders = [make(started="2026-01-01T00:00:00") for _ in range(11)]
    assert run_folder.newest() == folders[-1]
    assert str(folders[-1]) == "runs/tiny-11"


def test_what_a_user_may_call_a_run() -> None:
    with pytest.raises(InputError, match=r"^no runs under runs/: run `make train` or `recambio train` first$"):
        run_folder.existing("newest")
    folder = make()
    assert run_folder.existing("tiny") == folder
    assert run_folder.existing("runs/tiny") == folder
    assert run_folder.existing(folder.resolve()) == folder.resolve()
    assert run_folder.existing("newest") == folder
    with pytest.raises(InputError) as caught:
        run_folder.existing("tinny")
    assert caught.value.problems == ["tinny: no such run. Did you mean 'runs/tiny'? Under runs/: tiny"]
    Path("other").mkdir()
    with pytest.raises(InputError, match=r"^other: is no run folder \(it has no manifest\.json\)$"):
        run_folder.existing("other")


def git(*arguments: str) -> str:
    """Run git in the working folder."""
    identity = ["-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_git_state() -> None:
    assert run_folder.git_state() is None
    git("init", "-q")
    assert run_folder.git_state() == {"commit": None, "dirty": False}
    Path("a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD")
    assert run_folder.git_state() == {"commit": head, "dirty": False}
    Path("a").write_text("2")
    assert run_folder.git_state() == {"commit": head, "dirty": True}


def test_git_may_be_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert run_folder.git_state() is None


def test_versions_name_what_results_depend_on() -> None:
    found = run_folder.versions()
    assert set(found) == {"recambio", "python", "torch", "lightning", "sentencepiece", "sacrebleu"}
    assert all(isinstance(v, str) and v for v in found.values())
    assert dataclasses.asdict(Manifest("x", 1))["versions"] == found


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "1"}, False),
    ],
)
def test_first_process(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_first: bool) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run_folder.is_first_process() is is_first
