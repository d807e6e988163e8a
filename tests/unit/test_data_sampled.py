"""Token stores of epochs: the same pairs otherwise cut, a function of seed and epoch alone, made again to the byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch.testing import assert_close

from recambio import config
from recambio.data import sampled as sampled_module
from recambio.data.cache import discard, discard_stale, leased
from recambio.data.plan import Cursor
from recambio.data.prepare import Prepared
from recambio.data.sampled import SampledStores, Sampling
from recambio.data.store import TokenStore
from recambio.data.tokenizers import SIDES
from recambio.errors import InputError
from recambio.experiment.prepare import run, sampling_of
from recambio.training.datamodule import TranslationData, _Steps
from recambio.training.module import StepBatch
from tests.unit.test_data_prepare import Sentences, prepared

ALPHA = Sampling("alpha", 0.05, seed=5, limit=256)
DROPOUT = Sampling("dropout", 0.3, seed=5, limit=256)
NODES = {
    "alpha": {"name": "unigram", "vocabulary_size": 400},
    "dropout": {"name": "bpe", "vocabulary_size": 300, "joint": False},
}


@pytest.fixture(scope="module", params=[ALPHA, DROPOUT], ids=["alpha", "dropout"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """Prepared once for each kind; tests that remove stores make their own :class:`SampledStores` in a cache of their own."""
    how: Sampling = request.param
    data = prepared(tmp_path_factory.mktemp("cache"), Sentences(200), tokenizer=NODES[how.option], sampling=how)
    yield data
    assert data.sampled is not None
    data.sampled.close()


def stores(data: Prepared, cache: Path, **changes: Any) -> SampledStores:
    """Those of the same pairs, in another cache."""
    assert data.sampled is not None
    sampling = replace(data.sampled.sampling, **changes)
    return SampledStores(sampling, data.tokenizer, data.stores["train"], data.sampled.text, cache)


def test_the_pairs_are_the_same_in_other_pieces(made: Prepared) -> None:
    assert made.sampled is not None
    plain, tokenizer = made.stores["train"], made.tokenizer
    for epoch in (0, 1):
        store = made.sampled.store(epoch)
        assert store.places.tolist() == plain.places.tolist()
        assert store.about == {"epoch": epoch, "too_long": 0}
        for side in SIDES:
            rows = [getattr(store, side)(i).tolist() for i in range(len(store))]
            encoded = [getattr(plain, side)(i).tolist() for i in range(len(plain))]
            assert tokenizer.decode(rows, side) == tokenizer.decode(encoded, side)
            assert sum(a != b for a, b in zip(rows, encoded, strict=True)) > 100
            assert store.lengths(side).mean() > plain.lengths(side).mean()


def test_nothing_but_the_training_pairs_changes(made: Prepared, tmp_path: Path) -> None:
    assert made.sampled is not None
    node = NODES[made.sampled.sampling.option]
    without = prepared(tmp_path, Sentences(200), tokenizer=node)
    assert without.sampled is None
    assert without.hashes == made.hashes
    assert {split: s.folder.name for split, s in without.stores.items()} == {
        split: s.folder.name for split, s in made.stores.items()
    }


def test_a_store_follows_from_seed_and_epoch_and_option_only(
    made: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stores(made, tmp_path / "first")
    hashes = {epoch: first.store(epoch).content_hash for epoch in range(3)}
    assert len(set(hashes.values())) == 3
    monkeypatch.setattr(sampled_module, "_CHUNK", 7)
    other = stores(made, tmp_path / "other")
    assert {epoch: other.store(epoch).content_hash for epoch in (2, 0, 1)} == hashes
    for change in ({"seed": 6}, {"strength": 0.4}):
        assert stores(made, tmp_path / "other", **change).store(0).content_hash not in hashes.values()


def test_pairs_that_would_be_too_long_stay_plain(made: Prepared, tmp_path: Path) -> None:
    plain = made.stores["train"]
    widest = int(max(plain.lengths(side).max() for side in SIDES)) + 1
    free, bound = stores(made, tmp_path).store(0), stores(made, tmp_path, limit=widest).store(0)
    longer = np.maximum(free.lengths("source"), free.lengths("target")) + 1 > widest
    assert 5 < longer.sum() == bound.about["too_long"] < 150
    for i in range(len(plain)):
        for side in SIDES:
            same = plain if longer[i] else free
            assert getattr(bound, side)(i).tolist() == getattr(same, side)(i).tolist()


def test_pairs_that_max_length_drops_are_not_in_it(tmp_path: Path) -> None:
    data = prepared(tmp_path, Sentences(100), max_length=12, sampling=replace(ALPHA, limit=12))
    assert data.sampled is not None and 0 < len(data.stores["train"]) < 100
    store = data.sampled.store(0)
    assert store.places.tolist() == data.stores["train"].places.tolist()
    sources = [
        data.tokenizer.decode([s.source(i).tolist()]) for s in (store, data.stores["train"]) for i in range(len(s))
    ]
    assert sources[: len(store)] == sources[len(store) :]


def test_epochs_that_are_passed_are_removed_and_made_again_alike(made: Prepared, tmp_path: Path) -> None:
    mine, theirs = stores(made, tmp_path), stores(made, tmp_path)
    hashes = [mine.store(epoch).content_hash for epoch in range(4)]
    theirs.store(2)
    mine.release(3)
    there = [mine.folder(epoch).is_dir() for epoch in range(4)]
    assert there == [True, False, True, True], "the first, what another run reads, and the epoch in progress stay"
    theirs.release(3)
    assert not theirs.folder(2).exists()
    assert [stores(made, tmp_path).store(epoch).content_hash for epoch in range(4)] == hashes
    mine.close()
    assert mine.folder(3).is_dir(), "a run that was interrupted goes on with it"
    for epoch in range(4):
        theirs.store(epoch)
    theirs.close(is_done=True)
    assert [theirs.folder(epoch).is_dir() for epoch in range(4)] == [True, False, False, False]


def test_a_lease_keeps_a_folder_and_what_nobody_wants_goes(tmp_path: Path) -> None:
    old, new, held = (tmp_path / "sampled" / name for name in ("old", "new", "held"))
    for folder in (old, new, held):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    week = time.time() - 8 * 24 * 3600
    os.utime(old, (week, week))
    os.utime(held, (week, week))
    with leased(held):
        discard_stale(tmp_path / "sampled")
        assert not discard(held)
    assert (old.exists(), new.exists(), held.exists()) == (False, True, True)
    assert discard(held) and not held.exists()
    assert discard(held), "it is gone already"


def test_the_next_epoch_is_made_by_another_process(
    made: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = stores(made, tmp_path / "here").store(1)
    ahead = stores(made, tmp_path / "there")
    ahead.ahead(1)
    assert ahead._helper is None, "so few pairs are not worth a process"
    monkeypatch.setattr(sampled_module, "_WORTH_A_PROCESS", 0)
    ahead.ahead(1)
    assert ahead._helper is not None and ahead._helper.wait(60) == 0
    monkeypatch.setattr(ahead, "_build", None)  # it is there
    assert ahead.store(1).content_hash == here.content_hash
    other = stores(made, tmp_path / "there")
    other.store(1)
    other.close(is_done=True)
    assert ahead.folder(1).is_dir(), "it was asked for, so no other run removes it"
    ahead.close(is_done=True)
    assert ahead._helper is None and not ahead.folder(1).exists()


def test_the_other_process_ends_with_the_one_that_asked(made: Prepared, tmp_path: Path) -> None:
    """The job names a process that isn't the parent, as after the parent's death; nothing half done is left."""
    asked: list[bytes] = []

    def popen(*arguments: Any, **options: Any) -> Any:
        return SimpleNamespace(stdin=_Sink(asked))

    one = stores(made, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampled_module, "_WORTH_A_PROCESS", 0)
        patch.setattr(sampled_module.subprocess, "Popen", popen)
        one.ahead(1)
    job = {**json.loads(asked[0]), "parent": os.getpid() + 1}
    ended = subprocess.run([sys.executable, "-m", "recambio.data.ahead"], input=json.dumps(job).encode(), timeout=60)
    assert ended.returncode == 1
    assert list((tmp_path / "sampled").iterdir()) == []


def test_making_a_store_ahead_needs_no_torch() -> None:
    code = "import sys, recambio.data.ahead; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


class _Sink:
    """What is written to a process that isn't started."""

    def __init__(self, written: list[bytes]) -> None:
        self.written = written

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *error: object) -> None: ...

    def write(self, content: bytes) -> None:
        self.written.append(content)


# Plan and training ------------------------------------------------------------------------------------------------------------


def batches(data: Prepared, sampled: SampledStores, ranks: int = 1, rank: int = 0, epochs: int = 3) -> TranslationData:
    """As a training has them, with batches that hold the longest sampled sentence just so."""
    found = TranslationData(
        data.stores["train"],
        None,
        pad_id=0,
        sos_id=2,
        eos_id=3,
        seed=5,
        batch_tokens=sampled.sampling.limit,
        sampled=sampled,
    )
    found.max_epochs = epochs
    found.trainer = SimpleNamespace(world_size=ranks, global_rank=rank, local_rank=rank, global_step=0)  # type: ignore[assignment]
    return found


def steps(data: TranslationData, cursor: Cursor = Cursor(), rank: int = 0, ranks: int = 1) -> list[StepBatch]:  # noqa: B008
    found = list(_Steps(data.plan(ranks), cursor, rank, data))
    assert found.pop().batches == [], "one step more than is trained"
    return found


def test_an_epoch_is_planned_by_its_own_lengths(made: Prepared, tmp_path: Path) -> None:
    sampled = stores(made, tmp_path, limit=80)
    data = batches(made, sampled)
    found = steps(data)
    for epoch in range(3):
        here = [step for step in found if step.epoch == epoch]
        assert sorted(i for s in here for b in s.batches for i in b.ids.tolist()) == list(range(len(data.train)))
        store = stores(made, tmp_path, limit=80).store(epoch)
        assert sum(s.target_tokens for s in here) == int((store.lengths("target") + 1).sum())
        for step in here:
            (batch,) = step.batches
            assert step.target_tokens == batch.target_tokens
            assert max(batch.source.numel(), batch.labels.numel(), batch.decoder_input.numel()) <= 80
            row, i = batch.source[0], int(batch.ids[0])
            assert row[: int(store.lengths("source")[i])].tolist() == store.source(i).tolist()
    assert data.plan(1).epoch(2).indices.tolist() != data.plan(1).epoch(1).indices.tolist()


def test_two_ranks_share_the_batches_of_one(made: Prepared, tmp_path: Path) -> None:
    alone = steps(batches(made, stores(made, tmp_path / "a")))
    pair = [steps(batches(made, stores(made, tmp_path / "b"), 2, rank), rank=rank, ranks=2) for rank in (0, 1)]
    assert len(pair[0]) == len(pair[1])
    assert [s.target_tokens for s in pair[0]] == [s.target_tokens for s in pair[1]]
    merged = [b for both in zip(*pair, strict=True) for step in both for b in step.batches if b.weight]
    assert len(merged) == len(alone)
    for one, other in zip(alone, merged, strict=True):
        assert_close(one.batches[0].target, other.target, rtol=0, atol=0)


def test_a_resume_in_a_later_epoch_serves_the_same_batches(made: Prepared, tmp_path: Path) -> None:
    """From the middle of the second epoch, its store gone meanwhile."""
    whole = batches(made, stores(made, tmp_path))
    served = steps(whole)
    first = sum(step.epoch == 0 for step in served)
    assert whole.last_step(3, 1, 0) == 3 * first
    state = {**whole.state_dict(), "epoch": 1, "batches": 3}
    assert whole.sampled is not None
    whole.sampled.close()
    shutil.rmtree(tmp_path / "sampled")
    again = batches(made, stores(made, tmp_path))
    again.load_state_dict(json.loads(json.dumps(state)))
    assert again.last_step(3, 1, first + 3) == 3 * first, "the schedule goes on as it began"
    assert again.last_step(4, 1, first + 3) == first + 3 + (first - 3) + 2 * first
    rest = steps(again, again.cursor)
    assert len(rest) == len(served) - first - 3
    for one, other in zip(served[first + 3 :], rest, strict=True):
        assert (one.epoch, one.target_tokens) == (other.epoch, other.target_tokens)
        for a, b in zip(one.batches, other.batches, strict=True):
            for name in ("ids", "source", "target"):
                assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)


def test_the_last_epoch_has_no_next_one(made: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = batches(made, stores(made, tmp_path), epochs=3)
    asked: list[int] = []
    monkeypatch.setattr(data.sampled, "ahead", asked.append)
    length = data.plan(1).steps_in_epoch(0)
    for epoch in range(3):
        data.enter(Cursor(epoch, 0))
    assert asked == [1, 2]
    data.max_steps = length
    data.enter(Cursor(0, 0))
    assert asked == [1, 2]
    data.max_steps = length + 1
    data.enter(Cursor(0, 0))
    assert asked == [1, 2, 1]


# Config -----------------------------------------------------------------------------------------------------------------------


def loaded(**data: Any) -> config.Config:
    return config.from_dict({"data": data, "training": {"max_steps": 1}}, check_hardware=False)


def test_the_config_says_how() -> None:
    assert sampling_of(loaded()) is None
    assert sampling_of(loaded(regularization={"alpha": 0.2}, batch_tokens=100)) == Sampling("alpha", 0.2, 1, 100)
    bpe = {"name": "bpe"}
    assert sampling_of(loaded(regularization={"dropout": 0.1}, tokenizer=bpe)) == Sampling("dropout", 0.1, 1, 128)
    assert sampling_of(loaded(regularization={"dropout": 0.0}, tokenizer=bpe)) is None


def test_data_prepare_says_what_it_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path))
    corpus = {"name": "embedded", "train_size": 100, "dev_size": 5, "test_size": 5}
    vocabulary = {"name": "unigram", "vocabulary_size": 400}
    run(loaded(corpus=corpus, tokenizer=vocabulary, regularization={"alpha": 0.2}))
    line = next(line for line in capsys.readouterr().out.splitlines() if "sampled" in line)
    (folder,) = (tmp_path / "sampled").iterdir()
    source, target = (f"{TokenStore(folder).n_tokens(side):,}" for side in SIDES)
    assert line == (
        f"  segmentations sampled with alpha 0.2: {source} source and {target} target tokens in the first epoch; "
        "0 pairs too long for it"
    )


@pytest.mark.parametrize(
    ("tokenizer", "options", "text"),
    [
        ("unigram", {"dropout": 0.1}, "data.regularization.dropout: isn't for the tokenizer 'unigram'; it has data.regularization.alpha"),
        ("bpe", {"alpha": 0.1}, "data.regularization.alpha: isn't for the tokenizer 'bpe'; it has data.regularization.dropout"),
        ("unigram", {"alpha": 0}, "data.regularization.alpha: must be greater than 0, but is 0"),
        ("bpe", {"dropout": 1.0}, "data.regularization.dropout: must be in [0, 1), but is 1.0"),
    ],
)  # fmt: skip
def test_wrong_options_are_one_line(tokenizer: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        loaded(tokenizer={"name": tokenizer}, regularization=options)
    assert caught.value.problems == [text]


def test_a_tokenizer_of_another_run_is_asked_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^data.regularization.dropout: isn't for the tokenizer 'unigram'"):
        prepared(tmp_path, sampling=DROPOUT)
