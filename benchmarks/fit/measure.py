"""Turn by turn: every contender at every precision once a round, each in its own process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.fit import work
from benchmarks.fit.clock import Lap, Running
from benchmarks.fit.contender import OURS
from benchmarks.peers import flops
from benchmarks.peers.sizes import SIZES, Precision, Size
from benchmarks.peers.timing import Spread, alternate, products, spread
from recambio.data.parts import Ints
from recambio.experiment.prepare import prepared

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Row = tuple[str, Precision]
"""A contender at a precision."""


@dataclass
class Fitted:
    """What was measured.

    Attributes:
        size: Of the models, with the vocabulary that the corpus gave.
        corpus: Its name, and how many pairs.
        step_tokens: Real target tokens of a step, as planned.
        flops_per_token: Useful matrix-product operations a real target token.
        laps: By row, one a round.
        product_rates: Operations a second of the best plain matrix product, by precision, one a round.
    """

    size: Size
    corpus: str
    step_tokens: int
    flops_per_token: float
    laps: dict[Row, list[Lap]]
    product_rates: dict[Precision, list[float]] = field(default_factory=dict)

    def rate(self, row: Row) -> Spread:
        """Real target tokens a second."""
        return spread([lap.tokens / lap.seconds for lap in self.laps[row]])

    def ratio(self, row: Row, other: Row) -> Spread:
        """How many times the other's rate a row has, round by round."""
        pairs = zip(self.laps[row], self.laps[other], strict=True)
        return spread([a.tokens / a.seconds * b.seconds / b.tokens for a, b in pairs])

    def share_of_peak(self, row: Row) -> float:
        """Useful operations a second over the rate of the best plain product in the same rounds."""
        return flops.mfu(self.flops_per_token, 1 / self.rate(row).median, spread(self.product_rates[row[1]]).median)

    def waited(self, row: Row) -> float | None:
        """Share of the time that training waited for its loader, over all rounds."""
        waits = [lap.waited for lap in self.laps[row] if lap.waited is not None]
        return sum(waits) / sum(lap.seconds for lap in self.laps[row]) if waits else None

    def tokens_per_step(self, row: Row) -> float:
        """Real target tokens of a step, as trained."""
        return sum(lap.tokens for lap in self.laps[row]) / sum(lap.steps for lap in self.laps[row])

    def best_peer(self, precision: Precision) -> Row | None:
        """The fastest peer at a precision, by the median over the rounds; None if there is none."""
        peers = [row for row in self.laps if row[1] == precision and row[0] != OURS]
        return max(peers, key=lambda row: self.rate(row).median, default=None)


def measure(rows: Sequence[Row], size: Size, n_rounds: int, threads: int, say: Callable[[str], None]) -> Fitted:
    """Start and warm up all processes, then let each train a turn a round.

    Args:
        rows: Who takes part, and at which precisions.
        size: Of the models.
        n_rounds: Rounds.
        threads: CPU threads of each process.
        say: Gets lines of progress.
    """
    turn, has_files = work.TURNS[size.name], size.name != "tiny" and work.has_files()
    data = prepared(work.config(size, "fp32", threads, has_files))
    store = data.stores["train"]
    tokens = work.step_tokens(data, turn.positions)
    count = work.sentences_for(store, tokens)
    positions = work.unsorted_positions(store, count)
    full = work.with_vocabulary(size, data)
    found = Fitted(
        size=full,
        corpus=f"{'tatoeba/train' if has_files else 'embedded corpus'}, {len(store):,} pairs",
        step_tokens=tokens,
        flops_per_token=work.flops_per_token(full, *(_lengths(store.lengths(side)) for side in ("source", "target"))),
        laps={row: [] for row in rows},
        product_rates={precision: [] for _, precision in rows},
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        running: dict[Row, Running] = {}
        for row in rows:
            own = Path(folder) / "-".join(row)
            own.mkdir()
            job = work.Job(*row, size.name, threads, str(own), count, positions, has_files)
            running[row] = Running(job)
            stack.callback(running[row].close)
            say(f"{', '.join(row)}: warmed up")
        for turns in range(n_rounds):
            _round(running, turn.tokens, turns, found)
            say(f"round {turns + 1} of {n_rounds}: " + ", ".join(_last(found, row) for row in rows))
    return found


def _round(running: Mapping[Row, Running], tokens: int, turns: int, found: Fitted) -> None:
    """Each starts with the next contender, so that none always follows the same one."""
    rows = list(running)
    first = turns % len(rows)
    for row in rows[first:] + rows[:first]:
        found.laps[row].append(running[row].turn(tokens))
    for precision, rates in found.product_rates.items():
        plain = {p.name: p for p in products(SIZES[found.size.name])}
        seconds, _ = alternate({name: p.prepare(DTYPES[precision]) for name, p in plain.items()}, 3, 1)
        rates.append(max(p.flops / min(seconds[name]) for name, p in plain.items()))


def _last(found: Fitted, row: Row) -> str:
    lap = found.laps[row][-1]
    return f"{' '.join(row)} {lap.tokens / lap.seconds:.0f}"


def _lengths(lengths: Ints) -> list[int]:
    """With EOS."""
    return (lengths + 1).tolist()  # type: ignore[no-any-return]
