"""Turn by turn: every contender decodes the same batch once a round, each in its own process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.decode.rows import CONTENDERS, REFERENCE, Contender, Row, takes_part
from benchmarks.decode.worker import Job, Running
from benchmarks.peers.checks import agreement
from benchmarks.peers.sizes import Size, sentences
from benchmarks.peers.timing import Spread, ratios, spread


@dataclass
class Measured:
    """One row.

    Attributes:
        row: What was done.
        seconds: By contender, one number a round.
        agreement: Share of the tokens equal to :data:`REFERENCE`'s, by contender.
    """

    row: Row
    seconds: dict[str, list[float]]
    agreement: dict[str, float] = field(default_factory=dict)

    def rate(self, name: str) -> Spread:
        """Sentences a second."""
        return spread([self.row.batch / s for s in self.seconds[name]])

    def ratio(self, name: str, other: str) -> Spread:
        """How many times as fast as another a contender is, round by round."""
        return ratios(self.seconds[name], self.seconds[other])

    def best(self, kind: str) -> str | None:
        """The fastest of a kind by the median over the rounds; None if none took part."""
        names = [n for n in self.seconds if CONTENDERS[n].kind == kind]
        return min(names, key=lambda n: spread(self.seconds[n]).median, default=None)


def measure(
    contenders: Sequence[Contender],
    rows: Sequence[Row],
    size: Size,
    n_rounds: int,
    n_discarded: int,
    threads: int,
    say: Callable[[str], None],
) -> list[Measured]:
    """Start all processes, then measure the rows one after another.

    Args:
        contenders: Who takes part, of those that are installed.
        rows: What to measure.
        size: Of the models and their work.
        n_rounds: Rounds that count.
        n_discarded: Rounds before them.
        threads: CPU threads of each process.
        say: Gets lines of progress.
    """
    measured = []
    here = [c for c in contenders if c.is_installed]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if any(c.package == "ctranslate2" for c in here):
            from benchmarks.decode.convert import convert

            convert(size, Path(folder) / "ctranslate2")
        running: dict[str, Running] = {}
        for contender in here:
            job = Job(contender.module, contender.precision, size.name, threads, folder)
            running[contender.name] = Running(contender.name, job)
            stack.callback(running[contender.name].close)
            say(f"{contender.title}: ready")
        for row in rows:
            names = [c.name for c in here if takes_part(c, row, size)]
            found = _row({name: running[name] for name in names}, row, size, n_rounds, n_discarded)
            measured.append(found)
            say(f"{row.name}: " + ", ".join(f"{n} {found.rate(n).median:.3g}" for n in names))
    return measured


def _row(running: dict[str, Running], row: Row, size: Size, n_rounds: int, n_discarded: int) -> Measured:
    """Each round starts with the next contender, so that none always follows the same one."""
    sources, names = sentences(size, row.batch, seed=row.batch), list(running)
    found = Measured(row, {name: [] for name in names})
    outputs: dict[str, list[list[int]]] = {}
    for turn in range(n_discarded + n_rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            result = running[name].turn(sources, row.task, size.longest)
            if any(len(tokens) != size.longest for tokens in result.tokens):
                raise RuntimeError(f"{row.name}: {name} wrote sentences of other lengths than {size.longest} tokens")
            outputs[name] = result.tokens
            if turn >= n_discarded:
                found.seconds[name].append(result.seconds)
    if REFERENCE in outputs:
        found.agreement = {n: agreement(outputs[REFERENCE], outputs[n]) for n in names if n != REFERENCE}
    return found
