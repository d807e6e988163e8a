"""Paired tests: sacreBLEU's p-values, and what the tests claim when there is nothing, or something, to be found."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.significance import PairedTest as LibraryTest

from recambio.evaluation import BLEU, CHRF, TER
from recambio.evaluation.base import Metric, resampled_sums
from recambio.evaluation.seeds import spread, student_tail, welch
from recambio.evaluation.significance import holm, paired_bootstrap, paired_randomisation, paired_test
from tests.unit.mediocre import perturb, read_lines

METRICS: list[Metric] = [BLEU(), CHRF(), CHRF(word_order=2), TER()]
IDS = ["bleu", "chrf", "chrf++", "ter"]

SETS = (
    "newssyscomb2009",
    "newstest2013",
    "ntrex128",
    "flores200-devtest",
    "pud",
    "tico19-test",
    "wmt24",
    "newstest2010",
)


def ten_pairs(shared_data: Path) -> list[tuple[list[str], list[str], list[str]]]:
    """Baseline, system, reference: from equal in quality to far apart, from 24 sentences to 78."""
    found = []
    for i in range(10):
        lines = read_lines(shared_data / "testsets" / f"{SETS[i % len(SETS)]}.es")[i * 30 :]
        references = lines[: 24 + 6 * i]
        system = perturb(references, (0.3, 0.29, 0.27, 0.24, 0.31)[i % 5], seed=100 + i)
        found.append((perturb(references, 0.3, seed=i), system, references))
    return found


@pytest.fixture(scope="module")
def population(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """BLEU's statistics of 1,000 real sentences under two independent perturbations of equal rate."""
    references = read_lines(shared_data / "testsets" / "ntrex128.es")[:1000]
    a, b = (BLEU().statistics(perturb(references, 0.3, seed), [references]) for seed in (1, 2))
    return a, b


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_all_scores_at_once_are_the_librarys(metric, shared_data):
    baseline, _, references = ten_pairs(shared_data)[9]
    rows = metric.statistics(baseline, [references])
    sums = np.stack([*resampled_sums(rows, 200), *rows[:40].astype(np.float32), np.zeros(rows.shape[1], np.float32)])
    for kind in (np.float32, np.float64):
        one_by_one = [metric.from_statistics(row) for row in sums.astype(kind)]
        assert metric.from_many(sums.astype(kind)).tolist() == pytest.approx(one_by_one, rel=1e-14, abs=1e-12)


@pytest.mark.parametrize("kind", ["bs", "ar"])
@pytest.mark.parametrize("pairs", [slice(3, 6, 2), pytest.param(slice(None), marks=pytest.mark.slow)], ids=["2", "10"])
def test_p_values_are_sacrebleus_on_real_pairs(pairs, kind, shared_data):
    ours = {"bs": paired_bootstrap, "ar": paired_randomisation}[kind]
    found = []
    for baseline, system, references in ten_pairs(shared_data)[pairs]:
        for metric in METRICS:
            named = [("a", baseline), ("b", system)]
            _, scores = LibraryTest(named, {"m": metric.library}, [references], kind, n_samples=400)()
            (theirs,) = (s[1].p_value for name, s in scores.items() if name != "System")
            rows = [metric.statistics(side, [references]) for side in (baseline, system)]
            assert ours(metric, *rows, n=400) == theirs
            found.append(theirs)
    assert min(found) < 0.01 and max(found) > 0.3, "the pairs must reach from clear to unclear"


def test_defaults_are_sacrebleus(shared_data):
    baseline, system, references = ten_pairs(shared_data)[2]
    named, metric = [("a", baseline), ("b", system)], BLEU()
    rows = [metric.statistics(side, [references]) for side in (baseline, system)]
    result = paired_test(metric, *rows)
    for kind, ours in (("bs", result.p_bootstrap), ("ar", result.p_randomisation)):
        _, scores = LibraryTest(named, {"m": metric.library}, [references], kind)()
        assert ours == scores["BLEU"][1].p_value
    assert result.difference == pytest.approx(scores["BLEU"][1].score - scores["BLEU"][0].score)
    assert result.low < result.difference < result.high


@pytest.mark.parametrize("chunk", [1, 150_000, 10_000_000])
def test_chunks_draw_what_one_call_draws(chunk, population, monkeypatch):
    expected = paired_randomisation(BLEU(), *population, n=1000)
    monkeypatch.setattr("recambio.evaluation.significance._CHUNK", chunk)
    assert paired_randomisation(BLEU(), *population, n=1000) == expected


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_identical_hypotheses_have_p_1(metric, shared_data):
    baseline, _, references = ten_pairs(shared_data)[0]
    rows = metric.statistics(baseline, [references])
    result = paired_test(metric, rows, rows, 200, 200)
    assert (result.difference, result.low, result.high) == (0, 0, 0)
    assert result.p_bootstrap == result.p_randomisation == 1
    # the library's own answer, which this package does not repeat
    _, scores = LibraryTest([("a", baseline)] * 2, {"m": metric.library}, [references], "ar", n_samples=200)()
    assert next(s[1].p_value for name, s in scores.items() if name != "System") == 1 / 201


def test_no_difference_is_none_however_the_translations_differ():
    a, b = (BLEU().statistics([f"{w} {i}" for i in range(40)], [["el gato"] * 40]) for w in ("uno", "uno dos"))
    assert (a != b).any(1).all() and BLEU().from_statistics(a.sum(0)) == BLEU().from_statistics(b.sum(0)) == 0
    assert paired_bootstrap(BLEU(), a, b, n=100) == paired_randomisation(BLEU(), a, b, n=100) == 1


def test_few_differing_sentences_claim_no_more_than_all_their_swaps_do():
    """Against every one of the 2^m swaps, worked out: no p of ours is below the exact one."""
    draw = random.Random(4)
    references = ["el gato negro come pescado en la casa", "la casa de mi tía es grande y muy blanca"] * 6
    good, metric = list(references), BLEU()
    for m in range(1, 6):
        bad = [r if i >= m else " ".join(draw.sample(r.split(), 8)) for i, r in enumerate(references)]
        a, b = (metric.statistics(side, [references]) for side in (bad, good))
        if (a == b).all(1).sum() != len(references) - m:
            continue
        observed = abs(metric.from_statistics(a.sum(0)) - metric.from_statistics(b.sum(0)))
        n_extreme = 0
        for swap in itertools.product([False, True], repeat=m):
            x, y = a.copy(), b.copy()
            chosen = [i for i, is_swapped in enumerate(swap) if is_swapped]
            x[chosen], y[chosen] = b[chosen], a[chosen]
            size = abs(metric.from_statistics(x.sum(0)) - metric.from_statistics(y.sum(0)))
            n_extreme += size >= observed - 1e-9
        exact = n_extreme / 2**m
        assert paired_randomisation(metric, a, b) >= 2 ** (1 - m)
        assert exact >= 2 ** (1 - m)
        assert paired_bootstrap(metric, a, b) >= 2 ** (1 - m)


def claims_under_the_null(test, population: tuple[np.ndarray, np.ndarray]) -> int:
    """Of 1,000 trials: two systems' outputs swapped at random, sentence by sentence."""
    draw = np.random.default_rng(0)
    a, b = (side[:300] for side in population)
    n_claims = 0
    for _ in range(1000):
        is_kept = draw.integers(2, size=(len(a), 1), dtype=bool)
        n_claims += test(BLEU(), np.where(is_kept, a, b), np.where(is_kept, b, a), n=400) <= 0.05
    return n_claims


def test_swapped_systems_are_not_called_different(population):
    n_claims = claims_under_the_null(paired_randomisation, population)
    assert n_claims <= 1000 * 0.05 + 1.645 * math.sqrt(1000 * 0.05 * 0.95)
    assert n_claims > 20, "a test that never claims anything would pass too"


def test_sacrebleus_bootstrap_claims_too_much(population):
    """Why a verdict rests on the randomisation test; where a later sacreBLEU mends it, the documents must say so."""
    assert 80 < claims_under_the_null(paired_bootstrap, population) < 150


@pytest.mark.parametrize(
    ("n_sentences", "is_same_elsewhere"), [(2000, True), pytest.param(8000, False, marks=pytest.mark.slow)]
)
def test_a_gap_of_one_bleu_is_found(n_sentences, is_same_elsewhere, shared_data):
    """Sets drawn from systems 1 BLEU apart: the rest translated alike, or with mistakes that have nothing in common."""
    metric = BLEU()
    names = ("ntrex128", "newstest2013")
    references = [line for name in names for line in read_lines(shared_data / "testsets" / f"{name}.es")]
    worse, other, better = (
        metric.statistics(perturb(references, rate, seed), [references])
        for rate, seed in ((0.3, 1), (0.3, 2), (0.2, 3))
    )
    rest = worse if is_same_elsewhere else other
    target = metric.from_statistics(worse.sum(0)) + 1
    order = np.random.default_rng(0).permutation(len(references))

    def mixed(n: int) -> np.ndarray:
        system = rest.copy()
        system[order[:n]] = better[order[:n]]
        return system

    low, high = 0, len(references)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if metric.from_statistics(mixed(middle).sum(0)) < target else (low, middle)
    system = mixed(high)
    assert metric.from_statistics(system.sum(0)) == pytest.approx(target, abs=0.02)
    draw = np.random.default_rng(1)
    n_found, n_trials = 0, 100
    for _ in range(n_trials):
        chosen = draw.choice(len(references), n_sentences)
        n_found += paired_randomisation(metric, worse[chosen], system[chosen], n=300) <= 0.05
    assert n_found >= 0.9 * n_trials


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_stepwise_procedure_rejects(p_values):
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True)) and max(adjusted) <= 1
    for level in (0.01, 0.05, 0.2):
        rejected, k = set(), len(p_values)
        for i, at in enumerate(sorted(range(k), key=lambda j: p_values[j])):
            if (k - i) * p_values[at] > level:
                break
            rejected.add(at)
        assert {i for i in range(k) if adjusted[i] <= level} == rejected


def test_holm_keeps_false_claims_of_a_family_below_the_level():
    draw = np.random.default_rng(0)
    n_trials = 4000
    n_false = sum(min(holm(list(draw.random(5)))) <= 0.05 for _ in range(n_trials))
    n_naive = sum(draw.random(5).min() <= 0.05 for _ in range(n_trials))
    assert n_false <= n_trials * 0.05 + 1.645 * math.sqrt(n_trials * 0.05 * 0.95) < n_naive


def test_students_tail_is_the_tables():
    """Two-sided 5 % and 1 % points of Student's distribution as every table has them, and two closed forms."""
    for freedom, five, one in (
        (1, 12.706, 63.657),
        (2, 4.303, 9.925),
        (4, 2.776, 4.604),
        (10, 2.228, 3.169),
        (30, 2.042, 2.750),
    ):
        assert student_tail(five, freedom) == pytest.approx(0.05, abs=4e-5)
        assert student_tail(one, freedom) == pytest.approx(0.01, abs=2e-5)
    for t in (0.0, 0.3, 1.0, 5.0, -5.0, 200.0):
        assert student_tail(t, 1) == pytest.approx(1 - 2 * math.atan(abs(t)) / math.pi, abs=1e-13)
        assert student_tail(t, 2) == pytest.approx(1 - abs(t) / math.sqrt(t * t + 2), abs=1e-13)
    assert student_tail(1.96, 1e6) == pytest.approx(math.erfc(1.96 / math.sqrt(2)), abs=1e-5)


def test_welch_by_hand_and_where_there_is_no_telling():
    # means 2 and 5, variances 1 and 4, three each: t = -3 / sqrt(5/3), freedom = (5/3)^2 / ((1/9 + 16/9) / 2)
    p = welch([1, 2, 3], [3, 5, 7])
    assert p == pytest.approx(student_tail(3 / math.sqrt(5 / 3), 50 / 17), abs=1e-12)
    assert 0.05 < p < 0.12
    assert welch([1], [2, 3]) is None and welch([1, 2], [3]) is None and welch([1, 1], [2, 2]) is None
    assert spread([4.0]).deviation is None and spread([1, 2, 3]).deviation == 1


def test_welch_claims_five_percent_of_seeds_that_differ_by_chance():
    draw = np.random.default_rng(0)
    n_trials = 2000
    n_claims = sum(welch(list(draw.normal(30, 0.3, 3)), list(draw.normal(30, 0.3, 3))) <= 0.05 for _ in range(n_trials))
    assert 0.02 * n_trials <= n_claims <= n_trials * 0.05 + 1.645 * math.sqrt(n_trials * 0.05 * 0.95)
    n_found = sum(welch(list(draw.normal(30, 0.3, 5)), list(draw.normal(31, 0.3, 5))) <= 0.05 for _ in range(500))
    assert n_found >= 0.9 * 500
