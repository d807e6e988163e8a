"""The probability of each token of given translations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from recambio.decoding.generate import batches
from recambio.decoding.scorer import Scorer


@torch.inference_mode()
def token_log_probabilities(
    scorer: Scorer[Any], sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> list[list[float]]:
    """What a scorer says of each token of a target, given the tokens before it.

    Args:
        scorer: A model, or any other.
        sources: Token ids, EOS included.
        targets: Token ids, EOS included where it is to be scored.

    Returns:
        As many numbers for each target as it has tokens.
    """
    longest = max(map(len, targets))
    forced = torch.full((len(targets), longest), scorer.eos_id, dtype=torch.long)
    for row, target in zip(forced, targets, strict=True):
        row[: len(target)] = torch.tensor(target, dtype=torch.long)
    forced = forced.to(scorer.device)
    state = scorer.start(sources, longest)
    last, columns = torch.full_like(forced[:, 0], scorer.sos_id), []
    for t in range(longest):
        columns.append(scorer.step(state, last).gather(1, forced[:, t : t + 1]))
        last = forced[:, t]
    rows: list[list[float]] = torch.cat(columns, dim=1).tolist()
    return [row[: len(target)] for row, target in zip(rows, targets, strict=True)]


def score_all(
    scorer: Scorer[Any], sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], batch_tokens: int
) -> list[list[float]]:
    """Like :func:`token_log_probabilities` for any number of pairs, batched by length, in the order of the pairs.

    Args:
        scorer: A model, or any other.
        sources: Token ids, EOS included, at least one before it.
        targets: Token ids, EOS included where it is to be scored.
        batch_tokens: The most tokens of the longer side of a batch, padding counted.
    """
    rows: list[list[float]] = [[] for _ in sources]
    longer = [max(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]
    for batch in batches(longer, batch_tokens, 1):
        found = token_log_probabilities(scorer, [sources[i] for i in batch], [targets[i] for i in batch])
        for i, row in zip(batch, found, strict=True):
            rows[i] = row
    return rows
