"""Alternating measurements: only contenders timed in one run, turn by turn, can be compared."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.peers.sizes import Size


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(statistics.median(values), low, high)


def alternate(
    runs: Mapping[str, Callable[[], object]],
    n_rounds: int,
    n_discarded: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[dict[str, list[float]], dict[str, object]]:
    """Time every run once a round; each round starts with the next run, so that none always follows the same one.

    Args:
        runs: What to time, by name.
        n_rounds: Rounds that count.
        n_discarded: Rounds before them, which warm up.
        clock: Seconds.

    Returns:
        Seconds by name, one number a round, and what each run returned last.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, object] = {}
    names = list(runs)
    gc.collect()
    gc.freeze()  # what is here now stays: the collections below look at the runs' own garbage alone
    try:
        for turn in range(n_discarded + n_rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                gc.collect()
                started = clock()
                results[name] = runs[name]()
                elapsed = clock() - started
                if turn >= n_discarded:
                    seconds[name].append(elapsed)
    finally:
        gc.unfreeze()
    return seconds, results


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times faster we are, round by round; a drift of the machine that outlasts a round cancels."""
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])


@dataclass(frozen=True)
class Product:
    """A matrix product whose rate is the ceiling of what a model can reach.

    In float32 `torch.mm` calls MKL, which is not the fastest library on every processor: oneDNN, which torch carries too, is
    asked as well.
    """

    name: str
    library: str
    m: int
    k: int
    n: int
    repeats: int

    @property
    def flops(self) -> int:
        """Of all repeats together."""
        return 2 * self.m * self.k * self.n * self.repeats

    def prepare(self, dtype: torch.dtype) -> Callable[[], object]:
        """What to time."""
        a, b = torch.randn(self.m, self.k, dtype=dtype), torch.randn(self.n, self.k, dtype=dtype)
        out = torch.empty(self.m, self.n, dtype=dtype)

        def mkl() -> None:
            for _ in range(self.repeats):
                torch.mm(a, b.T, out=out)

        def onednn() -> None:
            for _ in range(self.repeats):
                torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")

        # Without AVX-512 it has none in bfloat16.
        has_product = dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return onednn if self.library == "oneDNN" and has_product else mkl


def products(size: Size) -> list[Product]:
    """A large square product, and the feed-forward layer's of a training batch, by each library that this torch has."""
    side = 2048 if size.d_model >= 256 else 128
    tokens = size.training_batch * size.longest
    has_onednn = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return [
        product
        for library in ("torch.mm", "oneDNN")
        if library == "torch.mm" or has_onednn
        for product in (
            Product(f"square, {library}", library, side, side, side, 1),
            Product(f"layer, {library}", library, tokens, size.d_model, size.d_ff, 4),
        )
    ]
