"""SIGTERM and ctrl-C outside the training loop: status 130, one line that says how to go on, and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.forks import Forked, Forks
from tests.integration.test_training import same_weights


def until(is_so: Callable[[], bool], process: Forked | subprocess.Popen[bytes]) -> None:
    """Wait for something of a process that lives."""
    deadline = time.monotonic() + 120
    while not is_so():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.001)


def catches(pid: int, number: int) -> bool:
    """Whether a process has taken over a signal."""
    mask = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) >> (number - 1) & 1)


def hidden(place: Path) -> set[str]:
    """What is half written somewhere below."""
    return {path.name for path in [*place.rglob(".*"), *place.rglob("*.part")]} - {".lock"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigterm_at_once_ends_with_130_and_a_line(project: Path, environment: dict[str, str]) -> None:
    """In a process of its own, as soon as the command has begun: it is importing then."""
    command = [sys.executable, "-m", "recambio", "train", "micro"]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: catches(process.pid, signal.SIGTERM), process)
    time.sleep(0.3)  # in the imports, which take some seconds
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b""), error
    assert error == b"interrupted: nothing was begun; the same command begins\n"
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("stage", "number"),
    [("clean", signal.SIGTERM), ("tokenizer", signal.SIGTERM), ("tokenizer", signal.SIGINT)],
    ids=["cleaning", "the vocabulary", "the vocabulary, ctrl-c"],
)
def test_an_interrupt_in_the_preparation(
    stage: str, number: int, project: Path, forks: Forks, environment: dict[str, str]
) -> None:
    own = {**environment, "RECAMBIO_CACHE": str(project / "cache")}
    process = forks.start(["train", "micro", "data.corpus.train_size=4000"], project, own)
    until(lambda: any((project / "cache" / stage).glob(".*")), process)
    os.kill(process.pid, number)
    _, error = process.communicate(60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == (
        "interrupted: what was prepared is kept in the cache; the same command goes on from there"
    )
    assert "Traceback" not in error and error.count("interrupted") == 1
    assert not (project / "runs").exists()
    assert not hidden(project / "cache"), "what was half prepared is there still"
    again = forks.start(["data", "prepare", "micro", "data.corpus.train_size=4000"], project, own)
    _, error = again.communicate(120)
    assert again.returncode == 0 and ("cleaning" in error) == (stage == "clean"), error


STUCK = """
import time

from recambio.decoding import Search
from recambio.registry import SEARCH


@SEARCH.register("stuck")
class Stuck(Search):
    \"\"\"Takes its time.\"\"\"

    def __call__(self, scorer, sources, max_lengths):
        open("decoding", "w").close()
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupt_in_the_final_evaluation(  # type: ignore[no-untyped-def]
    number: int, recambio, start, unbroken, project: Path
) -> None:
    (project / "plugin.py").write_text(STUCK)
    process = start("--plugin", "plugin.py", "decoding.search=stuck")
    until((project / "decoding").is_file, process)
    os.kill(process.pid, number)
    _, error = process.communicate(60)
    assert process.returncode == 130, error
    (line,) = [x for x in error.splitlines() if "interrupted" in x]
    assert line == (
        "interrupted: the training in runs/micro is finished; `recambio eval runs/micro` scores it, or the same command with "
        "--resume does, and writes the report"
    )
    assert "Traceback" not in error
    run = project / "runs" / "micro"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["trained"] and not manifest["finished"] and not hidden(run)
    assert not (run / "eval").exists() and same_weights(run, unbroken())
    beam = "decoding.search={name: beam, width: 2}"
    scored = recambio("eval", "runs/micro", "--plugin", "plugin.py", beam)
    assert scored.returncode == 0, scored.stderr
    ended = recambio("train", "micro", "--resume", "--plugin", "plugin.py", beam)
    assert ended.returncode == 0 and (run / "report.html").is_file(), ended.stderr
    assert "validation" not in ended.stderr, "it was trained already"


def test_a_signal_that_finds_no_answer_ends_the_process(tmp_path: Path) -> None:
    """While the interpreter is within a call that takes minutes, and nothing but a thread can answer."""
    busy = tmp_path / "busy"
    script = f"""
import ctypes

from recambio import interrupts
interrupts.GRACE = 0.2
with interrupts.answered(), interrupts.advising(lambda: "go on"):
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(mutex)
    open({str(busy)!r}, "w").close()
    libc.pthread_mutex_lock(mutex)  # waits for ever, whatever signal comes
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    until(busy.is_file, process)
    time.sleep(0.5)  # from the file to the call
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, b"interrupted: go on\n")
