"""Before anything is timed: the contenders compute the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.peers.contender import Contender
from benchmarks.peers.contenders import OURS
from benchmarks.peers.sizes import training_batch

LOSS_TOLERANCE = 1e-4
AGREEMENT = 0.9
"""Share of equal tokens. Two models that differ by rounding part ways at a near tie, and for the rest of the sentence: one
sentence of 32 is 3 %. Models that differ in what they compute agree on a few per cent."""


@dataclass
class Sameness:
    """What was compared.

    Attributes:
        parameters: Trainable parameters by contender.
        frozen: Parameters that don't train, by contender and name.
        losses: Loss at step 0, dropout off, by precision and contender.
        problems: What differs that must not, one line each.
    """

    parameters: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, dict[str, int]] = field(default_factory=dict)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def compare(contenders: Mapping[str, Contender]) -> Sameness:
    """Count parameters and compute the loss of the same batch by each; the models are left in evaluation mode."""
    found = Sameness()
    for name, contender in contenders.items():
        contender.model.eval()
        found.parameters[name] = contender.n_parameters()
        found.frozen[name] = contender.frozen()
    batch = training_batch(contenders[OURS].size)
    for precision in ("fp32", "bf16"):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            found.losses[precision] = {name: float(c.loss(batch)) for name, c in contenders.items()}
    for name in contenders:
        if found.parameters[name] != found.parameters[OURS]:
            found.problems.append(f"{name}: has {found.parameters[name]} parameters, ours {found.parameters[OURS]}")
        ours, theirs = found.losses["fp32"][OURS], found.losses["fp32"][name]
        if not abs(ours - theirs) <= LOSS_TOLERANCE:
            found.problems.append(f"{name}: loss at step 0 is {theirs:.6f}, ours {ours:.6f}")
    return found


def agreement(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]]) -> float:
    """Share of places at which two lists of token ids have the same token; a missing token is a different one."""
    places = sum(max(len(x), len(y)) for x, y in zip(a, b, strict=True))
    same = sum(i == j for x, y in zip(a, b, strict=True) for i, j in zip(x, y, strict=False))
    return same / places if places else 1.0
