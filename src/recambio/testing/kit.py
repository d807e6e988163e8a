"""What a check is, which there are, and how they speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recambio.registry import REGISTRIES, Node

SITES = {
    "attention": ("encoder_self", "decoder_self", "cross"),
    "feed_forward": ("encoder_feed_forward", "decoder_feed_forward"),
    "positions": ("encoder", "decoder"),
    "block": ("encoder", "decoder"),
    "normalization": ("decoder",),
    "activation": ("decoder",),
    "embedding": ("model",),
    "loss": ("training",),
    "optimizer": ("training",),
    "schedule": ("training",),
    "search": ("decoding",),
    "metric": ("evaluation",),
}
"""Where the parts of a kind are tried, unless their card names fewer places."""

IN_STACK = ("attention", "feed_forward", "positions", "block", "normalization", "activation")

Check = Callable[[str, Node, str], None]
"""(kind, node, site); raises AssertionError."""


@dataclass(frozen=True)
class CheckInfo:
    """A named check.

    Attributes:
        function: Runs it.
        kinds: The kinds it applies to.
        where: The sites it applies to; None for all.
        slow: Whether it runs on request only.
    """

    function: Check
    kinds: tuple[str, ...]
    where: tuple[str, ...] | None
    slow: bool

    @property
    def proves(self) -> str:
        """One line: what passing it proves."""
        return (self.function.__doc__ or "").split("\n", 1)[0]


CHECKS: dict[str, CheckInfo] = {}

IN_DECODER = ("decoder_self", "cross", "decoder_feed_forward", "decoder")


def applies_to(*kinds: str, where: tuple[str, ...] | None = None, slow: bool = False) -> Callable[[Check], Check]:
    """Decorator: run the function, under its name, on parts of these kinds at these sites."""

    def register(function: Check) -> Check:
        if function.__name__ in CHECKS:
            raise ValueError(f"there is a check {function.__name__!r} already")
        CHECKS[function.__name__] = CheckInfo(function, kinds, where, slow)
        return function

    return register


def drops_at_random(kind: str, node: Node) -> bool:
    """Whether the part has dropout of its own, which two processes, or a compiled graph, draw from other numbers."""
    _, options = REGISTRIES[kind].resolve(node)
    return any("dropout" in name and value for name, value in options.items())


def name_of(node: Node) -> str:
    return node if isinstance(node, str) else str(node["name"])


EXACT = {torch.float64: 1e-9, torch.float32: 1e-5}
"""How near two computations of the same must come, absolutely below 1 and relatively above. What a check proves it proves in
float64, where a fault can't hide behind rounding."""


def same(actual: Tensor, expected: Tensor, what: str, tolerance: float | None = None) -> None:
    """Both agree to `tolerance`, absolutely where below 1 and relatively above; by default to what `EXACT` says."""
    tolerance = EXACT[expected.dtype] if tolerance is None else tolerance
    assert actual.shape == expected.shape, f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    difference = ((actual - expected).abs() / expected.abs().clamp(min=1.0)).max().item() if actual.numel() else 0.0
    assert difference <= tolerance, f"{what}: differs by {difference:.2g}, more than {tolerance:g}"


def finite(x: Tensor, what: str) -> None:
    assert bool(torch.isfinite(x).all()), f"{what}: not finite"


def gradient_of(loss: Tensor, x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
    return gradient
