"""The token store: what is written is what is read, in however many chunks, and half a store is none."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from recambio.data import store as store_module
from recambio.data.store import StoreWriter, TokenStore
from recambio.data.tokenizers.base import SIDES
from recambio.data.tokenizers.sampling import Rows as Ids
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


@given(rows=st.lists(st.tuples(ROW, ROW), min_size=1, max_size=30), data=st.data())
def test_sentences_are_read_in_whatever_order_and_blocks(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, data: st.DataObject
) -> None:
    store = write(tmp_path_factory.mktemp("store"), rows)
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_BLOCK", data.draw(st.sampled_from([8, 32, 1 << 20])))
        patch.setattr(store_module, "_GAP", data.draw(st.sampled_from([0, 8, 1 << 20])))
        patch.setattr(store_module, "_CHUNK", data.draw(st.integers(1, 9)))
        read = store.read(np.array(wanted, np.int32))
        lengths = store.lengths("source")
    assert lengths.tolist() == [len(source) for source, _ in rows]
    for number, side in enumerate(SIDES):
        assert listed(read[side]) == [rows[i][number] for i in wanted]
        assert store.n_tokens(side) == sum(len(row[number]) for row in rows)


def listed(rows: Ids) -> list[list[int]]:
    return [part.tolist() for part in np.split(rows.tokens, np.cumsum(rows.lengths)[:-1])] if len(rows.lengths) else []


def test_what_stands_near_is_read_at_once_and_what_stands_far_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = list(range(4, 1_004))
    store = write(tmp_path, [(row, [5])] * 1_000, chunk=1_000)
    monkeypatch.setattr(store_module, "_BLOCK", 1 << 19)
    reads: list[int] = []
    preadv = os.preadv

    def counted(file: int, buffers: Sequence[memoryview], at: int) -> int:
        reads.append(sum(map(len, buffers)))
        return preadv(file, buffers, at)

    monkeypatch.setattr(os, "preadv", counted)
    store.read(np.arange(1_000))
    assert len(reads) == 4 + 3 and sum(reads) == 1_000 * 2_000 + 1_000 * 2 + 2 * 1_001 * 8  # 2 MB in blocks of half one
    reads.clear()
    store.read(np.arange(0, 1_000, 5))  # 8,000 bytes are left out between two
    assert len(reads) == 4 + 3
    reads.clear()
    assert store.read(np.array([900, 700]))["source"].lengths.tolist() == [1_000] * 2
    assert sorted(reads) == [201 * 2, 202 * 8, 202 * 8, 2_000, 2_000]


@pytest.mark.parametrize("wanted", [[0, 2], [-1], [5, 1]])
def test_a_sentence_that_is_not_there_is_not_read(tmp_path: Path, wanted: list[int]) -> None:
    store = write(tmp_path, [([4], [5]), ([6], [7, 8])])
    with pytest.raises(IndexError, match="of 2"):
        store.read(np.array(wanted))


def test_what_is_read_is_no_part_of_what_the_process_holds(tmp_path: Path) -> None:
    rows: Rows = [(list(range(4, 4 + 2000)), [5, 6])] * 200
    store = write(tmp_path, rows * 20, 2000)
    before = _resident()
    for start in range(0, 4_000, 100):
        assert store.read(np.arange(start, start + 100))["source"].tokens.sum() == 100 * sum(rows[0][0])
    assert store.lengths("source").sum() == 4_000 * 2_000
    assert _resident() - before < 0.25 * store.n_tokens("source") * 2


@pytest.mark.parametrize("name", ["source.tokens", "source.offsets"])
def test_a_file_that_is_cut_while_it_is_open_is_named(tmp_path: Path, name: str) -> None:
    store = write(tmp_path, [([4, 5], [6])] * 3)
    os.truncate(tmp_path / name, 8)
    for read in (lambda: store.source(2), lambda: store.read(np.arange(3))):
        with pytest.raises(RunError, match=rf"{name}: has been cut short; prepare the data again"):
            read()


def test_a_store_that_is_removed_is_read_to_its_end_and_then_closed(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [([4, 5], [6])] * 3)
    shutil.rmtree(tmp_path / "store")
    assert store.source(2).tolist() == [4, 5] and store.places.tolist() == [0, 2, 4]
    files = list(store._files.values())
    assert all(os.fstat(file).st_nlink == 0 for file in files)
    del store
    for file in files:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(file)


def test_workers_that_a_fork_made_read_what_one_process_reads(tmp_path: Path) -> None:
    rows: Rows = [(list(range(4, 4 + i % 90)), list(range(5, 5 + i % 70))) for i in range(300)]
    data = Rowwise(write(tmp_path, rows, 500))
    loader: DataLoader[tuple[list[int], list[int]]] = DataLoader(
        data, batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    assert list(map(tuple, loader)) == rows
    assert list(map(tuple, loader)) == rows


class Rowwise(Dataset[tuple[list[int], list[int]]]):
    def __init__(self, store: TokenStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> tuple[list[int], list[int]]:
        source, target = (listed(rows)[0] for rows in self.store.read(np.array([index])).values())
        return source, target


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


def _resident() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("tells its resident pages on Linux only")
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmRSS"))
