"""Data sets of the hub: a folder with the files of a repository, and the library where there is none."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recambio.data  # noqa: F401
from recambio.data.pairs import BadLine, Pair
from recambio.data.prepare import prepare
from recambio.errors import InputError
from recambio.registry import CORPUS

OPUS = "Helsinki-NLP/opus-100"
Sides = list[tuple[Any, Any]]


def opus(root: Path | None, **options: Any) -> Any:
    return CORPUS.create({"name": "huggingface", "path": OPUS, "config": "en-es", **options}, root=root)


def records(pairs: Sides) -> list[dict[str, Any]]:
    return [{"translation": {"en": source, "es": target}} for source, target in pairs]


def write(path: Path, pairs: Sides) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records(pairs)), path)
        return
    data = "".join(json.dumps(record) + "\n" for record in records(pairs)).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def numbered(split: str, count: int) -> Sides:
    return [(f"{split} {n}", f"{split} n.º {n}") for n in range(count)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with OPUS-100 in the layout of its repository, and no library."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    base = tmp_path / OPUS / "en-es"
    write(base / "train-00001-of-00002.parquet", numbered("late", 3))
    write(base / "train-00000-of-00002.parquet", numbered("train", 5))
    write(base / "validation-00000-of-00001.parquet", numbered("dev", 2))
    write(base / "test-00000-of-00001.parquet", numbered("test", 2))
    (base.parent / "README.md").write_text("---\n")
    write(base.parent / "de-en" / "train-00000-of-00001.parquet", numbered("other", 1))
    return tmp_path


def test_a_folder_is_read_without_the_library(folder: Path) -> None:
    corpus = opus(folder)
    assert corpus.splits() == ("train", "dev", "test")
    expected = {
        "train": numbered("train", 5) + numbered("late", 3),
        "dev": numbered("dev", 2),
        "test": numbered("test", 2),
    }
    for split, pairs in expected.items():
        found = list(corpus.read(split))
        assert [(p.source, p.target) for p in found] == pairs
    first, *_, last = corpus.read("train")
    assert (Path(first.file).name, first.line) == ("train-00000-of-00002.parquet", 1)
    assert (Path(last.file).name, last.line) == ("train-00001-of-00002.parquet", 3)
    # Below data.root, or by its own path.
    by_path = CORPUS.create({"name": "huggingface", "path": str(folder / OPUS), "config": "en-es"}, root=None)
    assert list(by_path.read("dev")) == list(corpus.read("dev"))
    assert by_path.fingerprint("train") == corpus.fingerprint("train")


def test_a_folder_goes_all_the_way_to_tokens(folder: Path) -> None:
    write(folder / OPUS / "en-es" / "train-00001-of-00002.parquet", [*numbered("word", 200), (None, "x"), ("y", "")])
    result = prepare(opus(folder), tokenizer={"name": "unigram", "vocabulary_size": 300}, cache=folder / "cache")
    report = result.reports["train"]
    assert (report.read, report.dropped) == (207, {"not text": 1, "empty side": 1})
    assert result.stores["test"].text("target") == ["test n.º 0", "test n.º 1"]


@pytest.mark.parametrize(
    "layout",
    [
        {"train": "train.jsonl", "validation": "validation.jsonl.gz", "test": "test.jsonl"},
        {"train": "data/train-00000-of-00001.parquet", "validation": "data/validation-00000-of-00001.parquet", "test": "data/test.parquet"},
        {"train": "train/0000.parquet", "validation": "validation/0000.parquet", "test": "test/x.jsonl"},
        {"train": "train-00000-of-00001-0a1b2c3d.parquet", "validation": "validation.parquet", "test": "test.jsonl.gz"},
    ],
)  # fmt: skip
def test_other_layouts_of_repositories(tmp_path: Path, layout: dict[str, str]) -> None:
    for split, name in layout.items():
        write(tmp_path / name, numbered(split, 3))
    corpus = CORPUS.create({"name": "huggingface", "path": str(tmp_path)}, root=None)
    for split, theirs in (("train", "train"), ("dev", "validation"), ("test", "test")):
        assert [(p.source, p.target) for p in corpus.read(split)] == numbered(theirs, 3)


def test_splits_are_named_as_the_data_set_names_them(tmp_path: Path) -> None:
    write(tmp_path / "train_big.parquet", numbered("big", 1))
    write(tmp_path / "train.parquet", numbered("train", 1))
    write(tmp_path / "valid.parquet", numbered("valid", 1))
    options = {"path": str(tmp_path), "train": "train_big", "dev": "valid", "test": None}
    corpus = CORPUS.create({"name": "huggingface", **options}, root=None)
    assert corpus.splits() == ("train", "dev")
    assert [p.source for split in corpus.splits() for p in corpus.read(split)] == ["big 0", "valid 0"]
    with pytest.raises(InputError, match="has no split 'test'"):
        list(corpus.read("test"))


def test_fingerprints_follow_the_files(folder: Path) -> None:
    before = {split: opus(folder).fingerprint(split) for split in ("train", "dev", "test")}
    assert len(set(before.values())) == 3
    assert opus(folder, source="translation.es", target="translation.en").fingerprint("dev") != before["dev"]
    write(folder / OPUS / "en-es" / "train-00001-of-00002.parquet", numbered("new", 3))
    after = {split: opus(folder).fingerprint(split) for split in ("train", "dev", "test")}
    assert [split for split in before if before[split] != after[split]] == ["train"]


def test_what_a_folder_lacks_is_named(folder: Path) -> None:
    base = folder / OPUS
    with pytest.raises(InputError, match=r"config: .*opus-100 has no folder 'en-xx'; it has README\.md, de-en, en-es"):
        list(opus(folder, config="en-xx").read("train"))
    with pytest.raises(
        InputError, match=r"data\.corpus\.dev: .*en-es has no \.parquet or \.jsonl file of the split 'valid'"
    ):
        list(opus(folder, dev="valid").read("dev"))
    with pytest.raises(InputError, match=r"data\.corpus\.revision: is set, but .*opus-100 is a folder"):
        opus(folder, revision="main").fingerprint("train")
    (base / "en-es" / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"en-es: of the 2 files of the split 'train', number 0 is missing; fetch it"):
        list(opus(folder).read("train"))
    write(base / "en-es" / "test.jsonl", numbered("test", 2))
    with pytest.raises(
        InputError, match=r"has the split 'test' several times \(test-00000-of-00001\.parquet, test\.jsonl\)"
    ):
        list(opus(folder).read("test"))
    for path in ("/no/such/folder", "./data", "a/b/c", "~/x"):
        with pytest.raises(InputError, match=r"data\.corpus\.path: no folder .* is no name on the hub"):
            opus(None, path=path).fingerprint("train")


# The library ----------------------------------------------------------------------------------------------------------


class FakeDataset:
    """As much of ``datasets.Dataset`` as is used."""

    def __init__(self, rows: list[dict[str, Any]], fingerprint: str) -> None:
        self.rows, self._fingerprint = rows, fingerprint
        self.column_names = list(rows[0])

    def select_columns(self, columns: list[str]) -> FakeDataset:
        return FakeDataset([{column: row[column] for column in columns} for row in self.rows], "selected")

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        for start in range(0, len(self.rows), batch_size):
            rows = self.rows[start : start + batch_size]
            yield {column: [row[column] for row in rows] for column in self.column_names}


class FakeLibrary(ModuleType):
    """Splits by name, and what was asked for."""

    def __init__(self, splits: dict[str, list[dict[str, Any]]], error: Exception | None = None) -> None:
        super().__init__("datasets")
        self.splits, self.error = splits, error
        self.calls: list[tuple[Any, ...]] = []
        self.config = SimpleNamespace(HF_HUB_OFFLINE=True, HF_ENDPOINT="http://127.0.0.1:9")
        self.asked_offline: list[bool] = []

    def load_dataset(
        self, path: str, name: str | None = None, *, split: str, revision: str | None = None
    ) -> FakeDataset:
        self.calls.append((path, name, split, revision))
        self.asked_offline.append(self.config.HF_HUB_OFFLINE)
        if self.error is not None:
            raise self.error
        return FakeDataset(self.splits[split], f"{path} {name} {split} {revision}")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    pairs: dict[str, Sides] = {
        "train": numbered("train", 2_500),
        "validation": numbered("dev", 3),
        "test": numbered("t", 2),
    }
    pairs["train"][7] = ("", "x")
    pairs["train"][9] = (None, "x")
    fake = FakeLibrary({split: [{"id": 1, **r} for r in records(sides)] for split, sides in pairs.items()})
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_the_hub_is_asked_where_there_is_no_folder(tmp_path: Path, library: FakeLibrary) -> None:
    corpus = opus(tmp_path, revision="805090d")
    assert corpus.splits() == ("train", "dev", "test") and not library.calls
    bad: list[BadLine] = []
    found = list(corpus.read("train", bad.append))
    expected = [Pair(*sides) for n, sides in enumerate(numbered("train", 2_500)) if n not in (7, 9)]
    assert found == expected
    assert bad == [BadLine(f"{OPUS}/train", 8, "empty side"), BadLine(f"{OPUS}/train", 10, "not text")]
    assert found[-1].line == 2_500
    assert [p.source for p in corpus.read("dev")] == ["dev 0", "dev 1", "dev 2"]
    corpus.fingerprint("train")
    assert library.calls == [(OPUS, "en-es", "train", "805090d"), (OPUS, "en-es", "validation", "805090d")]


def test_a_fingerprint_is_the_librarys(tmp_path: Path, library: FakeLibrary) -> None:
    prints = {
        opus(tmp_path, revision=revision).fingerprint(split) for revision in (None, "v1") for split in ("train", "dev")
    }
    assert len(prints) == 4
    assert opus(tmp_path).fingerprint("dev") in prints
    assert opus(tmp_path, source="translation.es", target="translation.en").fingerprint("dev") not in prints


def test_columns_of_a_data_set_may_be_the_sides(tmp_path: Path, library: FakeLibrary) -> None:
    library.splits["test"] = [{"english": "one", "spanish": "uno", "id": 1}]
    assert list(opus(tmp_path, source="english", target="spanish").read("test")) == [Pair("one", "uno")]
    for options, absent in (({}, {"source", "target"}), ({"source": "english"}, {"target"})):
        with pytest.raises(InputError) as caught:
            list(opus(tmp_path, **options).read("test"))
        wrong = "has no column 'translation'; it has english, spanish, id; name a field of one of them"
        assert set(caught.value.problems) == {f"data.corpus.{option}: {OPUS} {wrong}" for option in absent}
    library.splits["train"] = [{"translation": {"en": "one", "fr": "un"}}] * 2
    with pytest.raises(InputError, match=r"none of its 2 rows holds .*; one has translation\.en, translation\.fr"):
        list(opus(tmp_path).read("train"))


def test_offline_the_error_says_what_was_tried_and_how_to_fetch_it(tmp_path: Path, library: FakeLibrary) -> None:
    library.error = ConnectionError("Couldn't reach the Hub\nand more")
    for action in (lambda corpus: list(corpus.read("dev")), lambda corpus: corpus.fingerprint("dev")):
        with pytest.raises(InputError) as caught:
            action(opus(tmp_path, revision="v1"))
        assert caught.value.problems == [
            f"data.corpus.path: {OPUS} (config en-es, split validation, revision v1) can't be had from the hub or its cache "
            f"(ConnectionError: Couldn't reach the Hub), and there is no folder {tmp_path / OPUS}; on a machine with a network, "
            f"hf download {OPUS} --repo-type dataset --include 'en-es/*' --local-dir FOLDER fetches what belongs there"
        ]


def test_a_hub_that_does_not_answer_is_not_asked_again_and_again(tmp_path: Path, library: FakeLibrary) -> None:
    """The library would retry for minutes; told that it is offline, it looks in its cache."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    library.config = SimpleNamespace(HF_HUB_OFFLINE=False, HF_ENDPOINT=closed)
    assert [p.source for p in opus(tmp_path).read("dev")] == ["dev 0", "dev 1", "dev 2"], "from the cache"
    assert library.asked_offline == [True] and library.config.HF_HUB_OFFLINE is False
    library.error = ConnectionError("Offline mode is enabled")
    with pytest.raises(InputError, match=rf"hub or its cache \({closed} doesn't answer: .*refused\), and there is no"):
        opus(tmp_path).fingerprint("dev")
    assert library.config.HF_HUB_OFFLINE is False


def test_a_hub_that_answers_is_asked(tmp_path: Path, library: FakeLibrary) -> None:
    """Even one that has nothing at its root."""
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # 501 for every method
    threading.Thread(target=server.handle_request, daemon=True).start()
    library.config = SimpleNamespace(HF_HUB_OFFLINE=False, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}")
    opus(tmp_path).fingerprint("dev")
    assert library.asked_offline == [False]
    server.server_close()


def test_without_the_library_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r"no folder .*opus-100, and the hub needs the package 'datasets'; pip install datasets"
    ):
        opus(tmp_path).fingerprint("train")


CARD = """---
dataset_info:
- config_name: en-es
  features:
  - {name: translation, dtype: {translation: {languages: [en, es]}}}
configs:
- config_name: en-es
  data_files:
  - {split: test, path: en-es/test-*}
  - {split: train, path: en-es/train-*}
  - {split: validation, path: en-es/validation-*}
---
"""


def pairs_and_faults(corpus: Any, split: str) -> tuple[list[tuple[str, str, int]], list[tuple[int, str]]]:
    bad: list[BadLine] = []
    pairs = [(p.source, p.target, p.line) for p in corpus.read(split, bad.append)]
    return pairs, [(b.line, b.reason) for b in bad]


def test_the_real_library_reads_the_repository_as_we_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library takes a folder below the working directory for a repository, where we, whose root is another, see none."""
    pytest.importorskip("datasets", reason="needs datasets: pip install 'recambio[data]'")
    sides = {"train": numbered("train", 2_500), "validation": numbered("dev", 3), "test": numbered("t", 2)}
    sides["train"][7] = ("", "x")
    for split, pairs in sides.items():
        write(tmp_path / OPUS / "en-es" / f"{split}-00000-of-00001.parquet", pairs)
    (tmp_path / OPUS / "README.md").write_text(CARD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    theirs, ours = opus(tmp_path / "nothing"), opus(tmp_path)
    assert theirs.files("train") is None and ours.files("train") is not None
    for split in ("train", "dev", "test"):
        found = [pairs_and_faults(corpus, split) for corpus in (theirs, ours)]
        assert found[0] == found[1] and found[0][0]
        assert found[0][1] == ([(8, "empty side")] if split == "train" else [])
    assert len({theirs.fingerprint(split) for split in ("train", "dev", "test")}) == 3
    assert opus(tmp_path / "nothing").fingerprint("dev") == theirs.fingerprint("dev")
