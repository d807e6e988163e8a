"""BLEU of a corpus that arrives in parts: over batches and over ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torchmetrics
from torch import Tensor

from recambio.errors import InputError
from recambio.evaluation.bleu import library_bleu

_CACHED_REFERENCES = 20_000  # sentences; about 10 kB each for sentences of 20 words


class CorpusBLEU(torchmetrics.Metric):
    """sacreBLEU's corpus BLEU of everything that was passed to ``update`` on any rank.

    BLEU is no mean over sentences, batches or ranks; its n-gram counts are what adds up. They are the state here, as integers,
    so the score is that of the concatenation for every partition and order, to the last bit.

    References are tokenised and counted once and kept, so validating again on the same set costs the hypotheses alone.

    Args:
        tokenize: sacreBLEU's tokenizer.
        lowercase: Compare without case.
        **kwargs: As :class:`torchmetrics.Metric` takes them.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    counts: Tensor
    """(10,): words of the hypotheses and of the references, matched and all n-grams of order 1 to 4."""

    def __init__(self, tokenize: str = "13a", lowercase: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._bleu = library_bleu(tokenize, lowercase)
        self._references: dict[tuple[str, ...], dict[str, Any]] = {}
        n_counts = 2 + 2 * self._bleu.max_ngram_order
        self.add_state("counts", default=torch.zeros(n_counts, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, hypotheses: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> None:
        """Add sentences, or none: a rank whose share is empty calls this with empty lists.

        Args:
            hypotheses: B translations.
            references: B references; or B lists, each with every reference of its sentence.

        Raises:
            InputError: The counts differ.
        """
        if len(hypotheses) != len(references):
            raise InputError(
                f"validation: {len(hypotheses)} hypotheses for {len(references)} references; must be as many"
            )
        sums = [0] * self.counts.numel()
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            info = self._reference((reference,) if isinstance(reference, str) else tuple(reference))
            row = self._bleu._compute_segment_statistics(self._bleu._preprocess_segment(hypothesis), info)
            sums = [a + b for a, b in zip(sums, row, strict=True)]
        self.counts += torch.tensor(sums, dtype=torch.int64, device=self.counts.device)

    def compute(self) -> Tensor:
        """The corpus score in percent: (), float64 where the device has it."""
        score = self._bleu._compute_score_from_stats(self.counts.tolist()).score
        dtype = torch.float32 if self.counts.device.type == "mps" else torch.float64
        return torch.tensor(score, dtype=dtype, device=self.counts.device)

    def _reference(self, sentences: tuple[str, ...]) -> dict[str, Any]:
        info = self._references.get(sentences)
        if info is None:
            info = self._bleu._extract_reference_info([self._bleu._preprocess_segment(s) for s in sentences])
            if len(self._references) < _CACHED_REFERENCES:
                self._references[sentences] = info
        return info

    def __getstate__(self) -> dict[str, Any]:
        # what can be computed again is not sent to other processes
        return {**super().__getstate__(), "_references": {}}
