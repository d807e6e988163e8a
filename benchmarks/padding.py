"""How much of a training batch is padding, and so how much could be won by packing sentences one after another instead.

RECAMBIO_DATA=<data> python -m benchmarks.padding CONFIG [key=value ...] [--tokens 25000]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.fit.work import flops_per_token
from benchmarks.peers import flops
from benchmarks.peers.report import table
from benchmarks.peers.sizes import SIZES, Size
from recambio.config import load
from recambio.data.plan import TrainingPlan
from recambio.experiment.prepare import prepared

Ints = NDArray[np.integer]


@dataclass(frozen=True)
class Lengths:
    """Tokens of sentence pairs.

    Attributes:
        source: EOS included; (sentences,).
        target: Likewise.
    """

    source: Ints
    target: Ints

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Padding:
    """What batches hold beside sentences, each padded to its longest on either side.

    Attributes:
        tokens: Real target tokens of a batch, on average.
        positions: Share of the positions of both sides together that hold none.
        products: Share of the matrix products of a training step that are spent on them: packing can win no more.
    """

    tokens: float
    positions: float
    products: float


def synthetic_lengths(count: int, seed: int = 1) -> Lengths:
    """Lengths like those of Tatoeba in pieces of a vocabulary of 16,000: most near 10, few of 40 and more.

    The source's logarithm is normal; the target's follows it, up to an error that is normal too.
    """
    stream = np.random.default_rng(seed)
    source = stream.normal(MEAN, DEVIATION, count)
    target = MEAN + SLOPE * (source - MEAN) + stream.normal(0, ERROR, count)
    return Lengths(*(np.clip(np.rint(np.exp(side)), 2, 64).astype(np.int64) for side in (source, target)))


MEAN, DEVIATION, SLOPE, ERROR = 2.21, 0.34, 0.85, 0.2
"""Of the logarithm of Tatoeba's lengths, EOS included: ``python -m benchmarks.padding tatoeba data.tokenizer.vocabulary_size=16000``."""


def planned(lengths: Lengths, tokens: int) -> list[Ints]:
    """The batches of an epoch of our plan that hold so many real target tokens on average. Returns: indices of sentences."""
    positions = tokens
    for _ in range(3):  # what is padded depends on the size of the batch, but hardly
        plan = TrainingPlan(lengths.source - 1, lengths.target - 1, data_hash="", seed=1, batch_tokens=positions)
        positions = round(positions * tokens / plan.mean_step_tokens)
    epoch = plan.epoch(0)
    return [epoch.batch(i) for i in range(len(epoch))]


def unsorted(lengths: Lengths, tokens: int) -> list[Ints]:
    """Batches of sentences in random order, as many in each as hold so many real target tokens on average."""
    order = np.random.default_rng(1).permutation(len(lengths))
    rows = max(1, round(tokens / float(lengths.target.mean())))
    return np.split(order, range(rows, len(order), rows))


def padding(lengths: Lengths, batches: Sequence[Ints], size: Size) -> Padding:
    """What these batches hold beside sentences.

    Args:
        lengths: Of the sentences.
        batches: Indices of sentences, a batch each.
        size: Of the model whose products are counted.
    """
    work = positions = 0
    for batch in batches:
        source, target = int(lengths.source[batch].max()), int(lengths.target[batch].max())
        positions += len(batch) * (source + target)
        work += 3 * flops.training_forward(size, len(batch), source, target, int(lengths.target[batch].sum()))
    every = np.concatenate(batches)
    source, target = lengths.source[every], lengths.target[every]
    useful = flops_per_token(size, source.tolist(), target.tolist()) * target.sum()
    real = source.sum() + target.sum()
    return Padding(float(target.sum() / len(batches)), float(1 - real / positions), float(1 - useful / work))


def as_markdown(lengths: Lengths, tokens: int, size: Size) -> str:
    """A table, and what the lengths are."""
    logarithms = np.log(lengths.source), np.log(lengths.target)
    slope = np.cov(*logarithms)[0, 1] / np.var(logarithms[0])
    error = (logarithms[1] - slope * logarithms[0]).std()
    lines = [
        f"{len(lengths):,} pairs; tokens with EOS: source {lengths.source.mean():.1f}, at most {lengths.source.max()}, target "
        f"{lengths.target.mean():.1f}, at most {lengths.target.max()}. Logarithm of the source's: {logarithms[0].mean():.2f} "
        f"+- {logarithms[0].std():.2f}; of the target's {logarithms[1].mean():.2f} by {slope:.2f} of it +- {error:.2f}.",
        "",
    ]
    rows = []
    for name, batches in (("random order", unsorted(lengths, tokens)), ("our plan", planned(lengths, tokens))):
        found = padding(lengths, batches, size)
        rows.append([name, f"{found.tokens:,.0f}", f"{found.positions:.1%}", f"{found.products:.1%}"])
    head = ["batches", "target tokens", "positions that are padding", f"products on it ({size.name})"]
    return "\n".join([*lines, *table(head, rows)]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.padding", description="Padding in training batches.")
    parser.add_argument("config", help="whose training pairs are counted")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--tokens", type=int, default=25_000, metavar="N", help="real target tokens a batch (25000)")
    options = parser.parse_args(arguments)
    store = prepared(load(options.config, options.overrides, check_hardware=False), is_quiet=True).stores["train"]
    lengths = Lengths(store.lengths("source").astype(np.int64) + 1, store.lengths("target").astype(np.int64) + 1)
    print(as_markdown(lengths, options.tokens, SIZES["base"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
