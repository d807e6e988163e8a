"""Starts trainings and kills them, many a minute: ``python killer.py JOB.json``.

All imports are done once; each training runs in a fork of this process, which is killed from outside after some time, or kills itself
at a named moment. The job holds ``arguments`` (of ``recambio``), and ``seconds`` (a list, one training each) or ``moments`` (a list of
``[which, count]``: ``before`` or ``after`` the count-th renaming of a file into place, or ``within`` the count-th writing of one).
Prints a line of JSON a training: its exit status, negative for a signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning  # noqa: F401
import safetensors.torch
import torch

import recambio.experiment.train  # noqa: F401
from recambio import cli, registry


def training(arguments: list[str], log: str, prepare: Callable[[], None]) -> int:
    """Fork a training. Returns: its process id."""
    child = os.fork()
    if child:
        return child
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    status = 1
    try:
        prepare()
        status = cli.main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_at(which: str, count: int) -> Callable[[], None]:
    """Makes this process kill itself at a moment."""
    seen = [0]

    def is_now() -> bool:
        seen[0] += 1
        return seen[0] == count

    def prepare() -> None:
        if which == "within":
            for module, name in ((torch, "save"), (safetensors.torch, "save_file")):
                setattr(module, name, torn(getattr(module, name)))
            import recambio.model.weights as weights

            weights.save_file = safetensors.torch.save_file  # type: ignore[attr-defined]
            return
        replace = os.replace

        def renamed(*arguments: Any) -> None:
            now = is_now()
            if now and which == "before":
                die()
            replace(*arguments)
            if now:
                die()

        os.replace = renamed  # type: ignore[assignment]

    def torn(write: Callable[..., Any]) -> Callable[..., Any]:
        def half(content: Any, file: Any, *arguments: Any, **options: Any) -> None:
            write(content, file, *arguments, **options)
            if is_now():
                if isinstance(file, str | Path):
                    os.truncate(file, os.path.getsize(file) // 2)
                die()

        return half

    return prepare


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    registry.load_builtins()
    for seconds in job.get("seconds", []):
        child = training(job["arguments"], job["log"], lambda: None)
        deadline = time.monotonic() + seconds
        ended = 0
        while time.monotonic() < deadline and not ended:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.005)
        if not ended:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
    for which, count in job.get("moments", []):
        _, status = os.waitpid(training(job["arguments"], job["log"], dies_at(which, count)), 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


if __name__ == "__main__":
    main()
