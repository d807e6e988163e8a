"""BLEU, by sacreBLEU."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU as LibraryBLEU

from recambio.errors import InputError
from recambio.evaluation.sacre import SacreBLEUMetric
from recambio.registry import METRIC, Card

Tokenize = Literal["13a", "intl", "none", "char", "zh", "flores101", "flores200"]


@METRIC.register(
    "bleu",
    card=Card(
        claim="Geometric mean of the 1- to 4-gram precisions of the corpus, times a penalty for shortness; what most papers report.",
        formula="100 * min(1, exp(1 - len(ref) / len(hyp))) * exp(mean_n log p_n), n = 1..4",
        paper=(
            "Papineni et al. 2002, BLEU: a Method for Automatic Evaluation of Machine Translation, "
            "https://aclanthology.org/P02-1040; computed by sacreBLEU, Post 2018, https://arxiv.org/abs/1804.08771"
        ),
    ),
)
class BLEU(SacreBLEUMetric):
    """Corpus BLEU.

    Args:
        tokenize: sacreBLEU's tokenizer. ``13a`` is what papers report for Spanish; ``intl`` also splits off ``¿ ¡ « »``;
            ``flores101`` and ``flores200`` give spBLEU and fetch a SentencePiece model once.
        lowercase: Compare without case; not comparable with published scores.
    """

    def __init__(self, tokenize: Tokenize = "13a", lowercase: bool = False) -> None:
        super().__init__(library_bleu(tokenize, lowercase))
        self._label = "spBLEU" if tokenize.startswith("flores") else "BLEU"

    @property
    def label(self) -> str:
        """``BLEU``, ``spBLEU`` where SentencePiece splits the words."""
        return self._label

    def from_many(self, sums: NDArray[np.floating]) -> NDArray[np.floating]:
        """sums: (R, 10), as sacreBLEU orders them: both lengths, then matched and all n-grams of order 1 to 4."""
        n_hypothesis, n_reference = sums[:, 0].astype(np.float64), sums[:, 1].astype(np.float64)
        correct, total = sums[:, 2:6], sums[:, 6:10]
        # the precisions keep the type of the sums, as the library's do: its bootstrap counts in float32
        halved = (2.0 ** np.cumsum(correct == 0, axis=1)).astype(sums.dtype)
        with np.errstate(divide="ignore", invalid="ignore"):
            precisions = np.where(correct == 0, 100 / (halved * total), 100 * correct / total).astype(np.float64)
            brevity = np.where(n_hypothesis < n_reference, np.exp(1 - n_reference / n_hypothesis), 1.0)
            logs = np.log(precisions)
        scores = brevity * np.exp((logs[:, 0] + logs[:, 1] + logs[:, 2] + logs[:, 3]) / 4)
        # no match at all, or an order of which the corpus is too short, leaves nothing
        return np.where((correct == 0).all(1) | (total == 0).any(1), 0.0, scores)


def library_bleu(tokenize: str = "13a", lowercase: bool = False) -> LibraryBLEU:
    """sacreBLEU's BLEU.

    Raises:
        InputError: The tokenizer's model is neither on this machine nor to be had.
    """
    try:
        # `force` only silences the library's message on tokenised text; `evaluate_set` reports that itself.
        return LibraryBLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except (OSError, ImportError, SystemExit) as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"bleu.tokenize: {tokenize!r}{' (spbleu)' if tokenize == 'flores200' else ''} needs a model that can't be fetched "
            f"({detail}); use '13a', or put sacreBLEU's model under ~/.sacrebleu/models"
        ) from error
