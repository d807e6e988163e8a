"""The training plan as a loader of whole optimiser steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from recambio.data.batch import Batch, collate
from recambio.data.parts import Part
from recambio.data.plan import Cursor, PlannedBatch, TrainingPlan, evaluation_plan
from recambio.data.store import TokenStore
from recambio.training.module import StepBatch

_BEGINNING = Cursor()


class _Steps(IterableDataset[StepBatch]):
    """One rank's steps from a cursor on, without end."""

    def __init__(self, plan: TrainingPlan, cursor: Cursor, rank: int, data: TranslationData) -> None:
        self.plan, self.cursor, self.rank, self.data = plan, cursor, rank, data

    def __iter__(self) -> Iterator[StepBatch]:
        for step in self.plan.iterate(self.cursor, self.rank):
            batches = [self.data.collated(self.data.train, planned) for planned in step.batches]
            yield StepBatch(batches, step.target_tokens, step.epoch)


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
        self.cursor = Cursor()
        self._plan: TrainingPlan | None = None

    def collated(self, store: TokenStore, planned: PlannedBatch) -> Batch:
        """A planned batch as tensors."""
        return collate(store, planned, **self.special)

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
            )
            self.train.release()
            if self.target_tokens is not None:
                self._plan.aim_at(self.target_tokens)
        return self._plan

    def steps(self, epochs: int, ranks: int, start: Cursor = _BEGINNING) -> int:
        """Optimiser steps from a cursor to the end of the first ``epochs`` epochs."""
        if start.epoch >= epochs:
            return 0
        plan = self.plan(ranks)
        here = plan.steps_in_epoch(start.epoch, start.batches)
        return here + sum(plan.steps_in_epoch(e) for e in range(start.epoch + 1, epochs))

    def training_steps(self, ranks: int, rank: int) -> IterableDataset[StepBatch]:
        """A rank's steps from the cursor on, without end."""
        return _Steps(self.plan(ranks), self.cursor, rank, self)

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
        return {"epoch": self.cursor.epoch, "batches": self.cursor.batches}

    @classmethod
    def stored_cursor(cls, checkpoint: Path) -> Cursor:
        """Where training stood when a whole training state was saved."""
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)[cls.__qualname__]
        return Cursor(int(state["epoch"]), int(state["batches"]))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where a checkpoint stood."""
        self.cursor = Cursor(int(state["epoch"]), int(state["batches"]))
