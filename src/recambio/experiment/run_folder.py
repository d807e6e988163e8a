"""A run's folder and its manifest: never overwritten, never half written.

``runs/tiny``, then ``runs/tiny-2``...; every file is written aside in the same folder and renamed into place, so that a
reader (or a resumed run after a power cut) finds the old text or the new one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import importlib.metadata
import itertools
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recambio.errors import InputError
from recambio.files import write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

RUNS = Path("runs")
MANIFEST = "manifest.json"
LOCK = ".lock"
NEWEST = "newest"
PACKAGES = ("torch", "lightning", "sentencepiece", "sacrebleu")


@dataclass
class Manifest:
    """What a run was made from and what became of it.

    Attributes:
        name: The config's name; the folder's may end in a number.
        versions: Of recambio, Python and the packages that results depend on.
        seed: The config's.
        data: Hashes of what the run read, by what they are of.
        git: ``commit`` and ``dirty`` of the working folder, or None outside a repository.
        plugins: What was loaded, in order (``LoadedPlugin.to_dict()``).
        precision, devices, num_nodes, accelerator, threads: What was really used, not what was asked for.
        parameters: Of the model, tied ones counted once.
        accumulate: Device batches per rank and step.
        step_tokens: Target tokens of a step on average.
        tokens_seen: Target tokens trained on.
        steps: Optimiser steps done.
        init_from: The weights that training started from: file, hash, the tokenizer's fingerprint, and the parts that started anew.
        weights: What ``weights.safetensors`` holds (``best`` or ``average``), the steps averaged, the decay of the moving average that was
            validated and saved, and the best step and its score.
        origins: Where each value of the config was set.
        trained: Whether training reached one of its limits.
        finished: Whether the final evaluation is done too.
        started, ended: UTC, ISO 8601.
    """

    name: str
    seed: int
    versions: dict[str, str] = field(default_factory=lambda: versions())
    data: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] | None = field(default_factory=lambda: git_state())
    plugins: list[dict[str, Any]] = field(default_factory=list)
    precision: str | None = None
    accelerator: str | None = None
    devices: int | None = None
    num_nodes: int | None = None
    threads: int | None = None
    parameters: int | None = None
    init_from: dict[str, Any] | None = None
    accumulate: int | None = None
    step_tokens: int | None = None
    tokens_seen: int = 0
    steps: int = 0
    weights: dict[str, Any] | None = None
    origins: dict[str, str] = field(default_factory=dict)
    trained: bool = False
    finished: bool = False
    started: str = field(default_factory=lambda: now())
    ended: str | None = None


def create(manifest: Manifest, runs: Path = RUNS) -> Path:
    """A new folder for a run, its manifest inside; two starts at once get two folders.

    Returns:
        ``runs/<name>``, or ``runs/<name>-2`` and so on where that is taken.
    """
    runs.mkdir(parents=True, exist_ok=True)
    # Made aside, so that a process killed meanwhile leaves no folder that is no run.
    aside = runs / f".{manifest.name}.{os.getpid()}-{secrets.token_hex(4)}"
    aside.mkdir()
    try:
        write_manifest(aside, manifest)
        for number in itertools.count(1):
            folder = runs / (manifest.name if number == 1 else f"{manifest.name}-{number}")
            if folder.exists():
                continue
            try:
                aside.rename(folder)  # fails if another has made it meanwhile, for that holds a file
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                continue
            return folder
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    raise AssertionError("there is always another number")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace a run's manifest."""
    write_json(folder / MANIFEST, dataclasses.asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """A run's manifest; keys of a later version are passed over.

    Raises:
        InputError: There is none, or it can't be read.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in dataclasses.fields(Manifest)}
        # What an older manifest doesn't say must not be filled in from this machine.
        absent: dict[str, Any] = {"versions": {}, "git": None, "started": ""}
        return Manifest(**{**absent, **{k: v for k, v in values.items() if k in known}})
    except FileNotFoundError as error:
        raise InputError(f"{folder}: is no run folder (it has no {MANIFEST})") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: can't be read: {str(error) or type(error).__name__}") from error


def await_manifest(folder: Path, seconds: float = 600.0) -> None:
    """Wait for the first of several processes to make a run's folder.

    Raises:
        InputError: It hasn't in time.
    """
    deadline = time.monotonic() + seconds
    while not (folder / MANIFEST).is_file():
        if time.monotonic() > deadline:
            raise InputError(
                f"--run {folder}: the first rank has made no run there in {seconds:.0f} seconds; give every rank the same "
                "folder, on a file system that all nodes share"
            )
        time.sleep(0.1)


def all_runs(name: str | None = None, runs: Path = RUNS) -> list[tuple[Path, Manifest]]:
    """The runs (of a config's name), the newest first; folders without a readable manifest are passed over."""
    found = []
    for path in runs.glob(f"[!.]*/{MANIFEST}"):
        with contextlib.suppress(InputError):
            manifest = read_manifest(path.parent)
            if name is None or manifest.name == name:
                found.append((path.parent, manifest))
    return sorted(found, key=lambda run: (run[1].started, _number(run[0].name)), reverse=True)


def newest(name: str | None = None, runs: Path = RUNS) -> Path:
    """The newest run (of a config's name).

    Raises:
        InputError: There is none.
    """
    found = all_runs(name, runs)
    if not found:
        raise InputError(
            f"no runs{f' of {name!r}' if name else ''} under {runs}/: run `make train` or `recambio train` first"
        )
    return found[0][0]


def unfinished(name: str, runs: Path = RUNS) -> Path | None:
    """The newest run of this name that ``--resume`` can continue, or None."""
    return next((folder for folder, manifest in all_runs(name, runs) if not manifest.finished), None)


def existing(run: str | Path, runs: Path = RUNS) -> Path:
    """The run folder that a user means: a path, a folder's name under ``runs/``, or ``newest``.

    Raises:
        InputError: There is none; names what is close.
    """
    if str(run) == NEWEST and not Path(run).is_dir():
        return newest(runs=runs)
    for folder in (Path(run), runs / run):
        if (folder / MANIFEST).is_file():
            return folder
    if Path(run).is_dir():
        raise InputError(f"{run}: is no run folder (it has no {MANIFEST})")
    known = [folder.name for folder, _ in all_runs(runs=runs)]
    close = difflib.get_close_matches(Path(run).name, known, n=1)
    hint = f" Did you mean {str(runs / close[0])!r}?" if close else ""
    raise InputError(f"{run}: no such run.{hint} Under {runs}/: {', '.join(known) or 'none; run `make train` first'}")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from training in this folder; a killed process lets go by itself.

    Where the file system has no locks, or the system no `fcntl`, nobody is kept out.

    Raises:
        InputError: Another process trains there.
    """
    with (folder / LOCK).open("a+", encoding="utf-8") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise InputError(
                    f"{folder}: process {lock.read().strip() or '?'} trains in it; wait for its end, or start a run "
                    "of your own without --resume"
                ) from error
            except OSError:
                pass
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written: every file is written aside, under a hidden name or as ``*.part``."""
    for place in (folder, folder / "checkpoints", folder / "eval"):
        for path in [*place.glob(".*"), *place.glob("*.part")]:
            if path.name != LOCK and path.is_file():
                path.unlink(missing_ok=True)


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def versions() -> dict[str, str]:
    """Of recambio, Python and the packages that results depend on; nothing is imported for it."""
    from recambio import __version__

    found = {"recambio": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def git_state(folder: Path | None = None) -> dict[str, Any] | None:
    """``commit`` (None before the first) and ``dirty`` of the repository around a folder; None outside one."""
    place = str(folder or Path.cwd())

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", place, *arguments], capture_output=True, text=True, timeout=30, check=False)

    try:
        status = git("status", "--porcelain")
        if status.returncode:
            return None
        head = git("rev-parse", "--verify", "HEAD")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": head.stdout.strip() or None, "dirty": bool(status.stdout.strip())}


def is_first_process() -> bool:
    """Whether this is the process that a user started, and not one that a launcher started beside it."""
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID")
    if rank is not None:
        return rank == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def _number(name: str) -> int:
    found = re.search(r"-(\d+)$", name)
    return int(found[1]) if found else 1
