"""BLEU, by sacreBLEU."""

from __future__ import annotations

from typing import Literal

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

    @property
    def label(self) -> str:
        """``BLEU``."""
        return "BLEU"


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
            f"bleu.tokenize: {tokenize!r} needs a model that can't be fetched ({detail}); "
            "use '13a', or put sacreBLEU's model under ~/.sacrebleu/models"
        ) from error
