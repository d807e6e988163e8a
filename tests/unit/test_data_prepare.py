"""Preparing: nothing is lost uncounted, nothing is done twice, nothing is half done."""

from __future__ import annotations

import json
import lzma
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recambio.data  # noqa: F401
from recambio.data import prepare as prepare_module
from recambio.data.cache import cache_folder
from recambio.data.corpora import Corpus
from recambio.data.pairs import OnBad, Pair
from recambio.data.plan import TrainingPlan
from recambio.data.prepare import Prepared, prepare
from recambio.data.store import TokenStore
from recambio.data.tokenizers import Tokenizer, load_tokenizer
from recambio.errors import InputError
from recambio.registry import CORPUS, Node

WORDS = [
    "uno",
    "dos",
    "tres",
    "cuatro",
    "cinco",
    "seis",
    "siete",
    "ocho",
    "once",
    "gato",
    "perro",
    "casa",
    "rojo",
    "ñu",
]
TOKENIZER_NODE = {"name": "unigram", "vocabulary_size": 300}


class Sentences(Corpus):
    """Made-up pairs; ``readable=False`` stands for a corpus that may be asked for its fingerprint only."""

    def __init__(self, count: int = 300, longest: int = 12, version: int = 1, readable: bool = True) -> None:
        self.count, self.longest, self.version, self.readable = count, longest, version, readable

    def splits(self) -> tuple[str, ...]:
        return ("train", "dev")

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        return f"{self.count} {self.longest} {self.version} {split}"

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        assert self.readable, "the corpus was read again"
        draw = np.random.default_rng([self.version, split == "train"])
        for number in range(1, (self.count if split == "train" else 40) + 1):
            words = draw.choice(WORDS, draw.integers(1, self.longest + 1)).tolist()
            yield Pair(f" the {' '.join(words)}", f"¿{' '.join(words)}?", (f"n{len(words)}",), number, "made")


def prepared(cache: Path, corpus: Corpus | None = None, **options: Any) -> Prepared:
    return prepare(corpus or Sentences(), tokenizer=options.pop("tokenizer", TOKENIZER_NODE), cache=cache, **options)


def folders(cache: Path) -> set[str]:
    return {f"{path.parent.name}/{path.name}" for path in cache.glob("*/*") if path.parent.name != "locks"}


def test_stores_hold_what_the_tokenizer_gives_for_the_cleaned_pairs(tmp_path: Path) -> None:
    cleaning: list[Node] = ["normalize", {"name": "length", "max_words": 9}, "duplicates"]
    result = prepared(tmp_path, cleaning=cleaning)
    train = result.stores["train"]
    read = list(Sentences().read("train"))
    assert len(train) == result.reports["train"].kept < 300
    for index in range(len(train)):
        pair = read[train.places[index]]
        assert result.tokenizer.decode([train.source(index).tolist()], "source") == [pair.source.strip()]
        assert result.tokenizer.decode([train.target(index).tolist()], "target") == [pair.target]
        assert len(pair.source.split()) <= 9
    assert len(set(train.places.tolist())) == len(train)


def test_a_scored_split_keeps_every_pair_raw_text_and_tags(tmp_path: Path) -> None:
    result = prepared(tmp_path, cleaning=["normalize", {"name": "length", "max_words": 2}], max_length=8)
    dev, read = result.stores["dev"], list(Sentences().read("dev"))
    assert len(dev) == 40 and max(dev.lengths("source")) > 8
    assert dev.text("source") == [pair.source for pair in read]
    assert dev.text("target") == [pair.target for pair in read]
    assert dev.tags() == [pair.tags for pair in read]
    # The text stays as it was; the ids are those of the normalised line.
    assert read[0].source.startswith(" ")
    assert result.tokenizer.decode([dev.source(0).tolist()], "source") == [read[0].source.strip()]
    assert result.reports["dev"].to_dict() == {"split": "dev", "read": 40, "kept": 40, "dropped": {}, "samples": []}


def test_max_length_counts_the_end_and_cuts_training_only(tmp_path: Path) -> None:
    whole = prepared(tmp_path, cleaning=["normalize"], max_length=1000)
    lengths = np.maximum(whole.stores["train"].lengths("source"), whole.stores["train"].lengths("target")) + 1
    limit = int(np.median(lengths))
    cut = prepared(tmp_path, cleaning=["normalize"], max_length=limit, tokenizer=whole.tokenizer)
    report = cut.reports["train"]
    assert report.dropped == {"max_length": int((lengths > limit).sum())}
    assert report.read == 300 == report.kept + sum(report.dropped.values())
    assert cut.stores["train"].places.tolist() == np.flatnonzero(lengths <= limit).tolist()
    lines = [s["line"] for s in report.samples]
    assert len(set(lines)) == 5 and set(lines) <= set((np.flatnonzero(lengths > limit) + 1).tolist())
    assert len(cut.stores["dev"]) == 40


def test_bad_lines_are_counted_with_what_cleaning_drops(tmp_path: Path) -> None:
    (tmp_path / "train.en").write_bytes(b"one\n\nfo\xffur\nsame\n one\nfive cats\n" + b"a dog\n" * 200)
    (tmp_path / "train.es").write_bytes(b"uno\ndos\ncuatro\nsame\nuno\ncinco gatos\n" + b"un perro\n" * 200)
    corpus = CORPUS.create({"name": "moses", "train": "train"}, root=tmp_path)
    result = prepared(tmp_path / "cache", corpus)
    report = result.reports["train"]
    assert report.dropped == {"empty side": 1, "not UTF-8": 1, "copy": 1, "duplicate": 200}
    assert (report.read, report.kept) == (206, 3)
    lines = {reason: [s["line"] for s in report.samples if s["reason"] == reason] for reason in report.dropped}
    duplicates = lines.pop("duplicate")
    assert lines == {"empty side": [2], "not UTF-8": [3], "copy": [4]}
    assert len(set(duplicates)) == 5 and set(duplicates) <= {5, *range(8, 207)}
    # Places count every line of the file, bad ones too.
    assert result.stores["train"].places.tolist() == [0, 5, 6]


def test_a_second_run_reads_nothing(tmp_path: Path) -> None:
    first = prepared(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    second = prepared(tmp_path, Sentences(readable=False))
    assert second.hashes == first.hashes
    assert second.reports == first.reports
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    again = prepared(tmp_path / "elsewhere")
    assert again.hashes == first.hashes


def test_a_new_tokenizer_needs_no_new_cleaning(tmp_path: Path) -> None:
    prepared(tmp_path)
    other = prepared(
        tmp_path, Sentences(readable=False), splits=["train"], tokenizer={"name": "bpe", "vocabulary_size": 300}
    )
    assert type(other.tokenizer).__name__ == "BytePairEncoding"
    assert list(other.stores) == ["train"]


@pytest.mark.parametrize(
    "change",
    [
        {"cleaning": ["normalize"]},
        {"cleaning": ["normalize", {"name": "length", "max_words": 3}]},
        {"cleaning": ["normalize", "length", "ratio", "duplicates", "copies"]},
        {"tokenizer": {"name": "unigram", "vocabulary_size": 301}},
        {"tokenizer": {"name": "unigram", "vocabulary_size": 300, "joint": False}},
        {"max_length": 20},
        {"corpus": Sentences(version=2)},
    ],
)
def test_other_options_never_share_a_store(tmp_path: Path, change: dict[str, Any]) -> None:
    first = prepared(tmp_path)
    second = prepared(tmp_path, **change)
    assert first.stores["train"].folder != second.stores["train"].folder
    # As if the first had never been.
    alone = prepared(tmp_path / "elsewhere", **change)
    assert (alone.hashes, alone.reports) == (second.hashes, second.reports)
    assert prepared(tmp_path, Sentences(readable=False)).hashes == first.hashes


def test_a_part_that_does_nothing_new_changes_no_ids(tmp_path: Path) -> None:
    # Without copies or duplicates in it, the text is the same: so are vocabulary and ids, though the keys differ.
    first, second = prepared(tmp_path, cleaning=["normalize"]), prepared(tmp_path, cleaning=["normalize", "copies"])
    assert first.hashes == second.hashes


def test_a_trained_tokenizer_is_taken_as_it_is(tmp_path: Path) -> None:
    first = prepared(tmp_path / "one")
    first.tokenizer.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    second = prepared(tmp_path / "two", tokenizer=loaded, splits=("dev",))
    assert second.tokenizer is loaded
    assert second.hashes == {key: first.hashes[key] for key in ("tokenizer", "dev", "dev.corpus")}
    assert not (tmp_path / "two" / "clean").exists()
    with pytest.raises(ValueError, match="has no vocabulary"):
        prepared(tmp_path / "two", tokenizer=type(loaded)())


def test_the_corpus_passes_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = prepared(tmp_path / "one").hashes
    monkeypatch.setattr(prepare_module, "_CHUNK", 32)
    sizes: list[int] = []
    original = prepare_module._Work._encode

    def spy(self: Any, tokenizer: Tokenizer, lines: Sequence[str], side: Any) -> list[list[int]]:
        sizes.append(len(lines))
        return original(self, tokenizer, lines, side)

    monkeypatch.setattr(prepare_module._Work, "_encode", spy)
    stages: dict[str, list[int]] = {}
    result = prepared(
        tmp_path / "two", threads=2, progress=lambda stage, done, total: stages.setdefault(stage, []).append(done)
    )
    assert result.hashes == expected
    assert max(sizes) == 32 and sum(sizes) == 2 * (result.reports["train"].kept + 40)
    assert set(stages) == {"cleaning", "learning the vocabulary", "tokenising train", "tokenising dev"}
    assert all(done == sorted(done) and len(done) > 1 for done in stages.values())


def _in_another_process(cache: str, results: Any, barrier: Any) -> None:
    barrier.wait()
    result = prepared(Path(cache), Sentences(count=2_000))
    train = result.stores["train"]
    results.put((result.hashes, len(train), int(train.read(np.arange(len(train)))["source"].tokens.sum())))


def test_two_processes_may_prepare_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    results, barrier = spawn.Queue(), spawn.Barrier(2)
    processes = [spawn.Process(target=_in_another_process, args=(str(tmp_path), results, barrier)) for _ in range(2)]
    for process in processes:
        process.start()
    first, second = results.get(timeout=60), results.get(timeout=60)
    for process in processes:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert first == second and first[1] > 1_000
    assert not [name for name in folders(tmp_path) if "/." in name]
    assert len(folders(tmp_path)) == 4


def test_a_failure_leaves_nothing_and_the_next_run_succeeds(tmp_path: Path) -> None:
    class Breaking(Sentences):
        def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
            for pair in super().read(split):
                if pair.line == 30:
                    raise InputError("made:30: broken")
                yield pair

    for splits in (["train"], ["dev"]):
        with pytest.raises(InputError, match="made:30: broken"):
            prepared(tmp_path, Breaking(), splits=splits)
        assert not folders(tmp_path)
    prepared(tmp_path)
    with pytest.raises(InputError, match="made:30: broken"):
        prepared(tmp_path, Breaking(version=2), splits=["dev"])
    assert not [name for name in folders(tmp_path) if "/." in name]


@pytest.mark.parametrize("loses", ["nothing", "what was written last", "more than was promised"])
def test_tokenising_goes_on_where_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loses: str
) -> None:
    expected = prepared(tmp_path / "whole", max_length=16)
    monkeypatch.setattr(prepare_module, "_CHUNK", 32)
    lines: list[int] = []
    last_allowed = 6
    original = prepare_module._Work._encode

    def encode(self: Any, tokenizer: Tokenizer, texts: Sequence[str], side: Any) -> list[list[int]]:
        if len(lines) == last_allowed:
            raise KeyboardInterrupt
        lines.append(len(texts))
        return original(self, tokenizer, texts, side)

    monkeypatch.setattr(prepare_module._Work, "_encode", encode)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path, max_length=16, splits=["train"])
    (part,) = (tmp_path / "tokens").glob(".*.part")
    for path in part.glob("*.tokens"):
        if loses == "what was written last":  # a torn chunk after the last whole one
            path.write_bytes(path.read_bytes() + b"torn")
        elif loses == "more than was promised":
            path.write_bytes(path.read_bytes()[:-1])
    lines.clear()
    last_allowed = 1_000
    found = prepared(tmp_path, max_length=16, splits=["train"])
    assert found.hashes["train"] == expected.hashes["train"]
    report = found.reports["train"]
    assert report == expected.reports["train"] and report.dropped["max_length"] > 0
    again = 0 if loses == "more than was promised" else 3 * 32
    assert sum(lines) == 2 * (report.kept + report.dropped["max_length"] - again)
    ours, theirs = found.stores["train"].folder, expected.stores["train"].folder
    assert {p.name: p.read_bytes() for p in ours.iterdir()} == {p.name: p.read_bytes() for p in theirs.iterdir()}
    assert not [name for name in folders(tmp_path) if "/." in name]


def test_a_damaged_store_is_made_again(tmp_path: Path) -> None:
    first = prepared(tmp_path)
    path = first.stores["train"].folder / "target.tokens"
    expected = path.read_bytes()
    path.write_bytes(expected[:-2])
    assert not TokenStore.is_complete(path.parent)
    assert prepared(tmp_path).hashes == first.hashes
    assert path.read_bytes() == expected


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.cleaning: leaves none of 300 training pairs \(300 too short\)"):
        prepared(tmp_path, cleaning=[{"name": "length", "min_words": 50}])
    with pytest.raises(InputError, match=r"data\.max_length: none of \d+ training pairs has at most 2 tokens"):
        prepared(tmp_path, max_length=2)
    with pytest.raises(InputError, match=r"data\.max_length: is 1; at least 2"):
        prepared(tmp_path, max_length=1)
    with pytest.raises(InputError, match=r"data\.tokenizer: unknown tokenizer 'bp'"):
        prepared(tmp_path, tokenizer="bp")
    with pytest.raises(InputError, match="no split 'test'; it has train, dev"):
        prepared(tmp_path, splits=["test"])
    assert not [name for name in folders(tmp_path) if "/." in name]


def test_a_bad_byte_in_a_scored_split_is_an_error(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        for language in ("en", "es"):
            (tmp_path / f"{name}.{language}").write_bytes(b"one cat\n" * 200 + b"fo\xffur\n")
    corpus = CORPUS.create({"name": "moses", "train": "train", "dev": "dev"}, root=tmp_path)
    with pytest.raises(InputError, match=r"dev\.en:201: not UTF-8 \(byte 0xff at 3\)"):
        prepared(tmp_path / "cache", corpus, cleaning=["normalize"])


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECAMBIO_CACHE", raising=False)
    assert cache_folder() == Path(".cache/recambio")
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder("given") == Path("given")


def test_the_embedded_corpus_goes_the_same_way(tmp_path: Path) -> None:
    corpus = CORPUS.create({"name": "embedded", "train_size": 2_000, "dev_size": 50, "test_size": 60})
    result = prepared(tmp_path, corpus, tokenizer={"name": "unigram", "vocabulary_size": 600})
    assert {split: len(store) for split, store in result.stores.items() if split != "train"} == {
        "dev": 50, "test": 60, "recombination": 60, "length": 60
    }  # fmt: skip
    report = result.reports["train"]
    # The grammar writes clean text: hardly a sentence may go.
    assert report.read == 2_000 and sum(report.dropped.values()) < 20
    for split in ("test", "length"):
        store = result.stores[split]
        assert all(store.tags())
        rows = [store.target(i).tolist() for i in range(len(store))]
        assert result.tokenizer.decode(rows) == store.text("target")


@pytest.fixture(scope="module")
def tatoeba(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    options = {"train": "tatoeba/train", "dev": "tatoeba/dev", "test": "tatoeba/test"}
    corpus = CORPUS.create({"name": "moses", **options}, root=shared_data, source_language="en", target_language="es")
    cache = tmp_path_factory.mktemp("cache")
    return prepare(corpus, tokenizer={"name": "bpe", "vocabulary_size": 8_000}, max_length=128, cache=cache)


@pytest.mark.slow
def test_all_of_tatoeba_arrives(tatoeba: Prepared) -> None:
    report = tatoeba.reports["train"]
    assert report.read == 157_031
    assert report.dropped.keys() == {"max_length", "language"}
    assert report.dropped["max_length"] < 30 and report.dropped["language"] == 1
    assert {split: len(store) for split, store in tatoeba.stores.items()} == {
        "train": report.kept, "dev": 2_000, "test": 2_000
    }  # fmt: skip
    assert json.loads(json.dumps(report.to_dict()))["read"] == 157_031


@pytest.mark.slow
def test_lines_of_tatoeba_are_the_lines_of_its_files(tatoeba: Prepared, shared_data: Path) -> None:
    # Read here with the standard library alone.
    source, target = (
        lzma.decompress((shared_data / f"tatoeba/train.{language}.xz").read_bytes()).decode().split("\n")[:-1]
        for language in ("en", "es")
    )
    train = tatoeba.stores["train"]
    chosen = [0, 1, 77_777, len(train) - 1, *np.random.default_rng(0).integers(0, len(train), 3_000).tolist()]
    decode = tatoeba.tokenizer.decode
    assert decode([train.source(i).tolist() for i in chosen], "source") == [source[train.places[i]] for i in chosen]
    assert decode([train.target(i).tolist() for i in chosen], "target") == [target[train.places[i]] for i in chosen]
    for split in ("dev", "test"):
        store = tatoeba.stores[split]
        lines = (shared_data / f"tatoeba/{split}.es").read_bytes().decode().split("\n")[:-1]
        assert store.text("target") == lines
        assert decode([store.target(i).tolist() for i in range(len(store))]) == lines


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [2_000, 4_000])
def test_little_of_tatoeba_is_padding(tatoeba: Prepared, batch_tokens: int) -> None:
    store = tatoeba.stores["train"]
    lengths = store.lengths("source"), store.lengths("target")
    training = TrainingPlan(*lengths, data_hash=store.content_hash, seed=1, batch_tokens=batch_tokens)
    drawn = training.epoch(0)
    real = padded = 0
    for number in range(len(drawn)):
        rows = drawn.batch(number)
        for side in lengths:
            real += int((side[rows] + 1).sum())
            padded += len(rows) * (int(side[rows].max()) + 1)
    assert real / padded >= 0.97
