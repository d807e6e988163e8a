"""Files that are replaced in one step: a reader, and who comes after a kill or a power cut, finds the old content or the new one."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path aside to write to; on leaving it is on disk and takes the place of ``path``, or is gone after an error.

    Its name is hidden and has no suffix of the file's, so that nobody takes for the file what a killed process left half written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield aside
        _sync(aside)
        aside.replace(path)
        _sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text in one step: UTF-8, line ends as they are."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:
    """Replace a file with a value as JSON, in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _sync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (OSError, AttributeError):  # Windows can't open a folder
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
