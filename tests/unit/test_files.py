"""Files are replaced in one step."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from recambio.files import replacing, write_json, write_text


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)


def test_writing_replaces_in_one_step() -> None:
    path = Path("file.json")
    write_json(path, {"ñ": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ñ": 1} and "ñ" in path.read_text(encoding="utf-8")
    inode = path.stat().st_ino
    reader = path.open(encoding="utf-8")
    write_text(path, "new")
    assert path.read_text() == "new" and path.stat().st_ino != inode
    assert json.loads(reader.read()) == {"ñ": 1}  # who was reading keeps the old text
    reader.close()
    assert os.listdir() == ["file.json"]


def test_a_failure_while_writing_leaves_the_old_text_and_no_litter() -> None:
    path = Path("file.json")
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as aside:
        aside.write_text("half")
        assert aside.parent == path.parent and path.read_text() == "old"
        assert list(Path().glob("*.json")) == [path], "a killed process leaves nothing that is taken for the file"
        raise RuntimeError
    with pytest.raises(TypeError):
        write_json(path, object())
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert path.read_text() == "old" and os.listdir() == ["file.json"]


def test_files_are_readable_as_any_other() -> None:
    previous = os.umask(0o027)
    try:
        write_text(Path("file"), "x")
    finally:
        os.umask(previous)
    assert Path("file").stat().st_mode & 0o777 == 0o640


def test_line_ends_stay_as_they_are() -> None:
    write_text(Path("file"), "a\r\nb\n")
    assert Path("file").read_bytes() == b"a\r\nb\n"
