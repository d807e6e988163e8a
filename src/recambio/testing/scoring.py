"""What a metric must keep, on a few sentences of real shape."""

from __future__ import annotations

import numpy as np

from recambio.evaluation.base import Metric
from recambio.registry import METRIC, Node
from recambio.testing.kit import applies_to

_REFERENCES = [
    "El gato come pescado.",
    "¿Dónde está la casa de mi hermana?",
    "No lo sé.",
    "Los niños han leído tres libros muy largos en la biblioteca.",
    "¡Qué día!",
    "Le gustan las manzanas rojas y las peras verdes.",
]
_HYPOTHESES = [
    "El gato come pescado.",
    "¿Dónde está casa de mi hermano?",
    "",
    "Los niños leen tres libros largos, muy largos, en la biblioteca de la escuela.",
    "Qué día",
    "A él le gusta el pan.",
]


def _metric(node: Node) -> Metric:
    return METRIC.create(node)  # type: ignore[no-any-return]


@applies_to("metric")
def sums_over_sentences(kind: str, node: Node, site: str) -> None:
    """Each sentence has its own row of numbers, whatever stands beside it, and the corpus score is that of their sum."""
    metric, n = _metric(node), len(_HYPOTHESES)
    rows = metric.statistics(_HYPOTHESES, [_REFERENCES])
    assert rows.ndim == 2 and len(rows) == n, f"statistics: shape {rows.shape}, expected ({n}, K)"
    assert np.isfinite(rows).all(), "statistics: not finite"
    order = [3, 0, 5, 1, 4, 2]
    shuffled = metric.statistics([_HYPOTHESES[i] for i in order], [[_REFERENCES[i] for i in order]])
    assert np.array_equal(shuffled, rows[order]), "statistics: a sentence's row depends on its neighbours"
    score = metric.score(_HYPOTHESES, [_REFERENCES], n_bootstrap=0)
    _near(score.score, metric.from_statistics(rows.sum(0)), "score against the score of the summed statistics")
    assert score.low is None and score.high is None, "an interval without resamples"


@applies_to("metric")
def resamples(kind: str, node: Node, site: str) -> None:
    """Many sums are scored as each by itself is, and the interval of a corpus holds its score."""
    metric = _metric(node)
    rows = metric.statistics(_HYPOTHESES, [_REFERENCES])
    drawn = np.random.default_rng(0).integers(len(rows), size=(40, len(rows)))
    sums = rows[drawn].sum(1)
    many = metric.from_many(sums)
    assert many.shape == (40,), f"from_many: shape {many.shape}, expected (40,)"
    for value, row in zip(many.tolist(), sums, strict=True):
        _near(value, metric.from_statistics(row), "from_many against from_statistics")
    score = metric.score(_HYPOTHESES * 20, [_REFERENCES * 20], n_bootstrap=200)
    assert score.low is not None and score.high is not None, "no interval"
    assert score.low <= score.score <= score.high, f"interval {score.low} to {score.high} without {score.score}"


@applies_to("metric")
def prefers_the_reference(kind: str, node: Node, site: str) -> None:
    """The references themselves score at least as well as other sentences, and a second set of references is taken."""
    metric = _metric(node)
    perfect = metric.score(_REFERENCES, [_REFERENCES], n_bootstrap=0).score
    other = metric.score(_HYPOTHESES, [_REFERENCES], n_bootstrap=0).score
    sign = 1 if metric.is_higher_better else -1
    word = "higher" if metric.is_higher_better else "lower"
    assert sign * (perfect - other) >= 0, f"{word} is better, but the references score {perfect}, other text {other}"
    both = metric.score(_REFERENCES, [[*_REFERENCES[1:], _REFERENCES[0]], _REFERENCES], n_bootstrap=0).score
    assert np.isfinite(both), f"two references: {both}"


@applies_to("metric")
def takes_any_text(kind: str, node: Node, site: str) -> None:
    """Empty sentences, one sentence, and signs of any script have a score."""
    metric = _metric(node)
    for hypotheses, references in (
        ([""], ["No."]),
        (["No."], [""]),
        ([""], [""]),
        (["   "], ["¿?"]),
        (["猫 🙂 \u00a0ñ"], ["gato"]),
        (["a " * 300], ["b " * 200]),
    ):
        score = metric.score(hypotheses, [references], n_bootstrap=0).score
        assert np.isfinite(score), f"{hypotheses[0][:9]!r} against {references[0][:9]!r}: {score}"


@applies_to("metric")
def signature_says(kind: str, node: Node, site: str) -> None:
    """The signature is made of ``key:value``, and tells the number of references and of resamples apart."""
    metric = _metric(node)
    plain = metric.signature(1, 0)
    assert all(part.count(":") >= 1 for part in plain.split("|")), f"signature {plain!r}, expected key:value|key:value"
    assert metric.signature(2, 0) != plain, "the signature is the same for two references"
    assert metric.signature(1, 500) != plain, "the signature is the same with an interval"
    assert metric.signature(1, 0) == plain == _metric(node).signature(1, 0), "the signature changes"
    assert metric.label, "no label"


def _near(a: float, b: float, what: str) -> None:
    assert abs(a - b) <= 1e-9 * max(1.0, abs(b)), f"{what}: {a} and {b}"
