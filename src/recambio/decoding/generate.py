"""Many sentences through a search: the longest first, batched, restored to their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.decoding.searches.stepwise import Stepwise


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
        search: How to search. A :class:`Stepwise` one takes waiting sources in itself; any other gets one batch after another.
        sources: Token ids, EOS included.
        batch_tokens: The most source tokens of a batch, padding and the beam's width counted.
        max_ratio: Target tokens allowed per source token.
        max_extra: And this many more.
        max_length: An absolute limit on the target, where the model's positions have one.

    Returns:
        Hypotheses per source, in the order of ``sources``. A source of EOS alone gives an empty hypothesis.
    """
    results: list[list[Hypothesis]] = [[Hypothesis([], 0.0, 0.0, True)] for _ in sources]
    lengths = [len(source) for source in sources]

    def limits(batch: Sequence[int]) -> list[int]:
        return [length_limit(lengths[i], max_ratio, max_extra, max_length) for i in batch]

    def store(batch: Sequence[int], found: Sequence[list[Hypothesis]]) -> None:
        for i, hypotheses in zip(batch, found, strict=True):
            results[i] = hypotheses

    if isinstance(search, Stepwise):
        order = _longest_first(lengths)
        found = search.run(
            scorer, [sources[i] for i in order], limits(order), lambda longest: batch_tokens // (longest * search.width)
        )
        store(order, found)
    else:
        for batch in batches(lengths, batch_tokens, search.width):
            store(batch, search(scorer, [sources[i] for i in batch], limits(batch)))
    return results


def batches(lengths: Sequence[int], batch_tokens: int, width: int) -> Iterator[list[int]]:
    """Indices of the sources with more than EOS, longest first, cut so that rows * longest * width stays in bounds."""
    order = _longest_first(lengths)
    start = 0
    while start < len(order):
        rows = max(1, batch_tokens // (lengths[order[start]] * width))
        yield order[start : start + rows]
        start += rows


def _longest_first(lengths: Sequence[int]) -> list[int]:
    """Indices of the sources with more than EOS."""
    return sorted((i for i, n in enumerate(lengths) if n > 1), key=lambda i: (-lengths[i], i))
