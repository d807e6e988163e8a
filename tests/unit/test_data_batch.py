"""Batches: the vectorised tensors are those that a loop over the tokens gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recambio.data.batch import Batch, collate
from recambio.data.plan import PlannedBatch
from recambio.data.store import StoreWriter, TokenStore

PAD, SOS, EOS = 0, 2, 3
Rows = list[tuple[list[int], list[int]]]
ROW = st.lists(st.integers(4, 60_000), max_size=7)


def stored(folder: Path, rows: Rows) -> TokenStore:
    with StoreWriter(folder, 65_536, has_text=False) as writer:
        writer.add([r[0] for r in rows], [r[1] for r in rows], np.arange(len(rows)))
        writer.finish({})
    return TokenStore(folder)


def batch_of(store: TokenStore, planned: PlannedBatch | list[int]) -> Batch:
    indices = np.array(planned) if isinstance(planned, list) else planned
    rows = store.read(indices.indices if isinstance(indices, PlannedBatch) else indices)
    return collate(rows, indices, pad_id=PAD, sos_id=SOS, eos_id=EOS)


@given(rows=st.lists(st.tuples(ROW, ROW), min_size=1, max_size=6), data=st.data())
def test_tensors_equal_those_of_a_plain_loop(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, data: st.DataObject
) -> None:
    store = stored(tmp_path_factory.mktemp("store"), rows)
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    batch = batch_of(store, chosen)

    sources = [[*rows[i][0], EOS] for i in chosen]
    targets = [[SOS, *rows[i][1], EOS] for i in chosen]
    n_source, n_target = max(map(len, sources)), max(map(len, targets))
    assert batch.ids.tolist() == chosen
    assert batch.source.tolist() == [row + [PAD] * (n_source - len(row)) for row in sources]
    assert batch.target.tolist() == [row + [PAD] * (n_target - len(row)) for row in targets]
    assert batch.source.dtype == batch.target.dtype == batch.ids.dtype == torch.int64
    assert batch.decoder_input.tolist() == [row[:-1] for row in batch.target.tolist()]

    mask = [[column < len(row) for column in range(n_source)] for row in sources]
    assert (batch.source_mask is None) == all(map(all, mask))
    if batch.source_mask is not None:
        assert batch.source_mask.dtype == torch.bool and batch.source_mask.tolist() == mask
    width = n_target - 1
    positions = [r * width + c for r, row in enumerate(targets) for c in range(len(row) - 1)]
    assert (batch.target_positions is None) == (len(positions) == width * len(chosen))
    if batch.target_positions is not None:
        assert batch.target_positions.tolist() == positions
    assert batch.labels.tolist() == [token for row in targets for token in row[1:]]
    assert batch.target_tokens == len(positions) == len(batch.labels)
    assert batch.weight == 1.0


def test_a_filler_carries_weight_zero(tmp_path: Path) -> None:
    store = stored(tmp_path, [([4], [5, 6]), ([4, 5], [6])])
    filler = batch_of(store, PlannedBatch(np.array([1]), 0.0))
    assert (filler.weight, filler.target_tokens, filler.ids.tolist()) == (0.0, 2, [1])
    assert batch_of(store, PlannedBatch(np.array([0]))).weight == 1.0


def test_moving_keeps_everything_and_never_shares_memory_with_the_store(tmp_path: Path) -> None:
    store = stored(tmp_path, [([4, 5], [5, 6]), ([4], [6])])
    batch = batch_of(store, [0, 1])
    moved = batch.to("meta")
    assert moved.source.device.type == moved.source_mask.device.type == "meta"  # type: ignore[union-attr]
    assert moved.target_positions is not None and moved.target_positions.device.type == "meta"
    assert (moved.target_tokens, moved.weight) == (batch.target_tokens, batch.weight)
    full = batch_of(store, [0]).to("cpu")
    assert full.source_mask is None and full.target_positions is None
    batch.source.fill_(9)
    batch.ids.fill_(9)
    assert store.source(0).tolist() == [4, 5]


@pytest.mark.gpu
def test_pinned_batches_reach_the_device(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("gpu: no CUDA device")
    batch = batch_of(stored(tmp_path, [([4, 5], [5, 6]), ([4], [6])]), [0, 1])
    pinned = batch.pin_memory()
    assert pinned.source.is_pinned() and pinned.source_mask is not None and pinned.source_mask.is_pinned()
    torch.testing.assert_close(pinned.to("cuda").labels.cpu(), batch.labels)
