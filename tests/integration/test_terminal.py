"""What a person at a terminal sees: a live bar while training, a prompt while translating."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path


def at_a_terminal(command: list[str], cwd: Path, environment: dict[str, str], typed: list[str]) -> tuple[int, str]:
    """Run a command with all three streams on a pseudo-terminal, answering each prompt. Returns: status and screen text."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen, pending, deadline = b"", list(typed), time.monotonic() + 180
    while time.monotonic() < deadline:
        ready, _, _ = select.select([ours], [], [], 0.2)
        if ready:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            screen += data
            if pending and screen.endswith(b"> "):
                os.write(ours, pending.pop(0).encode() + b"\n")
        elif process.poll() is not None:
            break
    status = process.wait(timeout=30)
    os.close(ours)
    return status, screen.decode(errors="replace")


def test_training_shows_a_live_bar_and_translating_a_prompt(project: Path, environment: dict[str, str]) -> None:
    recambio = [sys.executable, "-m", "recambio"]
    status, screen = at_a_terminal([*recambio, "train", "micro", "training.max_steps=20"], project, environment, [])
    assert status == 0, screen
    assert "tokens/s" in screen and "20/20" in screen and "validation" in screen
    assert "\x1b[" in screen, "no live bar"

    status, screen = at_a_terminal([*recambio, "translate", "runs/micro"], project, environment, ["The cat eats.", ""])
    assert status == 0, screen
    assert "English, one sentence a line" in screen and screen.count("> ") >= 2
