"""A contender's process, as the one that measures sees it: an order is one line in, its answer one line of JSON out.

Imports nothing but the standard library: who starts a process that must not meet torch imports this too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Child:
    """A process that says one line when it is ready, and one for each order.

    Args:
        name: For messages.
        module: What it runs; its arguments are ``job`` and the descriptor that it answers on.
        job: A file that tells it what to do.
        log: Where the rest of what it says goes.
        doing: What it is at, for messages.
        environment: Variables besides this process's own.

    Raises:
        RuntimeError: It ended by itself; its last words are in the text.
    """

    def __init__(
        self, name: str, module: str, job: Path, log: Path, doing: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log, self.doing = name, log, doing
        read, write = os.pipe()
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, str(job), str(write)],
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                text=True,
                pass_fds=(write,),
            )
        os.close(write)
        self.reports = os.fdopen(read)
        self._answer()

    def ask(self, order: str) -> Any:
        """Give an order, wait for its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.reports.close()

    def _answer(self) -> Any:
        line = self.reports.readline()
        if not line:
            self.process.wait()
            words = self.log.read_text(errors="replace").strip()[-2000:]
            raise RuntimeError(f"{self.name}: exit {self.process.returncode} while {self.doing}: {words}")
        return json.loads(line)
