"""The training plan as a loader of whole optimiser steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from recambio.data.batch import Batch, collate
from recambio.data.parts import Ints, Part
from recambio.data.plan import Cursor, PlannedBatch, Step, TrainingPlan, evaluation_plan
from recambio.data.sampled import SampledStores
from recambio.data.store import TokenStore
from recambio.data.tokenizers.base import SIDES
from recambio.data.tokenizers.sampling import Rows
from recambio.training.module import StepBatch

_BEGINNING = Cursor()
# An epoch's sentences stand anywhere in the store. They are read ahead, so many at a time that a pass over the store finds several in each
# of its pages: a sixteenth of the store, which takes 6 bytes a pair of the corpus, or this many sentences if that is more.
_PASSES = 16
_READ_AHEAD = 1 << 17


class _Steps(IterableDataset[StepBatch]):
    """One rank's steps from a cursor on, to the end of the last epoch if there is one."""

    def __init__(self, plan: TrainingPlan, cursor: Cursor, rank: int, data: TranslationData) -> None:
        self.plan, self.cursor, self.rank, self.data = plan, cursor, rank, data

    def __iter__(self) -> Iterator[StepBatch]:
        cursor, entered = self.cursor, None
        while self.data.max_epochs is None or cursor.epoch < self.data.max_epochs:
            if cursor.epoch != entered:
                self.data.enter(cursor)
                entered = cursor.epoch
            steps = self._ahead(cursor)
            cursor = steps[-1].cursor_after
            yield from self._read(steps)
        # Lightning fetches one step more than it trains; an exhausted loader would end an epoch of its own.
        yield StepBatch([], 0, 0, cursor.epoch)

    def _ahead(self, cursor: Cursor) -> list[Step]:
        """The steps whose sentences are read together, all of the cursor's epoch."""
        enough = max(_READ_AHEAD, len(self.data.train) // _PASSES)
        steps = [self.plan.step(cursor, self.rank)]
        count = 0
        while (cursor := steps[-1].cursor_after).epoch == steps[0].epoch:
            count += sum(len(batch.indices) for batch in steps[-1].batches)
            if count >= enough:
                break
            steps.append(self.plan.step(cursor, self.rank))
        return steps

    def _read(self, steps: list[Step]) -> Iterator[StepBatch]:
        planned = [batch for step in steps for batch in step.batches]
        rows = self.data.store(steps[0].epoch).read(np.concatenate([batch.indices for batch in planned]))
        ends = np.cumsum([len(batch.indices) for batch in planned])
        parts = {side: _cut(rows[side], ends) for side in SIDES}
        for step in steps:
            batches = [
                collate({side: next(parts[side]) for side in SIDES}, b, **self.data.special) for b in step.batches
            ]
            yield StepBatch(batches, step.source_tokens, step.target_tokens, step.epoch)


def _cut(rows: Rows, ends: Ints) -> Iterator[Rows]:
    """The sentences up to each of some numbers of them."""
    tokens = np.append(0, np.cumsum(rows.lengths))[np.append(0, ends)].tolist()
    for (a, b), (first, last) in zip(pairwise([0, *ends.tolist()]), pairwise(tokens), strict=True):
        yield Rows(rows.tokens[first:last], rows.lengths[a:b])


class TimedLoader(DataLoader[StepBatch]):
    """A loader that notes on each step how long it was waited for, by workers or by the work itself."""

    def __iter__(self) -> Iterator[StepBatch]:  # type: ignore[override]
        steps = super().__iter__()
        while True:
            since = time.perf_counter()
            try:
                step = next(steps)
            except StopIteration:
                return
            step.wait = time.perf_counter() - since
            yield step


class _Planned(Dataset[Batch]):
    """One rank's batches of a split that is scored."""

    def __init__(self, store: TokenStore, batches: list[PlannedBatch], data: TranslationData) -> None:
        self.store, self.batches, self.data = store, batches, data

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        return self.data.collated(self.store, self.batches[index])


class TranslationData(L.LightningDataModule):
    """Training steps and validation batches out of token stores.

    The loader yields whole steps, so its cursor is a function of the steps taken; nothing is prefetched past a checkpoint.

    Args:
        train: Training pairs.
        valid: Validation pairs; None for none.
        pad_id, sos_id, eos_id: Special tokens.
        seed: The plan's.
        batch_tokens: The most positions of a device batch, on its longer side.
        accumulate: Device batches of each rank in a step.
        target_tokens: Target tokens that a step should have over all ranks, in place of ``accumulate``; None for those of ``accumulate``.
        valid_batch_tokens: The same for validation.
        parts: The parts of the training pairs and their weights, if there are any.
        sampled: The training pairs of each epoch, if their segmentations are sampled; ``train`` has the same pairs in the plain one.
    """

    def __init__(
        self,
        train: TokenStore,
        valid: TokenStore | None,
        *,
        pad_id: int,
        sos_id: int,
        eos_id: int,
        seed: int,
        batch_tokens: int,
        accumulate: int = 1,
        target_tokens: int | None = None,
        valid_batch_tokens: int = 4096,
        parts: Sequence[Part] = (),
        sampled: SampledStores | None = None,
    ) -> None:
        super().__init__()
        self.train, self.valid = train, valid
        self.special = {"pad_id": pad_id, "sos_id": sos_id, "eos_id": eos_id}
        self.seed = seed
        self.batch_tokens = batch_tokens
        self.accumulate = accumulate
        self.target_tokens = target_tokens
        self.valid_batch_tokens = valid_batch_tokens
        self.parts = tuple(parts)
        self.sampled = sampled
        self.max_epochs: int | None = None
        """Epochs of the run; None for no limit."""
        self.max_steps: int | None = None
        """Steps of the run; None for no limit."""
        self.cursor = Cursor()
        self._expected: tuple[int, int, int] | None = None
        self._plan: TrainingPlan | None = None

    def collated(self, store: TokenStore, planned: PlannedBatch) -> Batch:
        """A planned batch as tensors."""
        return collate(store.read(planned.indices), planned, **self.special)

    def plan(self, ranks: int) -> TrainingPlan:
        """The plan for this many ranks."""
        if self._plan is None or self._plan.ranks != ranks:
            self._plan = TrainingPlan(
                self.train.lengths("source"),
                self.train.lengths("target"),
                data_hash=self.train.content_hash,
                seed=self.seed,
                batch_tokens=self.batch_tokens,
                ranks=ranks,
                accumulate=self.accumulate,
                parts=self.parts,
                lengths=None if self.sampled is None else self._lengths,
            )
            if self.target_tokens is not None:
                self._plan.aim_at(self.target_tokens)
        return self._plan

    def store(self, epoch: int) -> TokenStore:
        """The training pairs as they come in an epoch."""
        return self.train if self.sampled is None else self.sampled.store(epoch)

    def _lengths(self, epoch: int) -> tuple[Ints, Ints]:
        store = self.store(epoch)
        return store.lengths("source"), store.lengths("target")

    def enter(self, cursor: Cursor) -> None:
        """Be done with the epochs before the cursor's, and have the next one made if it will be wanted."""
        if self.sampled is None:
            return
        assert self.trainer is not None
        self.sampled.release(cursor.epoch)
        left = self.plan(self.trainer.world_size).steps_in_epoch(cursor.epoch, cursor.batches)
        is_last = cursor.epoch + 1 == self.max_epochs or (
            self.max_steps is not None and self.trainer.global_step + left >= self.max_steps
        )
        if self.trainer.local_rank == 0 and not is_last:
            self.sampled.ahead(cursor.epoch + 1)

    def leave(self, is_done: bool) -> None:
        """Stop what is being made for later epochs; unless training is done, what is there stays for a run that goes on."""
        if self.sampled is not None:
            self.sampled.close(is_done)

    def steps(self, epochs: int, ranks: int, start: Cursor = _BEGINNING) -> int:
        """Optimiser steps from a cursor to the end of the first ``epochs`` epochs.

        If segmentations are sampled, epochs differ in length, by little: then all count as the first, and none has to be made for it.
        """
        if start.epoch >= epochs:
            return 0
        plan = self.plan(ranks)
        if self.sampled is not None:
            left = max(0, len(plan.epoch(0)) - start.batches)
            return -(-left // plan.batches_per_step) + (epochs - start.epoch - 1) * plan.steps_in_epoch(0)
        here = plan.steps_in_epoch(start.epoch, start.batches)
        return here + sum(plan.steps_in_epoch(e) for e in range(start.epoch + 1, epochs))

    def training_steps(self, ranks: int, rank: int) -> IterableDataset[StepBatch]:
        """A rank's steps from the cursor on, to the end of the last epoch if there is one."""
        return _Steps(self.plan(ranks), self.cursor, rank, self)

    def last_step(self, epochs: int, ranks: int, done: int) -> int:
        """The optimiser step that a run of so many epochs ends with, or nearly so if segmentations are sampled.

        A run that goes on keeps the number that its schedule has followed. On another number of ranks, what is done was done in more or
        fewer steps.

        Args:
            epochs: Of the whole run.
            ranks: Processes that train from here on.
            done: Steps so far.
        """
        if self.sampled is None or self._expected is None or self._expected[:2] != (epochs, ranks):
            self._expected = epochs, ranks, done + self.steps(epochs, ranks, self.cursor)
        return self._expected[2]

    def train_dataloader(self) -> DataLoader[StepBatch]:
        """Steps from the cursor on."""
        assert self.trainer is not None
        steps = self.training_steps(self.trainer.world_size, self.trainer.global_rank)
        return TimedLoader(steps, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """This rank's share of the validation set, each sentence once over all ranks."""
        if self.valid is None:
            return []
        assert self.trainer is not None
        batches = evaluation_plan(
            self.valid.lengths("source"),
            self.valid.lengths("target"),
            batch_tokens=self.valid_batch_tokens,
            rank=self.trainer.global_rank,
            ranks=self.trainer.world_size,
        )
        return DataLoader(_Planned(self.valid, batches, self), batch_size=None)

    def advance(self) -> None:
        """Move the cursor over the step that was just trained."""
        assert self.trainer is not None
        self.cursor = self.plan(self.trainer.world_size).step(self.cursor, 0).cursor_after

    def state_dict(self) -> dict[str, Any]:
        """Where training stands, as plain numbers."""
        expected = {} if self.sampled is None or self._expected is None else {"expected": list(self._expected)}
        return {"epoch": self.cursor.epoch, "batches": self.cursor.batches, **expected}

    def load_checkpoint(self, checkpoint: Path) -> None:
        """Take up where training stood when a whole training state was saved."""
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        self.load_state_dict(state[type(self).__qualname__])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where a checkpoint stood."""
        self.cursor = Cursor(int(state["epoch"]), int(state["batches"]))
        if "expected" in state:
            epochs, ranks, steps = map(int, state["expected"])
            self._expected = epochs, ranks, steps
