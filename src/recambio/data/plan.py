"""The batch plan: which sentences are trained on together, when, and on which rank.

An epoch is one sequence of device batches, a pure function of (seed, epoch, data hash, ``batch_tokens``, parts, and how
segmentations are sampled, if they are); neither the ranks nor the model enter. A step takes the next ``ranks * accumulate`` of
them. A resume on another number of ranks therefore cuts the same sequence again, from the batch that the cursor points at, and
every sentence still comes as often in the epoch: once, unless a part of the corpus has another weight (:mod:`recambio.data.parts`).

Lengths are those of the token store, without special tokens. A batch holds one more position on each side: the source ends
with EOS; the target is SOS y1..yn as the decoder's input and y1..yn EOS as what it predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recambio.data.parts import Ints, Part, bit_generator, epoch_sentences, index_type
from recambio.errors import InputError

# Batches of near-equal cost stand together in runs of this many, so that ranks don't wait for each other. 2, 4, 8 and 16
# divide it; much longer runs would leave few orders to shuffle.
_NEIGHBOURS = 16
# What a padded target position costs against a source position: it passes cross-attention and the output layer as well.
_TARGET_COST = 2.0
# Cost is blurred by this share before batches are ordered by it. Without, batches of one length, which cost the same, would
# come in a row (on Tatoeba the lengths within a run would correlate by 0.4; so it is 0.04), and each epoch would have the
# same runs. Ranks wait 1 to 2 % for each other; in a plain shuffle it were 4 to 7 %.
_BLUR = 0.05


class Cursor(NamedTuple):
    """How far training has come: ``batches`` device batches of ``epoch`` are consumed. Plain numbers, for checkpoints."""

    epoch: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Sentences that pass through a device together.

    Attributes:
        indices: Their indices in the token store; (B,).
        weight: 1.0, or 0.0 for a filler: a copy of a sentence planned elsewhere, which only keeps ranks in step. It counts in
            no denominator and no result.
    """

    indices: Ints
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one rank does in one optimiser step.

    Attributes:
        epoch: The epoch it belongs to, from 0.
        batches: This rank's device batches, ``accumulate`` of them.
        source_tokens, target_tokens: Tokens of either side, EOS included, of the whole step: over all ranks and batches. Those of the
            target are the denominator of the loss.
        cursor_after: Where training stands after the step.
    """

    epoch: int
    batches: tuple[PlannedBatch, ...]
    source_tokens: int
    target_tokens: int
    cursor_after: Cursor


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """One epoch's sequence of device batches.

    Attributes:
        indices: Sentence indices of all batches, one batch after another; (sentences,).
        offsets: Where each batch starts in ``indices``; (batches + 1,).
        source_tokens, target_tokens: Tokens of each batch on either side, EOS included; (batches,).
    """

    indices: Ints
    offsets: Ints
    source_tokens: Ints
    target_tokens: Ints

    def __len__(self) -> int:
        return len(self.target_tokens)

    def batch(self, number: int) -> Ints:
        """The sentence indices of a batch."""
        return self.indices[self.offsets[number] : self.offsets[number + 1]]


class TrainingPlan:
    """The endless sequence of steps of a training run.

    Args:
        source_lengths: Tokens of each source sentence, without EOS; (sentences,).
        target_lengths: Tokens of each target sentence, without EOS; (sentences,).
        data_hash: Hash of the token store's content.
        seed: The run's seed.
        batch_tokens: A device batch has at most this many positions on its longer side:
            ``rows * max(longest source + 1, longest target + 1) <= batch_tokens``.
        ranks: Processes that train together.
        accumulate: Device batches of each rank in one step.
        parts: The parts of the token store, in order, with their weights; by default all of it, once an epoch.
        lengths: Gives the lengths on both sides in an epoch, where the same sentences have other tokens in each. None of them may exceed
            ``batch_tokens``.

    Raises:
        InputError: There is no sentence, or one alone exceeds ``batch_tokens``.
    """

    def __init__(
        self,
        source_lengths: Ints,
        target_lengths: Ints,
        *,
        data_hash: str,
        seed: int,
        batch_tokens: int,
        ranks: int = 1,
        accumulate: int = 1,
        parts: Sequence[Part] = (),
        lengths: Callable[[int], tuple[Ints, Ints]] | None = None,
    ) -> None:
        if ranks < 1 or accumulate < 1:
            raise ValueError(f"`ranks` and `accumulate` must be at least 1, but are {ranks} and {accumulate}")
        if not len(source_lengths):
            raise InputError("data.corpus: has no training pair; check data.cleaning and data.max_length")
        self.source_lengths = np.asarray(source_lengths, np.int32) + np.int32(1)
        self.target_lengths = np.asarray(target_lengths, np.int32) + np.int32(1)
        widest = int(max(self.source_lengths.max(), self.target_lengths.max()))
        if widest > batch_tokens:
            raise InputError(
                f"data.batch_tokens: {batch_tokens} doesn't hold the longest sentence ({widest} tokens with EOS); "
                f"set it to {widest} or more, or data.max_length to {batch_tokens} or less"
            )
        self.parts = tuple(parts) or (Part("", len(source_lengths)),)
        if sum(part.pairs for part in self.parts) != len(source_lengths):
            raise ValueError(f"`parts` must cover all {len(source_lengths)} sentences, but is {self.parts}")
        self.data_hash = data_hash
        self.seed = seed
        self.batch_tokens = batch_tokens
        self.ranks = ranks
        self.accumulate = accumulate
        self._lengths = lengths
        self._epochs: dict[int, EpochPlan] = {}
        self._batches: int | None = None

    @property
    def batches_per_step(self) -> int:
        """Device batches of a whole step, over all ranks."""
        return self.ranks * self.accumulate

    @property
    def mean_step_tokens(self) -> float:
        """Target tokens of a step, EOS included, on average over the whole steps of the first epoch."""
        return float(self.epoch(0).target_tokens.mean()) * self.batches_per_step

    def aim_at(self, target_tokens: int) -> None:
        """Choose ``accumulate`` so that a step comes nearest to so many target tokens on average."""
        self.accumulate = 1
        self.accumulate = max(1, round(target_tokens / self.mean_step_tokens))

    def epoch(self, epoch: int) -> EpochPlan:
        """The batches of an epoch, from 0."""
        if epoch not in self._epochs:
            # Two are kept: the epoch in progress, and the next, whose first steps may be prepared ahead.
            for old in sorted(self._epochs)[:-1]:
                del self._epochs[old]
            self._epochs[epoch] = self._planned(epoch)
        return self._epochs[epoch]

    def steps_in_epoch(self, epoch: int, consumed: int = 0) -> int:
        """Steps of an epoch from where ``consumed`` device batches are done to its end."""
        return -(-(self._batches_in(epoch) - consumed) // self.batches_per_step)

    def _batches_in(self, epoch: int) -> int:
        """Batches of an epoch, which is planned for it only if epochs differ in what they hold.

        Cuts follow from the sorted lengths alone, so that the same sentences make as many batches in every epoch.
        """
        if self._lengths is not None or any(part.share for part in self.parts):
            return len(self.epoch(epoch))
        if self._batches is None:
            self._batches = len(self.epoch(epoch))
        return self._batches

    def step(self, cursor: Cursor, rank: int) -> Step:
        """A rank's share of the step at a cursor.

        Batch ``a * ranks + r`` of the step goes to rank ``r`` as its ``a``-th. Where the epoch ends within the step, fillers
        of one sentence and weight 0 take the places left.

        Raises:
            ValueError: The cursor lies outside its epoch, or the rank is none of ``ranks``.
        """
        if not 0 <= rank < self.ranks:
            raise ValueError(f"`rank` must be from 0 to {self.ranks - 1}, but is {rank}")
        plan = self.epoch(cursor.epoch)
        if not 0 <= cursor.batches < len(plan):
            raise ValueError(f"epoch {cursor.epoch} has {len(plan)} batches; the cursor points at {cursor.batches}")
        end = min(cursor.batches + self.batches_per_step, len(plan))
        batches = []
        for number in range(cursor.batches + rank, cursor.batches + self.batches_per_step, self.ranks):
            if number < end:
                batches.append(PlannedBatch(plan.batch(number)))
            else:
                batches.append(PlannedBatch(plan.batch(cursor.batches)[:1], 0.0))
        after = Cursor(cursor.epoch, end) if end < len(plan) else Cursor(cursor.epoch + 1, 0)
        source, target = (int(side[cursor.batches : end].sum()) for side in (plan.source_tokens, plan.target_tokens))
        return Step(cursor.epoch, tuple(batches), source, target, after)

    def iterate(self, cursor: Cursor, rank: int) -> Iterator[Step]:
        """A rank's steps from a cursor on, through one epoch after another without end."""
        while True:
            step = self.step(cursor, rank)
            yield step
            cursor = step.cursor_after

    def _planned(self, epoch: int) -> EpochPlan:
        # Arrays as long as the epoch are what planning takes memory for: they are narrow, and freed as soon as may be.
        lengths = self.source_lengths, self.target_lengths
        if self._lengths is not None:
            source, target = self._lengths(epoch)
            lengths = source.astype(np.int32) + np.int32(1), target.astype(np.int32) + np.int32(1)
        sentences = epoch_sentences(self.parts, epoch, self.seed, self.data_hash)
        bits = bit_generator(self.seed, epoch, self.data_hash)
        shuffled = sentences[_sorting(bits.random_raw(len(sentences)))]
        del sentences
        order = shuffled[_sorting(_sort_keys(*(side[shuffled] for side in lengths)))]
        del shuffled
        source, target = (side[order] for side in lengths)
        starts = _cuts(np.maximum(source, target), self.batch_tokens)
        rows = np.append(starts[1:], len(order)) - starts
        cost = rows * (np.maximum.reduceat(source, starts) + _TARGET_COST * np.maximum.reduceat(target, starts))
        tokens = [np.add.reduceat(side, starts, dtype=np.int64) for side in (source, target)]
        del source, target
        sequence = _shuffle_batches(cost, bits)
        batches = [order[starts[b] : starts[b] + rows[b]] for b in sequence]
        offsets = np.concatenate([[0], np.cumsum(rows[sequence])])
        return EpochPlan(np.concatenate(batches), offsets, *(side[sequence] for side in tokens))


def evaluation_plan(
    source_lengths: Ints,
    target_lengths: Ints,
    *,
    batch_tokens: int,
    rank: int = 0,
    ranks: int = 1,
) -> list[PlannedBatch]:
    """A rank's batches of a split that is scored: over the ranks, each sentence exactly once.

    The longest source sentences come first, so that memory runs out at once or not at all. Every rank gets the same number of
    batches; those that have fewer get a filler, a copy of one sentence with weight 0, whose result is to be thrown away.

    Args:
        source_lengths: Tokens of each source sentence, without EOS; (sentences,).
        target_lengths: Tokens of each reference, without EOS; (sentences,).
        batch_tokens: As in :class:`TrainingPlan`, but a sentence that alone exceeds it gets a batch of its own.
        rank: This process.
        ranks: Processes that share the work.
    """
    if not 0 <= rank < ranks:
        raise ValueError(f"`rank` must be from 0 to {ranks - 1}, but is {rank}")
    source = np.asarray(source_lengths, np.int64) + 1
    target = np.asarray(target_lengths, np.int64) + 1
    if not len(source):
        return []
    order = np.lexsort((-target, -source))
    starts = _cuts(np.maximum(source, target)[order], batch_tokens)
    batches = [PlannedBatch(indices) for indices in np.split(order, starts[1:])]
    mine = batches[rank::ranks]
    if len(mine) < -(-len(batches) // ranks):
        mine.append(PlannedBatch(batches[-1].indices[-1:], 0.0))
    return mine


def _sort_keys(source: Ints, target: Ints) -> Ints:
    """Numbers by which sentences of equal lengths come together.

    The source length runs up and down in turn: where the target length changes, the source length doesn't jump.
    """
    stride = int(source.max()) + 1
    keys: Ints = target.astype(np.int32 if stride * (int(target.max()) + 1) < 1 << 31 else np.int64)
    keys *= stride
    keys += np.where(target % 2 == 1, stride - 1 - source, source)
    return keys


def _sorting(keys: NDArray[Any]) -> Ints:
    """The stable order that sorts some keys, in narrow integers."""
    order: Ints = np.argsort(keys, kind="stable").astype(index_type(len(keys)), copy=False)
    return order


def _cuts(width: NDArray[Any], batch_tokens: int) -> Ints:
    """Where batches start if each takes as many sentences, in order, as ``rows * widest <= batch_tokens`` allows."""
    starts = []
    start, end = 0, len(width)
    while start < end:
        starts.append(start)
        # The first sentence alone bounds the rows; one that is too wide by itself still gets a batch.
        rows = max(1, batch_tokens // int(width[start]))
        padded = np.maximum.accumulate(width[start : start + rows], dtype=np.int64)
        padded *= np.arange(1, len(padded) + 1)
        start += max(1, int(np.searchsorted(padded, batch_tokens, side="right")))
    return np.array(starts, np.int64)


def _shuffle_batches(cost: NDArray[np.float64], bits: np.random.PCG64) -> Ints:
    """A random order of batches in which runs of neighbours have near-equal cost.

    Batches ordered by cost are dealt into runs; the runs are shuffled, and the batches within each. The cheapest batches,
    which may fill no whole run, come last, where the step may be cut short in any case.
    """
    uniform = bits.random_raw(len(cost)) / 2.0**64
    by_cost = np.argsort(-cost * (1 + _BLUR * (uniform - 0.5)), kind="stable")
    runs = np.arange(len(cost)) // _NEIGHBOURS
    whole = len(cost) // _NEIGHBOURS
    place = np.append(np.argsort(bits.random_raw(whole), kind="stable"), whole)
    return by_cost[np.lexsort((bits.random_raw(len(cost)), place[runs]))]
