"""The token store: what is written is what is read, in however many chunks, and half a store is none."""

from __future__ import annotations

import mmap
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recambio.data.store import StoreWriter, TokenStore
from recambio.errors import RunError

Rows = list[tuple[list[int], list[int]]]
ROW = st.lists(st.integers(4, 65_535), max_size=6)


def write(
    folder: Path, rows: Rows, chunk: int = 3, vocabulary: int = 65_536, text: list[str] | None = None
) -> TokenStore:
    folder.mkdir(parents=True, exist_ok=True)
    with StoreWriter(folder, vocabulary, has_text=text is not None) as writer:
        for start in range(0, len(rows), chunk):
            part = rows[start : start + chunk]
            lines = text[start : start + chunk] if text is not None else []
            writer.add(
                [r[0] for r in part],
                [r[1] for r in part],
                np.arange(start, start + len(part)) * 2,
                lines,
                [f"es {line}" for line in lines],
                [("tag", line[:3]) for line in lines],
            )
        writer.finish({"key": "value"})
    return TokenStore(folder)


@given(rows=st.lists(st.tuples(ROW, ROW), max_size=10), chunk=st.integers(1, 10))
def test_what_is_written_is_read_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, chunk: int
) -> None:
    store = write(tmp_path_factory.mktemp("store"), rows, chunk)
    assert len(store) == len(rows)
    assert [(store.source(i).tolist(), store.target(i).tolist()) for i in range(len(rows))] == rows
    assert store.lengths("source").tolist() == [len(r[0]) for r in rows]
    assert store.lengths("target").tolist() == [len(r[1]) for r in rows]
    assert store.places.tolist() == [2 * i for i in range(len(rows))]
    assert store.about == {"key": "value"}
    whole = write(tmp_path_factory.mktemp("store"), rows, max(1, len(rows)))
    assert whole.content_hash == store.content_hash


def test_the_content_hash_tells_contents_apart(tmp_path: Path) -> None:
    variants: list[Rows] = [
        [([4, 5], [6]), ([7], [8])],
        [([4], [6]), ([5, 7], [8])],
        [([7], [8]), ([4, 5], [6])],
        [([6], [4, 5]), ([8], [7])],
        [([4, 5], [6])],
        [],
    ]
    hashes = {write(tmp_path / str(i), rows).content_hash for i, rows in enumerate(variants)}
    assert len(hashes) == len(variants)


@pytest.mark.parametrize("vocabulary, dtype", [(65_536, np.uint16), (65_537, np.uint32)])
def test_ids_take_the_narrowest_type_that_holds_them(tmp_path: Path, vocabulary: int, dtype: type) -> None:
    store = write(tmp_path, [([vocabulary - 1], [4])], vocabulary=vocabulary)
    assert store.source(0).dtype == dtype
    assert store.source(0).tolist() == [vocabulary - 1]


def test_an_id_outside_the_vocabulary_is_not_stored_as_another(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        write(tmp_path, [([65_536], [4])])


def test_sentences_are_indexed_like_a_list(tmp_path: Path) -> None:
    store = write(tmp_path, [([4], [5]), ([6], [7, 8])])
    assert store.target(-1).tolist() == [7, 8]
    for index in (2, -3):
        with pytest.raises(IndexError):
            store.source(index)


def test_raw_text_and_tags_come_back_line_by_line(tmp_path: Path) -> None:
    lines = ["¿Qué?", "", "a\u2028b\x85c\r", " x "]
    store = write(tmp_path, [([4], [5])] * 4, chunk=3, text=lines)
    assert store.text("source") == lines
    assert store.text("target") == [f"es {line}" for line in lines]
    assert store.tags() == [("tag", line[:3]) for line in lines]


def test_a_training_store_keeps_no_text(tmp_path: Path) -> None:
    store = write(tmp_path, [([4], [5])])
    assert {p.name for p in tmp_path.iterdir()} == {
        "source.tokens", "source.offsets", "target.tokens", "target.offsets", "places", "store.json"
    }  # fmt: skip
    for read in (lambda: store.text("source"), store.tags):
        with pytest.raises(ValueError, match="keeps no"):
            read()


def test_copies_for_other_processes_carry_the_path_alone(tmp_path: Path) -> None:
    store = write(tmp_path, [(list(range(4, 40)), [5])] * 2_000, chunk=500)
    copy = pickle.dumps(store)
    assert len(copy) < 500
    assert pickle.loads(copy).source(1_999).tolist() == list(range(4, 40))


def test_ids_are_mapped_and_can_not_be_written(tmp_path: Path) -> None:
    store = write(tmp_path, [([4, 5], [6])])
    base = store.tokens("source").base
    assert isinstance(base, memoryview) and isinstance(base.obj, mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        store.source(0)[0] = 9


@pytest.mark.parametrize("name", ["source.tokens", "target.offsets", "places", "store.json"])
def test_half_a_store_is_none(tmp_path: Path, name: str) -> None:
    write(tmp_path, [([4, 5], [6])])
    assert TokenStore.is_complete(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    assert not TokenStore.is_complete(tmp_path)
    with pytest.raises(RunError, match="no complete token store"):
        TokenStore(tmp_path)
    path.unlink()
    assert not TokenStore.is_complete(tmp_path)


def test_released_pages_are_read_again(tmp_path: Path) -> None:
    rows: Rows = [(list(range(4, 4 + 2000)), [5, 6])] * 200
    store = write(tmp_path, rows, 50)
    assert store.tokens("source").sum() == 200 * sum(rows[0][0])
    before = _resident_of_files()
    store.release()
    assert before - _resident_of_files() > 0.8 * store.tokens("source").nbytes
    assert store.source(199).tolist() == rows[199][0]


def _resident_of_files() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("tells its resident pages on Linux only")
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("RssFile"))
