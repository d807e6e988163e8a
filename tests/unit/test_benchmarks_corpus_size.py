"""The benchmark of a large corpus limits memory where it may, and says so at once where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.corpus_size import memory_group

LISTINGS = {
    "version 1": ("9:name=systemd:/\n4:cpu,memory:/mine/here\n0::/\n", "memory/mine/here", "memory.limit_in_bytes"),
    "version 2": ("0::/user/mine.scope\n", "user", "memory.max"),
}


@pytest.mark.parametrize("version", LISTINGS)
def test_a_limit_is_set_in_a_group_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    listing, parent, name = LISTINGS[version]
    (tmp_path / "listing").write_text(listing)
    (tmp_path / parent).mkdir(parents=True)
    mkdir, rmdir = Path.mkdir, Path.rmdir

    def made(path: Path) -> None:  # as the kernel fills and empties it
        mkdir(path)
        (path / name).touch()

    def removed(path: Path) -> None:
        (path / name).unlink()
        rmdir(path)

    monkeypatch.setattr(Path, "mkdir", made)
    monkeypatch.setattr(Path, "rmdir", removed)
    with memory_group(2_048, tmp_path / "listing", tmp_path) as group:
        assert group.parent == tmp_path / parent
        assert (group / name).read_text() == str(2 * 1024**3)
    assert not group.exists()


@pytest.mark.parametrize("listing", ["4:memory:/not/there\n", "0::/mine\n", "1:cpu:/\n", None])
def test_where_no_group_can_be_made_one_line_says_so(tmp_path: Path, listing: str | None) -> None:
    if listing is not None:
        (tmp_path / "listing").write_text(listing)
    with (
        pytest.raises(SystemExit, match=r"\A--limit: a memory cgroup can't be made here \(.+\)\Z"),
        memory_group(2_048, tmp_path / "listing", tmp_path),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ([] if listing is None else ["listing"])
