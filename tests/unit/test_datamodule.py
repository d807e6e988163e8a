"""The loader's steps hold what the plan says, however much of the store is read ahead."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from recambio.data.batch import collate
from recambio.data.parts import Ints, Part
from recambio.data.plan import Cursor
from recambio.data.store import StoreWriter, TokenStore
from recambio.data.tokenizers.base import Side
from recambio.data.tokenizers.sampling import Rows
from recambio.training import datamodule
from recambio.training.datamodule import TranslationData

SPECIAL = {"pad_id": 0, "sos_id": 2, "eos_id": 3}
PAIRS = 200


def data_of(folder: Path, **options: object) -> TranslationData:
    random = np.random.default_rng(3)
    rows = [[random.integers(4, 90, n).tolist() for n in random.integers(0, 12, PAIRS)] for _ in range(2)]
    with StoreWriter(folder, 90, has_text=False) as writer:
        writer.add(*rows, np.arange(PAIRS))
        writer.finish({})
    data = TranslationData(TokenStore(folder), None, **SPECIAL, seed=1, batch_tokens=60, **options)  # type: ignore[arg-type]
    data.max_epochs = 2
    return data


@pytest.mark.parametrize("ahead", [1, 50, 10_000])
@pytest.mark.parametrize("ranks, accumulate, epoch, batches", [(1, 1, 0, 0), (2, 3, 1, 4)])
def test_steps_are_those_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int, ranks: int, accumulate: int, epoch: int, batches: int
) -> None:
    monkeypatch.setattr(datamodule, "_READ_AHEAD", ahead)
    parts = (Part("a", 150, 1.0), Part("b", PAIRS - 150, 2.5))
    data = data_of(tmp_path, accumulate=accumulate, parts=parts)
    data.cursor = Cursor(epoch, batches)
    for rank in range(ranks):
        found = list(data.training_steps(ranks, rank))
        assert found.pop().batches == []
        planned = list(
            itertools.takewhile(lambda step: step.epoch < 2, data.plan(ranks).iterate(Cursor(epoch, batches), rank))
        )
        assert [step.epoch for step in found] == [step.epoch for step in planned]
        for step, plan in zip(found, planned, strict=True):
            assert (step.source_tokens, step.target_tokens) == (plan.source_tokens, plan.target_tokens)
            for batch, wanted in zip(step.batches, plan.batches, strict=True):
                expected = collate(data.train.read(wanted.indices), wanted, **SPECIAL)
                assert batch.ids.tolist() == wanted.indices.tolist() and batch.weight == wanted.weight
                assert batch.source.tolist() == expected.source.tolist()
                assert batch.target.tolist() == expected.target.tolist()


def test_the_store_is_read_in_a_few_passes_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    plain = TokenStore.read

    def counted(store: TokenStore, indices: Ints) -> dict[Side, Rows]:
        read.append(len(indices))
        return plain(store, indices)

    monkeypatch.setattr(TokenStore, "read", counted)
    data = data_of(tmp_path)
    list(data.training_steps(1, 0))
    assert read == [PAIRS] * 2, "all of an epoch where the store is small"
    read.clear()
    monkeypatch.setattr(datamodule, "_READ_AHEAD", 1)
    list(data.training_steps(1, 0))
    assert sum(read) == 2 * PAIRS and max(read) < PAIRS // 16 + 60
    assert sorted(read)[2] >= PAIRS // 16, "the last of an epoch may be smaller"
