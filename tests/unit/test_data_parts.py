"""Weights of parts in the batch plan: how often each pair comes, and that weight 1 changes nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recambio.data.parts import Part, epoch_sentences
from recambio.data.plan import Cursor, TrainingPlan

WEIGHTS = st.one_of(st.integers(1, 3).map(float), st.floats(0.01, 3.5))
PARTS = st.lists(st.tuples(st.integers(1, 40), WEIGHTS), min_size=1, max_size=4).map(
    lambda drawn: [Part(str(n), pairs, weight) for n, (pairs, weight) in enumerate(drawn)]
)


def plan(parts: list[Part], **options: Any) -> TrainingPlan:
    count = sum(part.pairs for part in parts)
    draw = np.random.default_rng(count)
    given_options = {"data_hash": "data", "seed": 1, "batch_tokens": 40, **options}
    return TrainingPlan(draw.integers(0, 12, count), draw.integers(0, 12, count), parts=parts, **given_options)


def digest(training: TrainingPlan, epochs: int) -> str:
    found = hashlib.sha256()
    for epoch in range(epochs):
        drawn = training.epoch(epoch)
        for array in (drawn.indices, drawn.offsets, drawn.target_tokens):
            found.update(np.ascontiguousarray(array, "<i8").tobytes())
    return found.hexdigest()


@given(parts=PARTS, epoch=st.integers(0, 30))
def test_every_pair_comes_as_often_as_its_part_says(parts: list[Part], epoch: int) -> None:
    drawn = plan(parts).epoch(epoch)
    times = Counter(drawn.indices.tolist())
    start = 0
    for part in parts:
        of_part = [times[index] for index in range(start, start + part.pairs)]
        start += part.pairs
        assert set(of_part) <= {int(part.weight), int(part.weight) + 1}
        assert sum(of_part) == part.per_epoch
        # Within half a pair of what was asked for; of less than half a pair there is still one.
        assert abs(part.per_epoch - part.weight * part.pairs) <= 0.5 or part.share == 1
    assert sum(times.values()) == sum(part.per_epoch for part in parts) == drawn.offsets[-1]


@given(pairs=st.integers(2, 60), weight=st.floats(0.05, 0.95), cycle=st.integers(0, 5))
def test_what_an_epoch_leaves_out_comes_in_the_next(pairs: int, weight: float, cycle: int) -> None:
    part = Part("a", pairs, weight)
    turns = -(-pairs // part.share)
    epochs = [set(epoch_sentences([part], cycle * turns + turn, 7, "d").tolist()) for turn in range(turns)]
    assert all(len(chosen) == part.share for chosen in epochs)
    assert set.union(*epochs) == set(range(pairs))
    for before, after in pairwise(epochs):
        # No more in common than must be.
        assert len(before & after) == max(0, 2 * part.share - pairs)


def test_each_half_is_drawn_anew() -> None:
    part = [Part("a", 400, 0.5)]
    halves = [frozenset(epoch_sentences(part, epoch, 7, "d").tolist()) for epoch in range(20)]
    assert len(set(halves)) == 20
    # Halves of different orders share as much as two random halves do: 100 of 200, give or take 5.
    shared = [len(halves[a] & halves[b]) for a in range(0, 20, 2) for b in range(a + 2, 20, 2)]
    assert 97 < np.mean(shared) < 103


RECORDED = "66b1de51209bd9c9286b3c4a5f8e9e7938dd1397530e04b74cbd47fabdfcba27"
"""Of three epochs of the plan below, as they were drawn before there were parts."""


def test_weights_of_one_leave_the_plan_as_it_is_to_the_bit() -> None:
    number = np.arange(5_000)
    source, target = number * 7919 % 1013 % 39 + 1, number * 6007 % 997 % 37 + 1
    options: dict[str, Any] = {"data_hash": "d", "seed": 3, "batch_tokens": 600}
    whole = digest(TrainingPlan(source, target, **options), 3)
    parts = [Part("a", 1_200), Part("b", 3_000, 1.0), Part("c", 800, 1)]
    assert digest(TrainingPlan(source, target, parts=parts, **options), 3) == whole
    assert whole == RECORDED
    assert digest(TrainingPlan(source, target, parts=[*parts[:2], Part("c", 800, 1.5)], **options), 3) != whole


def test_an_epoch_with_weights_is_the_same_in_every_version() -> None:
    # Drawn by hand: of 10 pairs three a time, by runs of an order that raw output of PCG64 sorts; then 4 pairs twice.
    parts = [Part("a", 10, 0.3), Part("b", 4, 2.0)]
    for epoch, (order_number, run) in {0: (0, 0), 2: (0, 2), 3: (0, 3), 4: (1, 0), 7: (1, 3)}.items():
        key = hashlib.blake2b(f"7/{order_number}/d/0".encode(), digest_size=16).digest()
        raw = np.random.PCG64(int.from_bytes(key, "little")).random_raw(10)
        order = sorted(range(10), key=lambda i: raw[i])
        expected = [order[(3 * run + i) % 10] for i in range(3)]
        assert epoch_sentences(parts, epoch, 7, "d").tolist() == expected + [10, 11, 12, 13] * 2


@given(parts=PARTS, ranks=st.integers(1, 3), accumulate=st.integers(1, 3), done=st.integers(0, 20))
@settings(max_examples=40)
def test_ranks_and_resumes_serve_the_same_sequence(parts: list[Part], ranks: int, accumulate: int, done: int) -> None:
    def served(training: TrainingPlan, cursor: Cursor) -> list[int]:
        found: list[int] = []
        while cursor.epoch < 2:
            steps = [training.step(cursor, rank) for rank in range(training.ranks)]
            turns = zip(*(step.batches for step in steps), strict=True)
            found += [int(i) for turn in turns for batch in turn if batch.weight for i in batch.indices]
            cursor = steps[0].cursor_after
        return found

    alone = plan(parts)
    expected = [int(i) for epoch in (0, 1) for i in alone.epoch(epoch).indices]
    assert served(plan(parts, ranks=ranks, accumulate=accumulate), Cursor()) == expected
    before = list(islice(alone.iterate(Cursor(), 0), done % alone.steps_in_epoch(0)))
    start = sum(len(batch.indices) for step in before for batch in step.batches)
    cursor = before[-1].cursor_after if before else Cursor()
    assert served(plan(parts, ranks=ranks, accumulate=accumulate), cursor) == expected[start:]


@pytest.mark.parametrize("change", [{"seed": 2}, {"data_hash": "other"}])
def test_the_share_depends_on_seed_and_data(change: dict[str, Any]) -> None:
    parts = [Part("a", 500, 0.5)]
    chosen = {frozenset(plan(parts, **options).epoch(0).indices.tolist()) for options in ({}, change)}
    assert len(chosen) == 2


def test_batches_with_repetitions_keep_the_bound() -> None:
    training = plan([Part("a", 100, 3.5), Part("b", 50, 0.2)], batch_tokens=30)
    drawn = training.epoch(0)
    for number in range(len(drawn)):
        rows = drawn.batch(number)
        widest = max(training.source_lengths[rows].max(), training.target_lengths[rows].max())
        assert len(rows) * widest <= 30
        assert drawn.target_tokens[number] == training.target_lengths[rows].sum()


def test_parts_must_cover_the_store() -> None:
    with pytest.raises(ValueError, match="`parts` must cover all 6 sentences"):
        TrainingPlan(np.full(6, 3), np.full(6, 3), data_hash="d", seed=1, batch_tokens=9, parts=[Part("a", 5)])
