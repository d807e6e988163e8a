"""Many sentences through a search: batched by length, restored to their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, Search


def length_limit(source_length: int, ratio: float, extra: int, most: int | None = None) -> int:
    """The most target tokens, EOS included, for a source of ``source_length`` tokens, EOS included."""
    limit = max(1, int(source_length * ratio) + extra)
    return limit if most is None else min(limit, most)


def generate(
    scorer: Scorer[Any],
    search: Search,
    sources: Sequence[Sequence[int]],
    *,
    batch_tokens: int,
    max_ratio: float = 2.0,
    max_extra: int = 10,
    max_length: int | None = None,
) -> list[list[Hypothesis]]:
    """Translate token sequences.

    Args:
        scorer: The model.
        search: How to search.
        sources: Token ids, EOS included.
        batch_tokens: The most source tokens of a batch, padding and the beam's width counted.
        max_ratio: Target tokens allowed per source token.
        max_extra: And this many more.
        max_length: An absolute limit on the target, where the model's positions have one.

    Returns:
        Hypotheses per source, in the order of ``sources``. A source of EOS alone gives an empty hypothesis.
    """
    results: list[list[Hypothesis]] = [[Hypothesis([], 0.0, 0.0, True)] for _ in sources]
    for batch in batches([len(s) for s in sources], batch_tokens, search.width):
        limits = [length_limit(len(sources[i]), max_ratio, max_extra, max_length) for i in batch]
        for i, found in zip(batch, search(scorer, [sources[i] for i in batch], limits), strict=True):
            results[i] = found
    return results


def batches(lengths: Sequence[int], batch_tokens: int, width: int) -> Iterator[list[int]]:
    """Indices of the sources with more than EOS, longest first, cut so that rows * longest * width stays in bounds."""
    order = sorted((i for i, n in enumerate(lengths) if n > 1), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // (lengths[order[start]] * width))
        yield order[start : start + rows]
        start += rows
