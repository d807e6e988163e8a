"""Commands of recambio in forks of one process that has done the imports, which take longer than what most of them do.

A fork is a process of its own: it has its own environment, folder, outputs, process group and random numbers, it can be interrupted and
killed, and it can kill itself at a named moment. Two things it shares with its siblings, the seed of string hashes and whatever was
imported: what both could hide is tested by whole processes (``conftest.whole``).

``python forks.py FOLDER`` serves jobs from ``FOLDER/jobs``, a pipe.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

Moment = tuple[str, int] | tuple[str, int, float]
"""``before`` or ``after`` the count-th renaming of a file into place, or ``within`` the count-th writing of one. Or one of
:data:`PHASES`: so many seconds after a process is in it for the count-th time."""

PHASES = ("start", "step", "validation", "edge", "file")
"""Before training; in the backward pass of a step; in a validation; between the last step of an epoch and the first of the next; while a
file of weights or a state is written."""


class Forked:
    """A command under way, with what is needed of ``subprocess.Popen``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.returncode: int | None = None
        self.pid = int(_await(folder / "pid", 60))

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        with contextlib.suppress(FileNotFoundError):
            self.returncode = int((self._folder / "status").read_text())
        return self.returncode

    def phase(self) -> str:
        """The phase that the process killed itself in; empty for none of :data:`PHASES`."""
        return (self._folder / "phase").read_text()

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Both outputs, once it has ended.

        Raises:
            subprocess.TimeoutExpired: It hasn't; it is killed then.
        """
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired("recambio", timeout, *map(str.encode, self._outputs()))
            time.sleep(0.005)
        return self._outputs()

    def _outputs(self) -> tuple[str, str]:
        out, err = ((self._folder / name).read_bytes().decode(errors="replace") for name in ("out", "err"))
        return out, err


class Forks:
    """Starts commands.

    Args:
        folder: For jobs and their outputs.
        environment: Of the process that is forked.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        os.mkfifo(folder / "jobs")
        self._server = subprocess.Popen([sys.executable, __file__, str(folder)], env=environment)

    def start(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: dict[str, str],
        stdin: str | None = None,
        moment: Moment | None = None,
        program: str = "recambio",
    ) -> Forked:
        """Start ``recambio ARGUMENTS``.

        Args:
            arguments: Of the command.
            cwd: Its working folder.
            environment: Its environment.
            stdin: What it can read.
            moment: When it kills itself.
            program: ``pytest`` for that instead.
        """
        assert self._server.poll() is None, "the process that is forked has ended"
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        (folder / "in").write_text(stdin or "")
        job = {"arguments": [*arguments], "cwd": str(cwd), "environment": environment, "moment": moment}
        _hand_over(folder, {**job, "program": program})
        return Forked(folder)

    def run(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: dict[str, str],
        stdin: str | None = None,
        timeout: float = 240,
        program: str = "recambio",
    ) -> subprocess.CompletedProcess[str]:
        """Run ``recambio ARGUMENTS`` to its end."""
        process = self.start(arguments, cwd, environment, stdin, program=program)
        out, error = process.communicate(timeout)
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def script(self, file: Path) -> None:
        """Write an executable that is ``recambio``, or ``pytest``, to a shell, as its file's name says."""
        call = f'exec "{sys.executable}" -S -E "{__file__}" --as-a-command "{self._folder}" {file.name}'
        file.write_text(f'#!/bin/sh\n{call} "$@"\n')
        file.chmod(0o755)

    def close(self) -> None:
        """No more commands."""
        self._server.kill()
        self._server.wait()


def _hand_over(folder: Path, job: dict[str, Any]) -> None:
    (folder / "job").write_text(json.dumps(job))
    with (folder.parent / "jobs").open("w") as pipe:
        pipe.write(f"{folder}\n")


def as_a_command(forks: Path, program: str, arguments: list[str]) -> int:
    """A fork with this process's environment, folder, input and outputs. Returns: its exit status."""
    folder = Path(tempfile.mkdtemp(dir=forks))
    for number, name in enumerate(("in", "out", "err")):
        (folder / name).symlink_to(f"/proc/{os.getpid()}/fd/{number}")
    job = {"arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ), "moment": None}
    _hand_over(folder, {**job, "program": program})
    command = Forked(folder)
    while command.poll() is None:
        time.sleep(0.005)
    return command.returncode or 0


def _await(file: Path, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while not file.is_file():
        assert time.monotonic() < deadline, f"no {file}"
        time.sleep(0.002)
    return file.read_text()


def _written(file: Path, text: str) -> None:
    aside = file.with_suffix(".part")
    aside.write_text(text)
    aside.rename(file)


# ------------------------------------------------------------------------------------------- the process that is forked


def serve(folder: Path) -> None:
    """Fork for each job, until the process that started this one is gone."""
    import lightning
    import pytest
    import safetensors.torch  # noqa: F401

    import recambio.experiment.evaluate
    import recambio.experiment.train
    import recambio.experiment.translate  # noqa: F401
    from recambio import registry

    del lightning, pytest
    registry.load_builtins()
    pipe = os.open(folder / "jobs", os.O_RDWR)
    parent, pending = os.getppid(), b""
    while os.getppid() == parent:
        if not select.select([pipe], [], [], 1.0)[0]:
            continue
        *lines, pending = (pending + os.read(pipe, 65536)).split(b"\n")
        for line in lines:
            if not os.fork():
                os.close(pipe)
                _attend(Path(line.decode()))
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _attend(folder: Path) -> None:
    """Fork the command, and write down how it ended."""
    job = json.loads((folder / "job").read_text())
    child = os.fork()
    if child:
        _written(folder / "pid", str(child))
        _, status = os.waitpid(child, 0)
        _written(folder / "status", str(os.waitstatus_to_exitcode(status)))
        os._exit(0)
    try:
        _redirect(folder, job["cwd"])
        _other_ranks(job["arguments"])
    except BaseException:
        os._exit(1)
    _run(job["arguments"], job["environment"], job["program"], folder, job["moment"])


def _redirect(folder: Path, cwd: str) -> None:
    """Take on the process group, the folder, the input and the outputs of a process of its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name, flags in ((0, "in", os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
        os.dup2(os.open(folder / name, flags | os.O_CREAT | os.O_APPEND), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(cwd)


def _run(
    arguments: list[str],
    environment: dict[str, str],
    program: str = "recambio",
    folder: Path | None = None,
    moment: Moment | None = None,
) -> NoReturn:
    """Be the command to the end."""
    import random

    import numpy
    import pytest
    import torch

    status = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        sys.path[1:1] = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p not in sys.path]
        sys.argv = [program, *arguments]
        random.seed()
        numpy.random.seed()
        torch.seed()
        if moment and folder:
            which, count, *delay = moment
            if which in PHASES:
                _die_in(folder / "phase", which, count, *delay)
            else:
                _die_at(which, count)
        if program == "recambio":
            status = _main(arguments)
        else:
            # It would say that it can't rewrite what is imported already.
            status = int(pytest.main(["-W", "ignore::pytest.PytestAssertRewriteWarning", *arguments]))
        atexit._run_exitfuncs()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Rank:
    """Another rank of a command: a fork made before the command has done anything, which waits for the environment that Lightning starts
    it with. It stands for the ``subprocess.Popen`` of that.
    """

    def __init__(self, arguments: list[str]) -> None:
        read, self._write = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            os.close(read)
            return
        os.close(self._write)
        with open(read) as pipe:
            # A line: the end of the pipe comes only when those that were made after this one have ended as well.
            environment = pipe.readline()
        if not environment:
            os._exit(0)
        _run(arguments, json.loads(environment))

    def start(self, environment: dict[str, str]) -> _Rank:
        """Let it run."""
        with open(self._write, "w") as pipe:
            pipe.write(f"{json.dumps(environment)}\n")
        return self

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def _other_ranks(arguments: list[str]) -> None:
    """Have what Lightning would start with the same arguments ready, but for the one process that this one is."""
    from types import SimpleNamespace

    import lightning.pytorch.strategies.launchers.subprocess_script as launcher

    (devices,) = [a.partition("=")[2] for a in arguments if a.startswith("trainer.devices=")][-1:] or ["1"]
    ranks = [_Rank(arguments) for _ in range(1, int(devices))] if devices.isdigit() else []

    def popen(command: list[str], *, env: dict[str, str], cwd: str | None) -> _Rank:
        return ranks.pop(0).start(env)

    launcher.subprocess = SimpleNamespace(Popen=popen)  # type: ignore[attr-defined]


def _main(arguments: list[str]) -> int:
    import traceback

    from recambio import cli

    try:
        return cli.main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in(report: Path, which: str, count: int, delay: float) -> None:
    """Let this process kill itself a while after a phase has begun, and report in which it is then."""
    import lightning
    import safetensors.torch
    import torch

    import recambio.model.weights as weights
    from recambio.training.datamodule import TranslationData
    from recambio.training.module import TranslationModule

    now, seen = ["start"], [0]

    def die(after: float) -> None:
        time.sleep(after)
        report.write_text(now[0])
        _die()

    def enter(phase: str, *, at_once: bool = True) -> None:
        now[0] = phase
        seen[0] += phase == which
        if phase != which or seen[0] != count:
            return
        if delay:
            threading.Thread(target=die, args=(delay,), daemon=True).start()
        elif at_once:
            die(0.0)

    def watch(owner: Any, name: str, phase: str, *, at_end: bool = False) -> None:
        call = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            before = now[0]
            enter(phase, at_once=not at_end)
            result = call(*arguments, **options)
            if at_end and phase == which and seen[0] == count and not delay:
                die(0.0)
            now[0] = before if phase == "file" else ""
            return result

        setattr(owner, name, watched)

    advance = TranslationData.advance

    def advanced(data: TranslationData) -> None:
        epoch = data.cursor.epoch
        advance(data)
        if data.cursor.epoch != epoch:
            enter("edge")

    TranslationData.advance = advanced  # type: ignore[method-assign]
    watch(TranslationModule, "_backward", "step")
    watch(TranslationModule, "_score", "validation")
    # The file is there then, and not yet in its place.
    watch(torch, "save", "file", at_end=True)
    watch(safetensors.torch, "save_file", "file", at_end=True)
    weights.save_file = safetensors.torch.save_file  # type: ignore[attr-defined]
    if which == "start":
        fit = lightning.Trainer.fit

        def begun(*arguments: Any, **options: Any) -> Any:
            enter("start")
            return fit(*arguments, **options)

        lightning.Trainer.fit = begun  # type: ignore[method-assign]


def _die_at(which: str, count: int) -> None:
    """Let this process kill itself at a moment."""
    import safetensors.torch
    import torch

    seen = [0]

    def is_now() -> bool:
        seen[0] += 1
        return seen[0] == count

    def torn(write: Callable[..., Any]) -> Callable[..., Any]:
        def half(content: Any, file: Any, *arguments: Any, **options: Any) -> None:
            write(content, file, *arguments, **options)
            if is_now():
                if isinstance(file, str | Path):
                    os.truncate(file, os.path.getsize(file) // 2)
                _die()

        return half

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
            _die()
        replace(*arguments)
        if now:
            _die()

    os.replace = renamed  # type: ignore[assignment]


if __name__ == "__main__":
    if sys.argv[1] == "--as-a-command":
        sys.exit(as_a_command(Path(sys.argv[2]), sys.argv[3], sys.argv[4:]))
    serve(Path(sys.argv[1]))
