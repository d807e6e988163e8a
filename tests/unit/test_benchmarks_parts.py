"""The parts' benchmark measures what it says, and every part learns more of the embedded corpus than a bigram model knows."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator

import pytest

from benchmarks.parts import cost, losses
from benchmarks.parts.__main__ import main
from benchmarks.parts.places import PLAIN, Place, places, reveals_order, spec_of
from recambio import registry, testing

registry.load_builtins()

EVERY = places()


@pytest.fixture(autouse=True)
def small_heap() -> Iterator[None]:
    """Before it measures, the benchmark collects garbage: not through what all the other tests have imported."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_every_part_that_stands_in_a_model_is_measured_at_all_its_sites() -> None:
    names = {(p.kind, p.name) for p in EVERY}
    assert names == {(kind, name) for kind in PLAIN for name in registry.REGISTRIES[kind].names()}
    for place in EVERY:
        assert place.sites == testing.sites(place.kind, place.node)
        spec = spec_of(place, {"source_vocabulary": 9, "target_vocabulary": 9}, 2)
        stands = {
            "encoder_self": spec.encoder.self_attention[0],
            "decoder_self": spec.decoder.self_attention[0],
            "cross": spec.decoder.cross_attention[0],
            "encoder_feed_forward": spec.encoder.feed_forward[1],
            "decoder_feed_forward": spec.decoder.feed_forward[1],
            "encoder": getattr(spec.encoder, place.kind, None),
            "decoder": getattr(spec.decoder, place.kind, None),
            "model": spec.embedding,
        }
        for site in place.sites:
            found = stands[site]
            assert place.node == (found[0] if isinstance(found, list) else found), f"{place.label} at {site}"


def test_the_encoder_without_positions_is_a_control() -> None:
    assert [p.label for p in EVERY if not reveals_order(p)] == ["positions/none"]


def spin(seconds: float) -> None:
    """Work for so long; sleep would take no time of the processor."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_turns_measure_the_second_against_the_first() -> None:
    ratio, seconds = cost.in_turns(lambda: lambda: spin(0.001), lambda: lambda: spin(0.02), rounds=3)
    assert ratio > 2 and seconds >= 0.02


def test_the_cost_of_the_plain_part_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SIZES", {**cost.SIZES, "d_model": 32, "d_ff": 64})
    wide = Place(
        "feed_forward", "conv", {"name": "conv", "kernel_size": 3}, ("encoder_feed_forward", "decoder_feed_forward")
    )
    base, other = cost.Bench(places(["feed_forward"])[0], None), cost.Bench(wide, None)
    assert base.flops == cost.Bench(places(["attention"])[0], None).flops
    # Two more windows of both maps in each of four layers, forward and, twice as much, backward.
    assert other.flops - base.flops == 4 * 2 * 3 * (2 * 2 * 32 * 64) * cost.ROWS * cost.LENGTH
    assert other.memory > base.memory > 4 * cost.ROWS * cost.LENGTH * 4000


def test_the_tables_name_each_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cost, "SIZES", {**cost.SIZES, "d_model": 32, "d_ff": 64, "target_vocabulary": 400})
    monkeypatch.setattr(cost, "ROWS", 2)
    assert main(["cost", "activation/silu", "--rounds", "1", "--threads", "1"]) == 0
    printed = capsys.readouterr().out
    assert "**activation**, against `relu`" in printed and "| `silu` |" in printed and "gelu" not in printed


def test_a_part_that_stays_above_the_bar_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [losses.Learned("attention", "good", 2.0, False), losses.Learned("positions", "none", 9.0, True)]
    monkeypatch.setattr(losses, "bigram", lambda: 3.0)
    monkeypatch.setattr(losses, "measure", lambda only, say: rows)
    assert main(["losses"]) == 0
    rows.append(losses.Learned("attention", "bad", 3.5, False))
    assert main(["losses"]) == 1
    assert "| attention | `bad` | 3.500 | above the bigram model |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("place", EVERY, ids=[p.label for p in EVERY])
def test_every_part_learns_more_than_which_word_follows_which(place: Place) -> None:
    learned = losses.learn(place)
    assert math.isfinite(learned.nll)
    assert learned.is_control or learned.nll < losses.bigram()
