"""Mixtures: parts in one store, their weights, and what became of each part's pairs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recambio.data  # noqa: F401
from recambio import config as config_module
from recambio.data.corpora import Corpus, MixtureCorpus
from recambio.data.pairs import OnBad, Pair
from recambio.data.parts import Part
from recambio.data.plan import TrainingPlan
from recambio.data.prepare import Prepared, prepare
from recambio.errors import InputError
from recambio.registry import CORPUS

TOKENIZER = {"name": "unigram", "vocabulary_size": 300}


def write(
    root: Path, name: str, train: list[str], dev: list[str] | None = None, test: list[str] | None = None
) -> dict[str, Any]:
    """A TSV corpus whose targets are its sources in capitals; the node that reads it."""
    node: dict[str, Any] = {"name": "tsv"}
    for split, lines in (("train", train), ("dev", dev), ("test", test)):
        if lines is not None:
            (root / f"{name}.{split}.tsv").write_text("".join(f"{line}\t{line.upper()}\n" for line in lines), "utf-8")
            node[split] = f"{name}.{split}.tsv"
    return node


def sentences(word: str, count: int) -> list[str]:
    return [f"{word} {'abcdefghij'[n % 10]} {n}" for n in range(count)]


def mixture(root: Path, *parts: dict[str, Any], **options: Any) -> Any:
    return CORPUS.create({"name": "mixture", "parts": list(parts), **options}, root=root)


def prepared(root: Path, corpus: Corpus, **options: Any) -> Prepared:
    return prepare(corpus, tokenizer=options.pop("tokenizer", TOKENIZER), cache=root / "cache", **options)


@pytest.fixture
def nodes(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        write(tmp_path, "small", sentences("small", 40), test=["s one", "s two"]),
        write(tmp_path, "large", sentences("large", 160), dev=["l one"], test=["l two"]),
    ]


def test_training_pairs_stand_part_by_part_and_scored_splits_come_from_one(
    tmp_path: Path, nodes: list[dict[str, Any]]
) -> None:
    corpus = mixture(tmp_path, *nodes)
    assert corpus.splits() == ("train", "dev", "test")
    assert [p.source for p in corpus.read("train")] == sentences("small", 40) + sentences("large", 160)
    assert [p.source for p in corpus.read("dev")] == ["l one"]
    assert [p.source for p in corpus.read("test")] == ["s one", "s two"]
    other = mixture(tmp_path, *nodes, labels=["a", "b"], test="b")
    assert [p.source for p in other.read("test")] == ["l two"]
    assert mixture(tmp_path, nodes[0]).splits() == ("train", "test")
    assert [pair.file for pair in corpus.read("train")][:41:40] == [
        str(tmp_path / f"{n}.train.tsv") for n in ("small", "large")
    ]


def test_the_store_knows_its_parts(tmp_path: Path, nodes: list[dict[str, Any]]) -> None:
    result = prepared(tmp_path, mixture(tmp_path, *nodes, weights=[2, 0.5], labels=["own", "found"]))
    store = result.stores["train"]
    assert store.about["parts"] == [["own", 0], ["found", 40]]
    assert result.parts == (Part("own", 40, 2.0), Part("found", 160, 0.5))
    assert [part.per_epoch for part in result.parts] == [80, 80]
    decoded = result.tokenizer.decode([store.source(i).tolist() for i in range(len(store))], "source")
    assert decoded == sentences("small", 40) + sentences("large", 160)
    assert "parts" not in result.stores["dev"].about
    single = prepared(tmp_path, CORPUS.create(nodes[1], root=tmp_path))
    assert single.parts == () and "parts" not in single.stores["train"].about


def test_an_epoch_holds_each_part_as_often_as_it_weighs(tmp_path: Path, nodes: list[dict[str, Any]]) -> None:
    result = prepared(tmp_path, mixture(tmp_path, *nodes, weights=[2, 0.5]))
    store = result.stores["train"]
    lengths = store.lengths("source"), store.lengths("target")
    training = TrainingPlan(*lengths, data_hash=store.content_hash, seed=1, batch_tokens=200, parts=result.parts)
    times = [Counter(training.epoch(epoch).indices.tolist()) for epoch in (0, 1)]
    for epoch in times:
        assert all(epoch[index] == 2 for index in range(40))
        assert sum(epoch[index] for index in range(40, 200)) == 80
    # The second epoch's half of the large part is the other one.
    assert all(times[0][index] + times[1][index] == 1 for index in range(40, 200))


def test_other_weights_need_no_new_store_and_other_parts_do(tmp_path: Path, nodes: list[dict[str, Any]]) -> None:
    first = prepared(tmp_path, mixture(tmp_path, *nodes))
    assert [part.weight for part in first.parts] == [1.0, 1.0]
    weighted = prepared(tmp_path, mixture(tmp_path, *nodes, weights=[3, 1]))
    assert weighted.stores["train"].folder == first.stores["train"].folder
    assert [part.weight for part in weighted.parts] == [3.0, 1.0]
    for other in (mixture(tmp_path, *nodes[::-1]), mixture(tmp_path, *nodes, labels=["a", "b"])):
        assert prepared(tmp_path, other).stores["train"].folder != first.stores["train"].folder
    assert mixture(tmp_path, *nodes).fingerprint("dev") == mixture(tmp_path, *nodes, labels=["a", "b"]).fingerprint(
        "dev"
    )
    write(tmp_path, "small", sentences("changed", 40))
    changed = mixture(tmp_path, *nodes)
    assert changed.fingerprint("train") != mixture(tmp_path, nodes[1], nodes[0]).fingerprint("train")
    assert prepared(tmp_path, changed).hashes["train"] != first.hashes["train"]


@pytest.mark.parametrize("temperature", [1.0, 1.5, 5.0, 1e6])
def test_temperature_samples_in_proportion_and_the_largest_once(
    tmp_path: Path, nodes: list[dict[str, Any]], temperature: float
) -> None:
    result = prepared(tmp_path, mixture(tmp_path, *nodes, temperature=temperature))
    small, large = result.parts
    assert (small.pairs, large.pairs) == (40, 160) and large.weight == 1.0
    ratio = (small.weight * small.pairs) / (large.weight * large.pairs)
    assert ratio == pytest.approx((40 / 160) ** (1 / temperature))
    assert small.per_epoch == round(160 * (40 / 160) ** (1 / temperature))


def test_the_report_says_what_was_dropped_from_which_part(tmp_path: Path) -> None:
    first = write(tmp_path, "first", [*sentences("one", 50), "one a 0"])
    second = write(tmp_path, "second", [*sentences("two", 30), "one b 1", "one c 2", "x " * 130])
    with (tmp_path / "second.train.tsv").open("a") as file:
        file.write("no target\n\tempty\n")
    result = prepared(tmp_path, mixture(tmp_path, first, second))
    report = result.reports["train"]
    assert report.parts == [
        {"name": "tsv", "read": 51, "kept": 50, "dropped": {"duplicate": 1}},
        {
            "name": "tsv-2",
            "read": 35,
            "kept": 30,
            "dropped": {"too few columns": 1, "empty side": 1, "duplicate": 2, "too long": 1},
        },
    ]
    assert (report.read, report.kept) == (86, 80)
    assert "  tsv-2: 30 of 35 pairs kept (2 duplicate, 1 empty side, 1 too few columns, 1 too long)" in str(report)
    assert [part.pairs for part in result.parts] == [50, 30]
    assert json.loads(json.dumps(report.to_dict()))["parts"] == report.parts


def test_pairs_cut_by_length_are_counted_with_their_part(tmp_path: Path) -> None:
    nodes = [
        write(tmp_path, name, [f"{name} " * (n % 7 + 1) + str(n) for n in range(count)])
        for name, count in (("ab", 40), ("cde", 160))
    ]
    whole = prepared(tmp_path, mixture(tmp_path, *nodes))
    store = whole.stores["train"]
    lengths = np.maximum(store.lengths("source"), store.lengths("target")) + 1
    limit = int(np.median(lengths[:40]))
    cut = prepared(tmp_path, mixture(tmp_path, *nodes), max_length=limit, tokenizer=whole.tokenizer)
    fits = [int((lengths[:40] <= limit).sum()), int((lengths[40:] <= limit).sum())]
    assert 0 < fits[0] < 40 and 0 < fits[1] < 160
    assert [part.pairs for part in cut.parts] == fits
    assert cut.stores["train"].about["parts"] == [["tsv", 0], ["tsv-2", fits[0]]]
    for part, kept, read in zip(cut.reports["train"].parts, fits, (40, 160), strict=True):
        assert (part["kept"], part["dropped"]) == (kept, {"max_length": read - kept})


def test_a_part_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a", sentences("one", 40)), write(tmp_path, "b", sentences("one", 5))
    expected = r"data\.cleaning: leaves none of the 5 training pairs of data\.corpus\.parts\[1\] \(tsv-2: 5 duplicate\)"
    with pytest.raises(InputError, match=expected):
        prepared(tmp_path, mixture(tmp_path, first, second))
    second = write(tmp_path, "b", ["long " * 60])
    expected = (
        r"data\.max_length: leaves none of the 1 training pairs of data\.corpus\.parts\[1\] \(tsv-2: 1 max_length\)"
    )
    with pytest.raises(InputError, match=expected):
        prepared(tmp_path, mixture(tmp_path, first, second), max_length=30)


def test_problems_of_a_part_say_which(tmp_path: Path, nodes: list[dict[str, Any]]) -> None:
    corpus = mixture(tmp_path, nodes[0], {"name": "moses", "train": "none"})
    for action in (lambda: list(corpus.read("train")), lambda: corpus.fingerprint("train")):
        with pytest.raises(InputError) as caught:
            action()
        assert [p.split(" ")[0] for p in caught.value.problems] == ["data.corpus.parts[1].train:"] * 2
    lacking = mixture(tmp_path, {"name": "moses", "train": "none"}, nodes[0], {"name": "tsv", "train": "no.tsv"})
    with pytest.raises(InputError) as caught:
        lacking.fingerprint("train")
    wanting = ["data.corpus.parts[0].train:"] * 2 + ["data.corpus.parts[2].train:"]
    assert [p.split(" ")[0] for p in caught.value.problems] == wanting, "all parts at once"
    (tmp_path / "large.dev.tsv").write_text("bad\n")
    with pytest.raises(InputError, match=r"^\S*large\.dev\.tsv:1: 1 columns; 2 are needed"):
        list(mixture(tmp_path, *nodes).read("dev"))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"weights": [1]}, r"data\.corpus\.weights: has 1 numbers for 2 parts"),
        ({"weights": [1, 0]}, r"data\.corpus\.weights\[1\]: is 0; more than 0"),
        ({"weights": [float("nan"), 1]}, r"data\.corpus\.weights\[0\]: is nan"),
        ({"weights": [1, 1], "temperature": 2.0}, r"data\.corpus\.weights: is given, and so is temperature"),
        ({"temperature": 0.5}, r"data\.corpus\.temperature: is 0\.5; 1 \(parts as they are\) or more"),
        ({"labels": ["a"]}, r"data\.corpus\.labels: has 1 names for 2 parts"),
        ({"labels": ["a", "a"]}, r"data\.corpus\.labels: are 'a', 'a'; each part needs a name of its own"),
        ({"dev": "tsv"}, r"data\.corpus\.dev: no part 'tsv' with a dev set; those with one: tsv-2"),
        ({"test": "nope"}, r"data\.corpus\.test: no part 'nope' with a test set; those with one: tsv, tsv-2"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, nodes: list[dict[str, Any]], options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        mixture(tmp_path, *nodes, **options)


class OnlyTest(Corpus):
    """A corpus of a plugin without training pairs."""

    def splits(self) -> tuple[str, ...]:
        return ("test",)

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        yield Pair("a", "b")

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        return "x"


def test_wrong_parts_are_named_together(tmp_path: Path, nodes: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError) as caught:
        MixtureCorpus([mixture(tmp_path, nodes[0]), OnlyTest()], weights=[1.0])
    assert [p.split(";")[0] for p in caught.value.problems] == [
        "data.corpus.parts[0]: is a mixture within a mixture",
        "data.corpus.parts[1]: has no training pairs",
        "data.corpus.weights: has 1 numbers for 2 parts",
    ]
    with pytest.raises(InputError, match=r"data\.corpus\.parts: is empty"):
        mixture(tmp_path)
    assert CORPUS.problems(
        {"name": "mixture", "parts": [{"name": "tvs"}, {"name": "tsv", "trian": "x"}]}, "data.corpus"
    )[:2] == [
        "data.corpus.parts[0]: " + CORPUS.unknown("tvs"),
        "data.corpus.parts[1].trian: corpus 'tsv' has no option 'trian'. Did you mean 'train'? Its options: train, dev, test, columns",
    ]


def test_a_config_takes_a_mixture(tmp_path: Path) -> None:
    node = {"name": "mixture", "parts": ["embedded", {"name": "tsv", "train": "a.tsv"}], "weights": [1, 2.5]}
    values = {"data": {"corpus": node}, "training": {"max_steps": 1}}
    loaded = config_module.from_dict(values, ["data.corpus.weights=[2,1]"], check_hardware=False)
    corpus = loaded.values.data.corpus
    assert corpus["weights"] == [2, 1]
    assert corpus["parts"][0]["train_size"] == 20_000 and corpus["parts"][1]["columns"] is None
    loaded.save(tmp_path / "saved.yaml")
    assert config_module.load(tmp_path / "saved.yaml", check_hardware=False).values == loaded.values


def test_an_edit_of_a_parts_code_makes_another_corpus(tmp_path: Path, nodes: list[dict[str, Any]]) -> None:
    names = {cls.__name__ for cls in mixture(tmp_path, nodes[0], {"name": "huggingface", "path": "a/b"}).code()}
    assert names >= {"MixtureCorpus", "TsvCorpus", "HuggingFaceCorpus", "ParquetCorpus", "JsonlCorpus", "RecordPairs"}
