"""The batch plan: every sentence once an epoch, for any number of ranks and from any cursor."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recambio.data.plan import Cursor, Step, TrainingPlan, evaluation_plan
from recambio.errors import InputError

# Pairs of lengths without EOS, an empty sentence among them.
LENGTHS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=120)
BATCH_TOKENS = st.integers(16, 64)
RANKS = st.integers(1, 4)
ACCUMULATE = st.integers(1, 3)


def plan(lengths: list[tuple[int, int]], **options: Any) -> TrainingPlan:
    given_options = {"data_hash": "data", "seed": 1, "batch_tokens": 32, **options}
    return TrainingPlan(np.array([s for s, _ in lengths]), np.array([t for _, t in lengths]), **given_options)


def like_text(count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Lengths as in real text: mostly short, and the sides differ by a factor that doesn't depend on the length."""
    draw = np.random.default_rng(seed)
    source = np.clip(draw.gamma(4.0, 2.5, count), 1, 60).astype(int)
    target = np.clip((source * np.exp(draw.normal(0, 0.2, count))).round(), 1, 60).astype(int)
    return list(zip(source.tolist(), target.tolist(), strict=True))


def served(steps: Iterator[tuple[Step, ...]]) -> list[int]:
    """Sentences of real batches, in the order in which ranks and micro-batches take turns."""
    return [
        int(i)
        for ranks in steps
        for turn in zip(*(step.batches for step in ranks), strict=True)
        for batch in turn
        if batch.weight
        for i in batch.indices
    ]


def epoch_steps(training: TrainingPlan, start: Cursor) -> Iterator[tuple[Step, ...]]:
    """The steps of all ranks from a cursor to the end of its epoch."""
    cursor = start
    while cursor.epoch == start.epoch:
        steps = tuple(training.step(cursor, rank) for rank in range(training.ranks))
        assert len({step.cursor_after for step in steps}) == 1
        assert len({(step.source_tokens, step.target_tokens) for step in steps}) == 1
        yield steps
        cursor = steps[0].cursor_after


@given(lengths=LENGTHS, batch_tokens=BATCH_TOKENS, epoch=st.integers(0, 5))
def test_an_epoch_holds_every_sentence_once_within_the_bound(
    lengths: list[tuple[int, int]], batch_tokens: int, epoch: int
) -> None:
    training = plan(lengths, batch_tokens=batch_tokens)
    drawn = training.epoch(epoch)
    assert sorted(drawn.indices.tolist()) == list(range(len(lengths)))
    assert drawn.offsets[0] == 0 and drawn.offsets[-1] == len(lengths)
    for number in range(len(drawn)):
        rows = drawn.batch(number)
        widest = max(max(lengths[i]) + 1 for i in rows)
        assert len(rows) >= 1 and len(rows) * widest <= batch_tokens
        assert drawn.source_tokens[number] == sum(lengths[i][0] + 1 for i in rows)
        assert drawn.target_tokens[number] == sum(lengths[i][1] + 1 for i in rows)


@given(lengths=LENGTHS, batch_tokens=BATCH_TOKENS, ranks=RANKS, accumulate=ACCUMULATE)
def test_ranks_share_the_same_sequence(
    lengths: list[tuple[int, int]], batch_tokens: int, ranks: int, accumulate: int
) -> None:
    training = plan(lengths, batch_tokens=batch_tokens, ranks=ranks, accumulate=accumulate)
    steps = list(epoch_steps(training, Cursor(2, 0)))
    assert len(steps) == training.steps_in_epoch(2)
    assert all(len(step.batches) == accumulate for of_ranks in steps for step in of_ranks)
    assert served(iter(steps)) == plan(lengths, batch_tokens=batch_tokens).epoch(2).indices.tolist()
    for of_ranks in steps:
        real = [i for step in of_ranks for batch in step.batches if batch.weight for i in batch.indices]
        assert of_ranks[0].source_tokens == sum(lengths[i][0] + 1 for i in real) > 0
        assert of_ranks[0].target_tokens == sum(lengths[i][1] + 1 for i in real) > 0
        fillers = [batch for step in of_ranks for batch in step.batches if not batch.weight]
        assert all(len(batch.indices) == 1 and batch.indices[0] in real for batch in fillers)
        assert not fillers or of_ranks is steps[-1]


@given(
    lengths=LENGTHS,
    first=st.tuples(RANKS, ACCUMULATE),
    second=st.tuples(RANKS, ACCUMULATE),
    done=st.integers(0, 40),
)
def test_a_resume_on_other_ranks_serves_the_rest_and_nothing_twice(
    lengths: list[tuple[int, int]], first: tuple[int, int], second: tuple[int, int], done: int
) -> None:
    before = plan(lengths, ranks=first[0], accumulate=first[1])
    after = plan(lengths, ranks=second[0], accumulate=second[1])
    steps = list(islice(epoch_steps(before, Cursor(1, 0)), done % before.steps_in_epoch(1)))
    cursor = steps[-1][0].cursor_after if steps else Cursor(1, 0)
    assert cursor == Cursor(1, len(steps) * first[0] * first[1])
    rest = list(epoch_steps(after, cursor))
    assert len(rest) == after.steps_in_epoch(1, cursor.batches)
    assert served(iter(steps + rest)) == plan(lengths).epoch(1).indices.tolist()


@given(lengths=LENGTHS, ranks=RANKS, accumulate=ACCUMULATE, done=st.integers(0, 30))
@settings(max_examples=40)
def test_iterating_from_a_cursor_continues_what_was_interrupted(
    lengths: list[tuple[int, int]], ranks: int, accumulate: int, done: int
) -> None:
    options = {"ranks": ranks, "accumulate": accumulate}
    whole = list(islice(plan(lengths, **options).iterate(Cursor(), ranks - 1), done + 12))
    cursor = whole[done - 1].cursor_after if done else Cursor()
    rest = list(islice(plan(lengths, **options).iterate(Cursor(*tuple(cursor)), ranks - 1), 12))
    for step, again in zip(whole[done:], rest, strict=True):
        assert (step.epoch, step.target_tokens, step.cursor_after) == (
            again.epoch,
            again.target_tokens,
            again.cursor_after,
        )
        assert [(b.indices.tolist(), b.weight) for b in step.batches] == [
            (b.indices.tolist(), b.weight) for b in again.batches
        ]


def test_epochs_follow_each_other_without_gap_or_repetition() -> None:
    lengths = like_text(300)
    training = plan(lengths, batch_tokens=200, ranks=2, accumulate=2)
    total = sum(training.steps_in_epoch(epoch) for epoch in range(3))
    steps = list(islice(training.iterate(Cursor(), 0), total + 1))
    assert [step.epoch for step in steps] == sorted(step.epoch for step in steps)
    assert steps[total].epoch == 3 and steps[total - 1].cursor_after == Cursor(3, 0)
    other = list(islice(training.iterate(Cursor(), 1), total))
    times = Counter(served(zip(steps[:total], other, strict=True)))
    assert set(times.values()) == {3} and len(times) == 300


@pytest.mark.parametrize("change", [{"seed": 2}, {"data_hash": "other"}, {"batch_tokens": 300}])
def test_the_order_depends_on_seed_epoch_data_and_batch_tokens_alone(change: dict[str, Any]) -> None:
    lengths = like_text(500)
    options = {"batch_tokens": 200}
    first = plan(lengths, **options).epoch(4)
    again = plan(lengths, **options, ranks=3, accumulate=2).epoch(4)
    assert np.array_equal(first.indices, again.indices) and np.array_equal(first.offsets, again.offsets)
    assert not np.array_equal(first.indices, plan(lengths, **{**options, **change}).epoch(4).indices)
    assert not np.array_equal(first.indices, plan(lengths, **options).epoch(5).indices)


def test_an_epoch_is_the_same_in_every_version() -> None:
    # Drawn by hand: blake2b of "7/0/d" seeds PCG64, whose raw output orders equal sentences. One batch holds one sentence, so
    # the sequence is that order, then the order of costs blurred by the second draw, then the runs and their insides.
    import hashlib

    count = 40
    bits = np.random.PCG64(int.from_bytes(hashlib.blake2b(b"7/0/d", digest_size=16).digest(), "little"))
    ties = bits.random_raw(count)
    order = sorted(range(count), key=lambda i: ties[i])
    blur = bits.random_raw(count) / 2.0**64
    by_cost = sorted(range(count), key=lambda b: -3 * 5 * (1 + 0.05 * (blur[b] - 0.5)))
    runs = [by_cost[i : i + 16] for i in range(0, count, 16)]
    raw_runs = bits.random_raw(2)
    within = bits.random_raw(count)
    expected = []
    for run in [*sorted(range(2), key=lambda r: list(np.argsort(raw_runs)).index(r)), 2]:
        members = sorted(runs[run], key=lambda b: within[by_cost.index(b)])
        expected += [order[b] for b in members]
    drawn = TrainingPlan(np.full(count, 4), np.full(count, 4), data_hash="d", seed=7, batch_tokens=5).epoch(0)
    assert drawn.indices.tolist() == expected


def test_equal_sentences_meet_others_in_each_epoch() -> None:
    training = plan([(9, 9)] * 400, batch_tokens=100)
    companions = [
        {frozenset(training.epoch(epoch).batch(n).tolist()) for n in range(len(training.epoch(epoch)))}
        for epoch in (0, 1)
    ]
    assert len(companions[0] & companions[1]) < 3


@pytest.mark.parametrize("batch_tokens, least", [(1_000, 0.98), (2_000, 0.965), (4_000, 0.935)])
def test_little_is_padded_and_neighbours_cost_alike(batch_tokens: int, least: float) -> None:
    training = plan(like_text(40_000), batch_tokens=batch_tokens)
    drawn = training.epoch(0)
    starts, rows = drawn.offsets[:-1], np.diff(drawn.offsets)
    source, target = training.source_lengths[drawn.indices], training.target_lengths[drawn.indices]
    widest = np.maximum.reduceat(source, starts), np.maximum.reduceat(target, starts)
    assert (source.sum() + target.sum()) / (rows * (widest[0] + widest[1])).sum() > least
    cost = rows * (widest[0] + 2 * widest[1])
    for ranks in (2, 4, 8):
        steps = cost[: len(cost) // ranks * ranks].reshape(-1, ranks)
        waiting = 1 - steps.mean() / steps.max(axis=1).mean()
        assert waiting < 0.03, (ranks, waiting)


def test_batches_of_one_length_do_not_come_in_a_row() -> None:
    # Correlation of the mean length of batches within runs of 16: 1 if a run has one length, 0 in a plain shuffle. It is 0.2
    # where batches are dealt by their exact cost.
    training = plan(like_text(40_000), batch_tokens=1_000)
    correlations = []
    for epoch in range(4):
        drawn = training.epoch(epoch)
        mean = np.add.reduceat(training.target_lengths[drawn.indices], drawn.offsets[:-1]) / np.diff(drawn.offsets)
        lengths = np.log(mean[: len(mean) // 16 * 16])
        between = lengths.reshape(-1, 16).mean(axis=1).var() * 16 / lengths.var()
        correlations.append((between - 1) / 15)
    assert np.mean(correlations) < 0.12


def test_wrong_plans_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"data\.batch_tokens: 32 doesn't hold the longest sentence \(33 tokens with EOS\)"
    ):
        plan([(3, 3), (3, 32)], batch_tokens=32)
    assert len(plan([(3, 3), (3, 31)], batch_tokens=32).epoch(0)) == 2
    with pytest.raises(InputError, match="no training pair"):
        plan([])
    training = plan([(3, 3)] * 4, ranks=2)
    for bad in (-1, 2):
        with pytest.raises(ValueError, match="`rank`"):
            training.step(Cursor(), bad)
    with pytest.raises(ValueError, match="cursor points at 9"):
        training.step(Cursor(0, 9), 0)
    with pytest.raises(ValueError, match="at least 1"):
        plan([(3, 3)], ranks=0)


@given(lengths=LENGTHS, batch_tokens=st.integers(4, 64), ranks=st.integers(1, 5))
def test_evaluation_scores_every_sentence_once_over_the_ranks(
    lengths: list[tuple[int, int]], batch_tokens: int, ranks: int
) -> None:
    source, target = (np.array([pair[side] for pair in lengths]) for side in (0, 1))
    plans = [evaluation_plan(source, target, batch_tokens=batch_tokens, rank=r, ranks=ranks) for r in range(ranks)]
    assert len({len(batches) for batches in plans}) == 1
    scored = [int(i) for batches in plans for batch in batches if batch.weight for i in batch.indices]
    assert sorted(scored) == list(range(len(lengths)))
    for batches in plans:
        for batch in batches:
            widest = max(max(lengths[i]) + 1 for i in batch.indices)
            assert len(batch.indices) * widest <= batch_tokens or len(batch.indices) == 1
        longest = [max(lengths[i][0] for i in batch.indices) for batch in batches if batch.weight]
        assert longest == sorted(longest, reverse=True)
    # The same batches whatever the ranks: scores can't depend on them.
    whole = evaluation_plan(source, target, batch_tokens=batch_tokens)
    turns = [batch.indices.tolist() for turn in zip(*plans, strict=True) for batch in turn if batch.weight]
    assert turns == [batch.indices.tolist() for batch in whole]


def test_an_empty_split_has_no_batches() -> None:
    assert evaluation_plan(np.array([], int), np.array([], int), batch_tokens=8, rank=1, ranks=2) == []


@given(lengths=LENGTHS, ranks=RANKS, wanted=st.integers(1, 3000))
def test_a_step_comes_as_near_as_can_be_to_the_tokens_asked_for(
    lengths: list[tuple[int, int]], ranks: int, wanted: int
) -> None:
    training = plan(lengths, ranks=ranks, accumulate=3)
    training.aim_at(wanted)
    # A rank's batch on average, counted from the sentences themselves.
    a_batch = sum(t + 1 for _, t in lengths) / len(training.epoch(0))
    misses = {n: abs(n * ranks * a_batch - wanted) for n in range(1, 2 + wanted)}
    assert misses[training.accumulate] == pytest.approx(min(misses.values()))
    assert training.mean_step_tokens == pytest.approx(training.accumulate * ranks * a_batch)
    assert len(training.step(Cursor(), 0).batches) == training.accumulate


def test_the_devices_hardly_change_the_tokens_of_a_step() -> None:
    lengths = like_text(5000)
    means = []
    for ranks in (1, 2, 4):
        training = plan(lengths, batch_tokens=256, ranks=ranks)
        training.aim_at(5000)
        whole = [s[0].target_tokens for s in epoch_steps(training, Cursor())][:-1]
        means.append(np.mean(whole))
        assert means[-1] == pytest.approx(training.mean_step_tokens, rel=0.1)
    assert means == pytest.approx([5000] * 3, rel=0.15)


def test_planning_takes_little_memory_for_each_sentence() -> None:
    """20 million pairs are to be planned in less than 2 GB together with everything else."""
    count = 200_000
    lengths = np.random.default_rng(0).integers(1, 60, (2, count)).astype(np.int32)
    training = TrainingPlan(*lengths, data_hash="data", seed=1, batch_tokens=4096)
    tracemalloc.start()
    try:
        for epoch in range(3):  # as many as are kept, and one
            training.epoch(epoch)
        highest = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 8 * count < highest < 45 * count


@given(lengths=LENGTHS, seed=st.integers(0, 9), batch_tokens=BATCH_TOKENS, ranks=RANKS, consumed=st.integers(0, 3))
def test_steps_of_epochs_that_are_not_planned_yet_are_known(
    lengths: list[tuple[int, int]], seed: int, batch_tokens: int, ranks: int, consumed: int
) -> None:
    asked, planned = (plan(lengths, seed=seed, batch_tokens=batch_tokens, ranks=ranks) for _ in range(2))
    for epoch in (4, 0, 7):
        consumed = min(consumed, len(planned.epoch(epoch)) - 1)
        steps = sum(1 for _ in epoch_steps(planned, Cursor(epoch, consumed)))
        assert asked.steps_in_epoch(epoch, consumed) == steps
    assert len(asked._epochs) == 1, "one plan tells of all"
