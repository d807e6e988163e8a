"""How alike translations of one source are: sentence BLEU or chrF of every pair, from n-grams counted once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Utility = Literal["chrf", "bleu"]

_CHAR_ORDER, _WORD_ORDER, _BETA = 6, 4, 2


def pairwise_utility(utility: Utility, hypotheses: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """The utility of every hypothesis against every reference.

    The numbers are those of ``sacrebleu.sentence_chrf`` and ``sacrebleu.sentence_bleu`` with their defaults. With x_h the 0/1 vector over
    (n-gram, k) that says whether text h holds the n-gram at least k times, the matches of two texts,
    ``sum over n-grams of min(count_h, count_r)``, are ``x_h . x_r``: one matrix product for each order.

    Args:
        utility: ``chrf`` or ``bleu``.
        hypotheses: H texts.
        references: R texts.

    Returns:
        (H, R), from 0 to 100.
    """
    units, score = (_characters, _chrf) if utility == "chrf" else (_words(), _bleu)
    split = {text: units(text) for text in {*hypotheses, *references}}
    rows, columns = [split[t] for t in hypotheses], [split[t] for t in references]
    counted = [_matches(rows, columns, order) for order in range(1, _order(utility) + 1)]
    return score(
        np.stack(counted), np.array([len(r) for r in rows])[:, None], np.array([len(c) for c in columns])[None]
    )


def _order(utility: Utility) -> int:
    return _CHAR_ORDER if utility == "chrf" else _WORD_ORDER


def _characters(text: str) -> Sequence[str]:
    return "".join(text.split())


def _words() -> Callable[[str], Sequence[str]]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenize = Tokenizer13a()  # type: ignore[no-untyped-call]
    return lambda text: tokenize(text.rstrip()).split()


def _matches(rows: Sequence[Sequence[str]], columns: Sequence[Sequence[str]], order: int) -> NDArray[np.float64]:
    """Clipped n-gram matches of every pair: (H, R)."""
    features: dict[tuple[Any, int], int] = {}
    where = [_features(text, order, features) for text in rows]
    across = [_features(text, order, features) for text in columns]
    # Counts below 2 ** 24 are exact in float32, and its product is the fastest.
    return (_indicator(where, len(features)) @ _indicator(across, len(features)).T).astype(np.float64)


def _features(text: Sequence[str], order: int, features: dict[tuple[Any, int], int]) -> list[int]:
    """The (n-gram, k) pairs of a text as numbers; new ones get the next number."""
    seen: dict[Any, int] = {}
    found = []
    is_text = isinstance(text, str)
    for start in range(len(text) - order + 1):
        gram: Any = text[start : start + order] if is_text else tuple(text[start : start + order])
        seen[gram] = count = seen.get(gram, 0) + 1
        found.append(features.setdefault((gram, count), len(features)))
    return found


def _indicator(rows: Sequence[Sequence[int]], width: int) -> NDArray[np.float32]:
    matrix = np.zeros((len(rows), width), dtype=np.float32)
    for row, places in zip(matrix, rows, strict=True):
        row[places] = 1.0
    return matrix


def _chrf(matches: NDArray[np.float64], hyp: NDArray[np.int64], ref: NDArray[np.int64]) -> NDArray[np.float64]:
    """matches: (6, H, R); hyp: (H, 1) and ref: (1, R), lengths in characters. Returns: (H, R)."""
    less = np.arange(_CHAR_ORDER)[:, None, None]
    n_hyp, n_ref = np.maximum(hyp - less, 0), np.maximum(ref - less, 0)
    # Orders that a text is too short for are left out of both means.
    both = (n_hyp > 0) & (n_ref > 0)
    orders = np.maximum(both.sum(0), 1)
    precision = np.where(both, matches / np.maximum(n_hyp, 1), 0.0).sum(0) / orders
    recall = np.where(both, matches / np.maximum(n_ref, 1), 0.0).sum(0) / orders
    below = _BETA**2 * precision + recall
    score: NDArray[np.float64] = 100 * (1 + _BETA**2) * precision * recall / np.where(below > 0, below, 1.0)
    return score


def _bleu(matches: NDArray[np.float64], hyp: NDArray[np.int64], ref: NDArray[np.int64]) -> NDArray[np.float64]:
    """matches: (4, H, R); hyp: (H, 1) and ref: (1, R), lengths in words. Returns: (H, R)."""
    totals = np.maximum(hyp - np.arange(_WORD_ORDER)[:, None, None], 0)
    logs = np.zeros(matches.shape[1:])
    halvings = np.zeros(matches.shape[1:])
    for matched, total in zip(matches, totals, strict=True):
        # Exponential smoothing: the i-th order without a match counts as 1 / 2^i matches.
        halvings += matched == 0
        precision = np.where(matched > 0, matched, 0.5**halvings) / np.maximum(total, 1)
        logs += np.where(total > 0, np.log(precision), 0.0)
    orders = np.minimum(np.maximum(hyp, 1), _WORD_ORDER)
    brevity = np.exp(np.minimum(0.0, 1 - ref / np.maximum(hyp, 1)))
    return np.where(matches.any(0), 100 * brevity * np.exp(logs / orders), 0.0)
