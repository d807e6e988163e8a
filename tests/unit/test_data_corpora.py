"""Corpora: where their files are found, what their fingerprints depend on."""

from __future__ import annotations

import gzip
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import recambio.data  # noqa: F401
from recambio.data import cache as cache_module
from recambio.data.cache import code_hash, file_hash, published
from recambio.data.pairs import Pair
from recambio.errors import InputError
from recambio.registry import CORPUS


def moses(root: Path | None, **options: Any) -> Any:
    context = {"root": root, "source_language": "en", "target_language": "es"}
    return CORPUS.create({"name": "moses", **options}, **context)


def write(root: Path, prefix: str, pairs: list[tuple[str, str]]) -> None:
    (root / prefix).parent.mkdir(parents=True, exist_ok=True)
    for index, language in enumerate(("en", "es")):
        (root / f"{prefix}.{language}").write_text("".join(pair[index] + "\n" for pair in pairs), "utf-8")


def test_moses_finds_splits_plain_or_compressed_under_the_root(tmp_path: Path) -> None:
    write(tmp_path, "t/train", [("a", "b")])
    write(tmp_path, "t/dev", [("c", "d")])
    plain = tmp_path / "t/train.en"
    (tmp_path / "t/train.en.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    corpus = moses(tmp_path, train="t/train", dev="t/dev")
    assert corpus.splits() == ("train", "dev")
    assert list(corpus.read("train")) == [Pair("a", "b")]
    assert list(corpus.read("dev")) == [Pair("c", "d")]
    assert list(moses(None, train=str(tmp_path / "t/train")).read("train")) == [Pair("a", "b")]


def test_moses_reads_several_corpora_in_order(tmp_path: Path) -> None:
    write(tmp_path, "one", [("a", "b")])
    write(tmp_path, "two", [("c", "d"), ("e", "f")])
    corpus = moses(tmp_path, train=["two", "one"])
    assert [(p.source, p.line) for p in corpus.read("train")] == [("c", 1), ("e", 2), ("a", 1)]
    assert corpus.fingerprint("train") != moses(tmp_path, train=["one", "two"]).fingerprint("train")


def test_missing_files_are_named_all_at_once_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        list(moses(tmp_path, train="tatoeba/train").read("train"))
    assert len(caught.value.problems) == 2
    for language, problem in zip(("en", "es"), caught.value.problems, strict=True):
        assert problem.startswith(f"data.corpus.train: no file {tmp_path}/tatoeba/train.{language} ")
        assert "https://opus.nlpl.eu" in problem and "data.root" in problem
    with pytest.raises(InputError, match=r"set data\.root or RECAMBIO_DATA"):
        list(moses(None, train="no/such").read("train"))
    with pytest.raises(InputError, match=r"no split 'dev'; it has train"):
        list(moses(tmp_path, train="tatoeba/train").read("dev"))


def test_tsv_corpus(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("1\tone\tuno\n", "utf-8")
    corpus = CORPUS.create({"name": "tsv", "train": "a.tsv", "columns": [1, 2]}, root=tmp_path)
    assert list(corpus.read("train")) == [Pair("one", "uno")]
    other = CORPUS.create({"name": "tsv", "train": "a.tsv", "columns": [2, 1]}, root=tmp_path)
    assert corpus.fingerprint("train") != other.fingerprint("train")
    for columns in ([0], [1, 1], [0, -1], [0, 1, 2]):
        with pytest.raises(InputError, match=r"data\.corpus\.columns"):
            CORPUS.create({"name": "tsv", "train": "a.tsv", "columns": columns}, root=tmp_path)


def test_a_fingerprint_follows_content_not_names(tmp_path: Path) -> None:
    write(tmp_path / "x", "train", [("a", "b")])
    write(tmp_path / "y", "other", [("a", "b")])
    first = moses(tmp_path / "x", train="train").fingerprint("train")
    assert first == moses(tmp_path / "y", train="other").fingerprint("train")
    write(tmp_path / "y", "other", [("a", "c")])
    assert first != moses(tmp_path / "y", train="other").fingerprint("train")


def test_an_unchanged_file_is_hashed_once_and_a_changed_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "a.en", tmp_path / "cache"
    path.write_text("uno")
    # Written just now, so a second write might leave no trace in its time stamps: it may not be remembered.
    file_hash(path, cache)
    assert not list(cache.glob("hashes/*"))
    monkeypatch.setattr(cache_module, "_SETTLED_SECONDS", -1.0)
    first = file_hash(path, cache)
    with monkeypatch.context() as patch:
        patch.setattr(cache_module.hashlib, "sha256", lambda *a: pytest.fail("read again"))
        assert file_hash(path, cache) == first
    # Same size, same modification time: the change shows all the same.
    status = path.stat()
    time.sleep(0.02)
    path.write_text("dos")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_hash(path, cache) == file_hash(path) != first


def test_the_hash_of_code_follows_the_file_and_what_it_inherits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(body: str) -> type:
        file = tmp_path / "swapped_part.py"
        file.write_text(f"from recambio.data.pairs import Pair\nclass Part(Pair):\n    a = {body}\n")
        spec = importlib.util.spec_from_file_location("swapped_part", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "swapped_part", module)
        # Through no cached bytecode: both versions are written within a second.
        exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
        found: type = module.Part
        return found

    first = part("1")
    before = code_hash(first)
    assert before == code_hash(first) != code_hash(Pair)
    assert code_hash(part("2")) != before == code_hash(part("1"))
    typed: dict[str, Any] = {"__name__": "typed_into_an_interpreter"}
    exec("class Part: pass", typed)
    assert code_hash(typed["Part"]) != code_hash(typed["Part"])


def test_a_failed_or_unfinished_build_leaves_nothing_and_damage_is_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "kind" / "key"

    def complete(path: Path) -> bool:
        return (path / "done").is_file()

    def failing(aside: Path) -> None:
        (aside / "half").write_text("")
        raise KeyboardInterrupt

    def building(aside: Path) -> None:
        assert not folder.exists() or not complete(folder)
        (aside / "done").write_text("")

    with pytest.raises(KeyboardInterrupt):
        published(folder, failing, complete)
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()
    (folder / "rubbish").write_text("")
    assert published(folder, building, complete)
    assert [p.name for p in folder.iterdir()] == ["done"]
    assert not published(folder, failing, complete)
    assert list(folder.parent.iterdir()) == [folder]


def test_an_interrupt_as_soon_as_there_is_a_folder_aside_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def interrupted(path: Path, **options: Any) -> None:
        make(path, **options)
        if path.name.startswith("."):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt):
        published(tmp_path / "kind" / "key", lambda aside: None, Path.is_dir)
    assert list((tmp_path / "kind").iterdir()) == []


def test_the_loser_of_a_race_takes_the_winners_result(tmp_path: Path) -> None:
    folder = tmp_path / "key"

    def beaten(aside: Path) -> None:
        (aside / "done").write_text("second")
        folder.mkdir()
        (folder / "done").write_text("first")

    published(folder, beaten, lambda path: (path / "done").is_file())
    assert (folder / "done").read_text() == "first"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_killed_processes_left_is_removed_in_time(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".old.1", tmp_path / ".fresh.1"
    for path in (old, fresh):
        path.mkdir()
    os.utime(old, (0, 0))
    published(tmp_path / "key", lambda aside: (aside / "done").touch(), lambda path: (path / "done").is_file())
    assert sorted(p.name for p in tmp_path.iterdir()) == [".fresh.1", "key"]


def test_the_embedded_corpus_asks_the_grammar_and_its_fingerprint_follows_the_grammars_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generate(split: str, size: int, seed: int) -> Iterator[SimpleNamespace]:
        for number in range(size):
            yield SimpleNamespace(source=f"{split} {number}", target=f"s{seed}", phenomena=["a", "b"])

    grammar = ModuleType("recambio.data.grammar")
    grammar.__path__ = [str(tmp_path)]
    grammar.generate = generate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "recambio.data.grammar", grammar)
    corpus = CORPUS.create({"name": "embedded", "train_size": 3, "dev_size": 1, "test_size": 2, "seed": 7})
    assert list(corpus.read("train")) == [Pair(f"train {n}", "s7", ("a", "b")) for n in range(3)]
    assert [len(list(corpus.read(split))) for split in corpus.splits()] == [3, 1, 2, 2, 2]
    (tmp_path / "rules.py").write_text("a = 1")
    before = corpus.fingerprint("train")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "rules.pyc").write_text("x")
    assert corpus.fingerprint("train") == before
    (tmp_path / "rules.py").write_text("a = 2")
    assert corpus.fingerprint("train") != before
    with pytest.raises(InputError, match="no split 'valid'"):
        list(corpus.read("valid"))


def test_the_embedded_corpus_is_deterministic_and_tagged() -> None:
    corpus = CORPUS.create({"name": "embedded", "train_size": 200, "dev_size": 20, "test_size": 30})
    assert corpus.splits() == ("train", "dev", "test", "recombination", "length")
    for split, size in zip(corpus.splits(), (200, 20, 30, 30, 30), strict=True):
        pairs = list(corpus.read(split))
        assert len(pairs) == size
        assert pairs == list(corpus.read(split))
        assert all(p.source and p.target and p.tags for p in pairs)
    prints = {corpus.fingerprint(split) for split in corpus.splits()}
    other = CORPUS.create({"name": "embedded", "train_size": 200, "dev_size": 20, "test_size": 30, "seed": 2})
    prints |= {other.fingerprint(split) for split in other.splits()}
    assert len(prints) == 10
    assert list(other.read("train")) != list(corpus.read("train"))


def test_the_embedded_corpus_needs_sizes() -> None:
    with pytest.raises(InputError) as caught:
        CORPUS.create({"name": "embedded", "train_size": 0, "test_size": -1})
    assert [p.split(":")[0] for p in caught.value.problems] == ["data.corpus.train_size", "data.corpus.test_size"]
