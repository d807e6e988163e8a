"""A few of many, drawn at random, the same each time."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

SAMPLES = 5
"""Samples of a reason."""

_CHARACTERS = 200


def sample(
    samples: list[dict[str, Any]], seed: str, count: int, reason: str, file: str, line: int, source: str, target: str
) -> None:
    """Offer the ``count``-th pair of a reason to a list that holds at most :data:`SAMPLES` of each reason.

    ``P(kept) = SAMPLES / n`` for each of the n pairs of a reason, whichever n turns out to be. The draws follow from ``seed``, reason
    and count, so nothing but the list itself has to be kept between two calls, or between two processes.

    Paper: Vitter 1985, "Random Sampling with a Reservoir", https://doi.org/10.1145/3147.3165, algorithm R.

    Args:
        samples: Changed in place.
        seed: What the draws depend on, such as the split's name.
        count: How many pairs of this reason there were, this one included.
        reason: Why the pair is here.
        file, line: Where it stood.
        source, target: Its text, of which the first characters are kept.
    """
    place = count - 1
    if count > SAMPLES:
        draw = blake2b(f"{seed}\n{reason}\n{count}".encode(), digest_size=8).digest()
        place = int.from_bytes(draw, "little") % count
        if place >= SAMPLES:
            return
    entry = {
        "reason": reason,
        "file": file,
        "line": line,
        "source": source[:_CHARACTERS],
        "target": target[:_CHARACTERS],
    }
    if count <= SAMPLES:
        samples.append(entry)
    else:
        of_reason = [i for i, known in enumerate(samples) if known["reason"] == reason]
        samples[of_reason[place]] = entry
