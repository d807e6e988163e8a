"""Corpus metrics, accuracy by phenomenon, and the files of an evaluation.

``recambio.evaluation.corpus_bleu`` (BLEU over batches and ranks) is imported by who trains: it needs torchmetrics.
"""

from __future__ import annotations

from recambio.evaluation.base import Metric, Score
from recambio.evaluation.bleu import BLEU
from recambio.evaluation.chrf import CHRF
from recambio.evaluation.exact_match import ExactMatch
from recambio.evaluation.length_ratio import LengthRatio
from recambio.evaluation.phenomena import Accuracy, accuracy_by_length, accuracy_by_tag, phenomena_rows
from recambio.evaluation.result import SetResult, build_metrics, evaluate_set, read_results, write_results
from recambio.evaluation.samples import Sample, choose_samples
from recambio.evaluation.significance import PairedTest, holm, paired_bootstrap, paired_randomisation, paired_test
from recambio.evaluation.slices import ErrorCount, count_errors, score_slices
from recambio.evaluation.ter import TER
from recambio.registry import METRIC

METRIC.preset("chrf++", of="chrf", word_order=2)
METRIC.preset("spbleu", of="bleu", tokenize="flores200")

__all__ = [
    "Accuracy",
    "BLEU",
    "CHRF",
    "ErrorCount",
    "ExactMatch",
    "LengthRatio",
    "Metric",
    "PairedTest",
    "Sample",
    "Score",
    "SetResult",
    "TER",
    "accuracy_by_length",
    "accuracy_by_tag",
    "build_metrics",
    "choose_samples",
    "count_errors",
    "evaluate_set",
    "holm",
    "paired_bootstrap",
    "paired_randomisation",
    "paired_test",
    "phenomena_rows",
    "read_results",
    "score_slices",
    "write_results",
]
