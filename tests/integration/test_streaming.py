"""``recambio translate`` on pipes, it and ``recambio eval`` on several devices: real processes, whole lines, one order."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.forks import Forks
from tests.integration.test_reliability import gone

WORDS = ("The cat", "A dog", "My sister", "Nobody"), ("eats", "sees", "wants"), ("fish", "the red house", "a book")
LINES = [f"{s} {v} {o}." for s in WORDS[0] for v in WORDS[1] for o in WORDS[2]]


@pytest.fixture
def run(unbroken: Callable[..., Path]) -> Path:
    return unbroken()


def test_a_pipe_answers_line_by_line_and_an_interrupt_leaves_whole_lines(
    run: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "recambio", "translate", str(run), "decoding.search=greedy", "--prefix", "El gato"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr
    answers = []
    for line in [*LINES[:3], "", LINES[3]]:  # each is written only when the one before has come back
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()
        answers.append(process.stdout.readline())
    assert [answer.startswith(b"El gato") for answer in answers] == [True, True, True, False, True]

    def feed() -> None:
        try:
            for _ in range(1_000_000):
                process.stdin.write(f"{LINES[0]}\n".encode())  # type: ignore[union-attr]
        except BrokenPipeError:
            pass

    threading.Thread(target=feed, daemon=True).start()
    some = [process.stdout.readline() for _ in range(2_000)]
    os.killpg(process.pid, signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(20) == 130
    assert process.stderr.read() == b""
    assert rest == b"" or rest.endswith(b"\n")
    assert {*some, *rest.splitlines(keepends=True)} == {answers[0]}, "a line that is cut differs from its whole"


def test_several_devices_write_what_one_writes(run: Path, project: Path, recambio) -> None:  # type: ignore[no-untyped-def]
    lines = [*LINES * 16, "", " ".join(LINES), "   "]  # two chunks
    (project / "in.en").write_text("".join(f"{line}\n" for line in lines))
    (project / "starts.es").write_text("".join("El\n" if i % 3 == 0 else "\n" for i in range(len(lines))))
    options = ["--n-best", "2", "--forbid", "gato", "--prefix-file", "starts.es"]
    one = recambio("translate", str(run), "in.en", *options)
    two = recambio("translate", str(run), "in.en", *options, "--devices", "2")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert [json.loads(line)["line"] for line in two.stdout.splitlines()] == list(range(1, len(lines) + 1))
    assert two.stdout == one.stdout
    assert two.stderr == one.stderr and f"line {len(LINES) * 16 + 2}: has" in two.stderr
    wrong = recambio("translate", str(run), "in.en", "decoding.search=greedy", "--n-best", "2", "--devices", "2")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines() == [
        "error: --n-best 2: search 'greedy' gives one translation; choose another, as decoding.search=beam"
    ]


STUCK = """
import os, time
from pathlib import Path
from recambio.decoding import Search
from recambio.registry import SEARCH

@SEARCH.register("stuck")
class Stuck(Search):
    def __call__(self, scorer, sources, max_lengths):
        Path(f"stuck-{os.getpid()}").touch()
        time.sleep(120)
"""


def scored_lines(project: Path) -> int:
    """Write ``in.en`` and ``in.es``: more than one share of a set, empty and overlong lines, a line twice."""
    lines = [*LINES * 8, "", " ".join(LINES)]
    (project / "in.en").write_text("".join(f"{line}\n" for line in lines))
    (project / "in.es").write_text("".join(f"El gato {i}.\n" for i in range(len(lines))))
    return len(lines)


def test_several_devices_score_what_one_scores(run: Path, project: Path, recambio) -> None:  # type: ignore[no-untyped-def]
    n = scored_lines(project)
    (project / "stuck.py").write_text(STUCK)
    sets = ["--source", "in.en", "--reference", "in.es", "--set", "test", "--set", "recombination"]
    found = {}
    for name, devices in (("one", []), ("two", ["--devices", "cpu,cpu"])):
        place = project / "runs" / name
        shutil.copytree(run, place)
        shutil.rmtree(place / "eval")
        manifest = json.loads((place / "manifest.json").read_text())
        plugin = {"spec": "stuck.py", "path": "stuck.py", "sha256": "0" * 64, "names": ["search/stuck"], "module": "s"}
        (place / "manifest.json").write_text(json.dumps({**manifest, "plugins": [plugin]}))
        done = recambio("eval", name, *sets, "--checkpoint", "last", "decoding.search=greedy", "--json", *devices)
        assert done.returncode == 0, done.stderr
        files = {file.name: file.read_bytes() for file in (place / "eval").iterdir()}
        found[name] = (done.stdout, done.stderr.replace(f"runs/{name} ", "RUN "), files)
    assert found["two"] == found["one"]
    out, said, files = found["one"]
    assert len(files) == 3 * 4 and len(files["in.hyp"].splitlines()) == n
    assert json.loads(out)["sets"]["in"]["n"] == n
    assert [line.split(": ")[:2] for line in said.splitlines()] == [
        ["warning", "stuck.py"],
        ["warning", f"in, line {n}"],
    ], "each is said once"


@pytest.mark.parametrize("end", ["interrupt", pytest.param("death", marks=pytest.mark.slow)])
def test_an_evaluation_that_ends_early_leaves_no_process_and_no_file(
    run: Path, project: Path, forks: Forks, environment: dict[str, str], end: str
) -> None:
    scored_lines(project)
    (project / "stuck.py").write_text(STUCK)
    before = {file: file.stat().st_mtime_ns for file in (run / "eval").iterdir()}
    arguments = ["--source", "in.en", "--reference", "in.es", "--plugin", "stuck.py", "decoding.search=stuck"]
    process = forks.start(["eval", str(run), *arguments, "--devices", "cpu,cpu"], project, environment)
    while len(pids := [int(file.name.split("-")[1]) for file in project.glob("stuck-*")]) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    if end == "interrupt":
        os.killpg(process.pid, signal.SIGINT)
    else:
        os.kill(pids[0], signal.SIGKILL)
    out, said = process.communicate(20)
    assert (process.returncode, out) == ((130, "") if end == "interrupt" else (1, ""))
    if end == "interrupt":
        assert said == ""
    else:
        pattern = r"error: worker [12] of 2 \(cpu\): process \d+ was killed by SIGKILL; it held (256|34) lines of in\n"
        assert re.fullmatch(pattern, said), said
    assert gone(process.pid, 5), "a worker is left behind"
    assert before == {file: file.stat().st_mtime_ns for file in (run / "eval").iterdir()}
