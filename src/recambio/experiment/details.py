"""Translations with their scores, tokens and alignment, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from recambio.decoding.alignment import alignment_problem, cross_attention_weights
from recambio.decoding.rescore import token_log_probabilities
from recambio.decoding.searches.base import Hypothesis
from recambio.errors import InputError
from recambio.experiment.translator import LineTranslator, Part, Translator

_DIGITS = 6


class Details:
    """What is known of the translations of a line, for JSON.

    ``line``, ``source``, ``text`` (the best translation), and ``translations``, best first, with ``text``, ``score`` (what the search
    ranked by), ``log_probability`` (their sum over the tokens) and ``is_finished``. With scores, also ``tokens`` and the
    ``log_probabilities`` of each; with alignment, ``tokens`` and ``alignment``, a row for each with a number for each of the source's
    ``source_tokens``. A line that was split has ``parts`` with their own ``source`` and ``translations`` instead.

    Args:
        translator: Made the translations.
        n_best: Translations a line to show.
        with_scores: Whether the tokens' log-probabilities are wanted.
        with_alignment: Whether the cross-attention is wanted; of an ensemble, the mean of its members'.
        align_layer: Decoder layer, from 0; negative counts from the last.

    Raises:
        InputError: A model's cross-attention can't be shown, or there is no model of ours to ask.
    """

    def __init__(
        self, translator: LineTranslator, n_best: int, with_scores: bool, with_alignment: bool, align_layer: int
    ) -> None:
        self.tokenizer, self.text = translator.tokenizer, translator.text
        self.n_best = n_best
        self.with_scores, self.with_alignment, self.align_layer = with_scores, with_alignment, align_layer
        self._ours = translator if isinstance(translator, Translator) else None
        if self._ours is None and (with_scores or with_alignment):
            raise InputError("--scores, --align: another engine tells neither; leave out --engine")
        if self._ours is not None and with_alignment:
            found = [alignment_problem(model, align_layer) for model in self._ours.models]
            if problems := [f"--align: {problem}" for problem in dict.fromkeys(found) if problem]:
                raise InputError(problems)

    def __call__(self, parts: Sequence[Part], line: int) -> dict[str, Any]:
        """Those of one line, given its number."""
        described = [self._part(part) for part in parts]
        head = {
            "line": line,
            "source": " ".join(part.source for part in parts),
            "text": self.text(parts),
        }
        if len(parts) > 1:
            return {**head, "parts": described}
        return {**head, **described[0]}

    def _part(self, part: Part) -> dict[str, Any]:
        tokenizer = self.tokenizer
        hypotheses = part.hypotheses[: self.n_best]
        texts = tokenizer.decode([h.tokens for h in hypotheses])
        translations: list[dict[str, Any]] = [
            {
                "text": text,
                "score": round(h.score, _DIGITS),
                "log_probability": round(h.log_probability, _DIGITS),
                "is_finished": h.is_finished,
            }
            for text, h in zip(texts, hypotheses, strict=True)
        ]
        described: dict[str, Any] = {"source": part.source, "translations": translations}
        targets = [self._ended(h) for h in hypotheses]
        # An empty line has nothing that a model could have said of it.
        if len(part.tokens) == 1 or not (self.with_scores or self.with_alignment):
            return described
        for translation, target in zip(translations, targets, strict=True):
            translation["tokens"] = tokenizer.pieces(target, "target")
        if self.with_scores:
            assert self._ours is not None
            scores = token_log_probabilities(self._ours.scorer, [part.tokens] * len(targets), targets)
            for translation, row in zip(translations, scores, strict=True):
                translation["log_probabilities"] = [round(value, _DIGITS) for value in row]
        if self.with_alignment:
            described["source_tokens"] = tokenizer.pieces(part.tokens, "source")
            for translation, rows in zip(translations, self._alignments(part.tokens, targets), strict=True):
                translation["alignment"] = [[round(value, 4) for value in row] for row in rows]
        return described

    def _ended(self, hypothesis: Hypothesis) -> list[int]:
        return [*hypothesis.tokens, *[self.tokenizer.eos_id] * hypothesis.is_finished]

    def _alignments(self, source: Sequence[int], targets: Sequence[Sequence[int]]) -> list[list[list[float]]]:
        assert self._ours is not None
        each = [
            cross_attention_weights(model, source, targets, self.tokenizer.sos_id, self.align_layer)
            for model in self._ours.models
        ]
        return [torch.stack(weights).mean(0).tolist() for weights in zip(*each, strict=True)]
