"""Learning-rate schedules against their formulas."""

from __future__ import annotations

import math

import pytest

import recambio.training  # noqa: F401
from recambio.registry import SCHEDULE


def test_noam_is_equation_3() -> None:
    schedule = SCHEDULE.create({"name": "noam", "warmup": 4000}, d_model=512)
    for step in (1, 100, 4000, 4001, 100_000):
        wanted = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert schedule.factor(step) == pytest.approx(wanted, rel=1e-12)
    # The paper's base model peaks near 7e-4.
    assert schedule.factor(4000) == pytest.approx(6.99e-4, rel=1e-3)


def test_inverse_sqrt_is_noam_scaled_to_its_peak() -> None:
    noam = SCHEDULE.create({"name": "noam", "warmup": 700}, d_model=256)
    ours = SCHEDULE.create({"name": "inverse_sqrt", "warmup": 700})
    peak = noam.factor(700)
    for step in (1, 350, 700, 2800, 7000):
        assert ours.factor(step) == pytest.approx(noam.factor(step) / peak, rel=1e-12)
    assert ours.factor(2800) == pytest.approx(0.5)


def test_cosine_ends_at_its_floor_and_is_halfway_in_the_middle() -> None:
    schedule = SCHEDULE.create({"name": "cosine", "warmup": 100, "floor": 0.1}, max_steps=1100)
    assert schedule.factor(50) == pytest.approx(0.5)
    assert schedule.factor(100) == pytest.approx(1.0)
    assert schedule.factor(600) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 2)) / 2)
    assert schedule.factor(1100) == pytest.approx(0.1)
    assert schedule.factor(5000) == pytest.approx(0.1)


def test_constant_rises_then_stays() -> None:
    schedule = SCHEDULE.create({"name": "constant", "warmup": 10})
    assert [schedule.factor(s) for s in (1, 5, 10, 11, 1000)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])
    assert SCHEDULE.create("constant").factor(1) == 1.0


@pytest.mark.parametrize(
    ("node", "context", "text"),
    [
        ({"name": "cosine"}, {"max_steps": None}, "needs to know the run's length"),
        ({"name": "cosine", "warmup": 10}, {"max_steps": 10}, "`warmup` must be below the run's 10 steps"),
        ({"name": "constant", "warmup": -1}, {}, "`warmup` must not be negative"),
    ],
)
def test_impossible_settings_are_refused(node, context, text) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=text):
        SCHEDULE.create(node, **context)
