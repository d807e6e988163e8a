"""The cache folder: what was prepared once is found again by a hash of what made it.

Folders are written aside under a name of their own and renamed into place when complete, so a reader never sees half of
one. Of several processes that want the same thing one does the work and the others wait for it. Where the file system has no locks
they all do the work, and all but the first find the place taken and discard their own.
"""

from __future__ import annotations

import errno
import hashlib
import inspect
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from recambio.files import write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CACHE_VARIABLE = "RECAMBIO_CACHE"

_STALE_SECONDS = 7 * 24 * 3600
# A file written again within one tick of the file system's clock keeps its time stamp, so a fresh one proves nothing.
_SETTLED_SECONDS = 2.0
_CHUNK = 1 << 20


def cache_folder(cache: str | Path | None = None) -> Path:
    """The cache folder: the argument, else ``RECAMBIO_CACHE``, else ``.cache/recambio`` in the working folder."""
    return Path(cache or os.environ.get(CACHE_VARIABLE) or Path(".cache") / "recambio")


def stable_hash(value: Any) -> str:
    """Hash plain data (what JSON can hold) in the same way in every process and version."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_hash(path: Path, cache: Path | None = None) -> str:
    """SHA-256 of a file's bytes, read in chunks.

    Args:
        path: The file.
        cache: Where to remember the hash by path, size and time stamps, so that an unchanged file is not read again.
    """
    path = path.resolve()
    status = path.stat()
    # ctime too: copying with preserved times, or setting them back, can't hide a change from it.
    identity = [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    memory = cache / "hashes" / f"{stable_hash(str(path))}.json" if cache is not None else None
    if memory is not None:
        try:
            known = json.loads(memory.read_text("utf-8"))
            if known["identity"] == identity:
                return str(known["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # Not remembered, or not readable: the hash is computed below.
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    sha256 = digest.hexdigest()
    if memory is not None and time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_text(memory, json.dumps({"identity": identity, "sha256": sha256}))
    return sha256


def source_hash(*paths: Path) -> str:
    """Hash of source files, for what depends on code: an edited part makes a new key."""
    return stable_hash(sorted([p.name, hashlib.sha256(p.read_bytes()).hexdigest()] for p in paths))


def code_hash(*classes: type) -> str:
    """Hash of the files that define classes and what they inherit, so that an edited part makes a new key.

    A class without a file, such as one typed into an interpreter, gets another hash each time: nothing is found again.
    """
    files: set[Path] = set()
    for cls in {base for c in classes for base in c.__mro__ if base.__module__ not in ("builtins", "abc", "typing")}:
        try:
            file = Path(inspect.getsourcefile(cls) or "")
        except (TypeError, OSError):
            return uuid.uuid4().hex
        if not file.is_file():
            return uuid.uuid4().hex
        files.add(file)
    return source_hash(*files)


def published(
    folder: Path, build: Callable[[Path], None], is_complete: Callable[[Path], bool], *, resumes: bool = False
) -> bool:
    """Make sure that ``folder`` exists and is complete.

    Args:
        folder: Where the result belongs; its name is the key.
        build: Writes the result into the empty folder it is given. Not called if the result is there.
        is_complete: Whether a folder holds a whole result.
        resumes: ``build`` may also be given what a killed or interrupted one left behind, and goes on from there.

    Returns:
        Whether it was built now.
    """
    if is_complete(folder):
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as is_alone:
        if is_complete(folder):  # whoever was waited for has built it
            return False
        _sweep(folder.parent)
        keeps = resumes and is_alone
        aside = folder.parent / f".{folder.name}.{'part' if keeps else uuid.uuid4().hex}"
        try:
            aside.mkdir(exist_ok=keeps)  # within: a signal is answered as soon as it is made
            build(aside)
            _rename(aside, folder, is_complete)
        except BaseException as error:
            if not keeps or isinstance(error, Exception):
                shutil.rmtree(aside, ignore_errors=True)
            raise
        shutil.rmtree(aside, ignore_errors=True)  # there only if what others published was kept
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Wait until no other process builds this folder; a killed one lets go by itself. False where there are no locks to tell."""
    locks = folder.parent.parent / "locks"
    locks.mkdir(exist_ok=True)
    with (locks / f"{folder.parent.name}-{folder.name}").open("w") as lock:
        is_alone = fcntl is not None
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:  # no locks here
                is_alone = False
        yield is_alone


def leased(folder: Path) -> TextIO:
    """Keep others from removing a folder by :func:`discard`, whether it is there yet or not, until what this returns is closed."""
    lease = _lease(folder).open("w")
    if fcntl is not None:
        with suppress(OSError):  # no locks here, where nothing is discarded either
            fcntl.flock(lease, fcntl.LOCK_SH)
    return lease


def discard(folder: Path) -> bool:
    """Remove a folder that can be built again.

    Returns:
        Whether it is gone. It stays while a process has a lease of it, and where there are no locks to tell.
    """
    if fcntl is None:
        return False
    with _lease(folder).open("w") as lease:
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
    return True


def discard_stale(parent: Path) -> None:
    """Remove the folders that nobody has touched for long."""
    limit = time.time() - _STALE_SECONDS
    for path in parent.glob("[!.]*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < limit:
                discard(path)


def _lease(folder: Path) -> Path:
    locks = folder.parent.parent / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return locks / f"{folder.parent.name}-{folder.name}-lease"


def _rename(aside: Path, folder: Path, is_complete: Callable[[Path], bool]) -> None:
    for _ in range(10):
        try:
            os.rename(aside, folder)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        if is_complete(folder):
            return
        # What is there is damaged: move it out of the way in one step, since another process may do the same.
        damaged = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
        try:
            os.rename(folder, damaged)
        except FileNotFoundError:
            continue
        shutil.rmtree(damaged, ignore_errors=True)
    raise OSError(errno.EBUSY, "others keep writing an incomplete folder here", str(folder))


def _sweep(parent: Path) -> None:
    """Remove what killed processes left behind long ago."""
    limit = time.time() - _STALE_SECONDS
    for path in parent.glob(".*"):
        try:
            if path.is_dir() and path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)
        except FileNotFoundError:
            continue
