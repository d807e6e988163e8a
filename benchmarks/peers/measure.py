"""Measure the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.peers import flops
from benchmarks.peers.checks import AGREEMENT, agreement
from benchmarks.peers.contender import Contender
from benchmarks.peers.contenders import OURS, same_weights, taking_part
from benchmarks.peers.memory import peak_in_subprocess
from benchmarks.peers.sizes import Row, Size, sentences, training_batch
from benchmarks.peers.timing import Spread, alternate, products, ratios, spread
from benchmarks.peers.weights import stir


@dataclass
class Measured:
    """One row.

    Attributes:
        row: What was done.
        tokens: Target tokens of one run.
        sentences: Sentences of one run.
        flops: Useful matrix-product operations of one run.
        seconds: By contender, one number a round.
        product_rates: Operations a second of plain matrix products in the same rounds, by their names.
        peak_memory: MiB by contender.
        agreement: Share of the tokens equal to ours, by peer (decoding only).
    """

    row: Row
    tokens: int
    sentences: int
    flops: int
    seconds: dict[str, list[float]]
    product_rates: dict[str, float] = field(default_factory=dict)
    peak_memory: dict[str, float] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)

    def rate(self, name: str) -> Spread:
        """Sentences a second in decoding, real target tokens a second in training."""
        work = self.tokens if self.row.task == "train" else self.sentences
        return spread([work / s for s in self.seconds[name]])

    def best_peer(self) -> str:
        """The fastest peer, by the median over the rounds."""
        return min((n for n in self.seconds if n != OURS), key=lambda n: spread(self.seconds[n]).median)

    def ratio(self, peer: str) -> Spread:
        """How many times faster than a peer we are."""
        return ratios(self.seconds[OURS], self.seconds[peer])

    def share_of_peak(self, name: str) -> float:
        """Useful operations a second over the best rate of a plain matrix product in the same rounds."""
        return flops.mfu(self.flops, spread(self.seconds[name]).median, max(self.product_rates.values()))

    def problems(self) -> list[str]:
        """What must not be: in float32 every contender decodes the same sentences."""
        if self.row.precision != "fp32":
            return []
        return [
            f"{self.row.name}: {peer} agrees with ours on {share:.1%} of the tokens, should be {AGREEMENT:.0%}"
            for peer, share in self.agreement.items()
            if share < AGREEMENT
        ]


def measure(
    rows: Sequence[Row],
    size: Size,
    n_rounds: int,
    n_discarded: int,
    threads: int,
    with_memory: bool,
    say: Callable[[str], None],
) -> list[Measured]:
    """Measure rows one after another.

    Args:
        rows: What to measure.
        size: Of the models and their work.
        n_rounds: Rounds that count.
        n_discarded: Rounds before them.
        threads: CPU threads, in the processes that measure memory too.
        with_memory: Whether to measure peak memory; each contender then runs in a process of its own, too.
        say: Gets a line of progress for each row.
    """
    measured: list[Measured] = []
    group: tuple[bool, str] | None = None
    contenders: Mapping[str, Contender] = {}
    for row in rows:
        # A model that was cast, trained or kept from ending its sentences serves only rows of that kind.
        if row.task == "train" or group != (False, row.precision):
            contenders = same_weights(size, None if row.task == "train" else stir)
        group = (row.task == "train", row.precision)
        names = taking_part(row)
        result = _time({n: contenders[n] for n in names}, row, size, n_rounds, n_discarded)
        if with_memory:
            result.peak_memory = {n: peak_in_subprocess(n, row.name, size.name, threads) for n in names}
        measured.append(result)
        best = result.ratio(result.best_peer())
        say(f"{row.name}: {best.median:.2f} ({best.low:.2f}-{best.high:.2f}) times {result.best_peer()}")
    return measured


def _time(contenders: Mapping[str, Contender], row: Row, size: Size, n_rounds: int, n_discarded: int) -> Measured:
    runs = {name: contender.prepare(row) for name, contender in contenders.items()}
    dtype = torch.bfloat16 if row.precision == "bf16" else torch.float32
    ceilings = {f"product {p.name}": p for p in products(size)}
    runs |= {name: product.prepare(dtype) for name, product in ceilings.items()}
    seconds, results = alternate(runs, n_rounds, n_discarded)
    if row.task == "train":
        tokens = training_batch(size).target_tokens
        work = flops.training_step(size, tokens)
        agreeing: dict[str, float] = {}
    else:
        tokens = row.batch * size.longest
        lengths = [len(s) for s in sentences(size, row.batch, seed=row.batch)]
        work = flops.decoding(size, lengths, row.task)
        outputs: dict[str, list[list[int]]] = {n: results[n] for n in contenders}  # type: ignore[misc]
        agreeing = {n: agreement(outputs[OURS], outputs[n]) for n in contenders if n != OURS}
    return Measured(
        row=row,
        tokens=tokens,
        sentences=row.batch,
        flops=work,
        seconds={name: seconds[name] for name in contenders},
        product_rates={p.name: p.flops / spread(seconds[name]).median for name, p in ceilings.items()},
        agreement=agreeing,
    )
