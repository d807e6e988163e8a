"""``recambio translate`` on pipes and on several devices: real processes, whole lines, one order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

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
