"""What cleaning drops of parallel text, what it catches of text that is wrong, and how fast it is. Run

    python benchmarks/cleaning.py ../shared/data

for every FOLDER/train.{en,es}[.gz|.xz] below that folder; the tables of docs/cleaning.md are what it prints.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import recambio.data  # noqa: F401
from recambio.data.cleaning import DEFAULT_CLEANING, Cleaner, CleaningReport
from recambio.data.cleaning.duplicates import HashSet
from recambio.data.overlap import Finder, HeldOutSet, Overlap
from recambio.data.pairs import Pair, find_file, read_lines, read_moses

LONG = 6
"""Words that a sentence has on both sides to be counted among those that a language step should judge."""


def training_pairs(folder: Path) -> list[Pair]:
    """The pairs of a folder's ``train`` files."""
    source, target = (find_file(folder / f"train.{language}") for language in ("en", "es"))
    assert source is not None and target is not None
    return list(read_moses(source, target, strict=True))


def dropped(pairs: Sequence[Pair], nodes: Sequence[str]) -> CleaningReport:
    """What a pipeline leaves out."""
    report = CleaningReport("train")
    for _ in Cleaner(nodes).clean(pairs, report):
        pass
    return report


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def share(count: int, total: int, digits: int = 3) -> str:
    """A count in per cent."""
    return f"{100 * count / total:.{digits}f} %" if count else "0"


def drops(corpora: dict[str, list[Pair]]) -> None:
    """Pairs that the default pipeline drops, by reason, and what swapped and doubled sides it catches."""
    reasons = [
        "too long",
        "too short",
        "length ratio",
        "markup",
        "markup differs",
        "script",
        "language",
        "copy",
        "duplicate",
    ]
    row("corpus", "pairs", *reasons, "in all")
    row(*["---"] * (len(reasons) + 3))
    for name, pairs in corpora.items():
        report = dropped(pairs, DEFAULT_CLEANING)
        lost = report.read - report.kept
        row(
            name,
            f"{len(pairs):,}",
            *(report.dropped.get(r, 0) for r in reasons),
            f"{lost:,} ({share(lost, len(pairs))})",
        )


def catches(corpora: dict[str, list[Pair]]) -> None:
    """Pairs in the wrong language that the language step catches."""
    row("corpus", f"pairs of {LONG} words or more", "as they are", "sides swapped", "English twice", "Spanish twice")
    row(*["---"] * 6)
    for name, pairs in corpora.items():
        long = [p for p in pairs if min(len(p.source.split()), len(p.target.split())) >= LONG]
        variants = (
            long,
            [Pair(p.target, p.source) for p in long],
            [Pair(p.source, p.source) for p in long],
            [Pair(p.target, p.target) for p in long],
        )
        counts = [sum(dropped(variant, ["language"]).dropped.values()) for variant in variants]
        row(name, f"{len(long):,}", *(share(n, len(long), 3 if i == 0 else 1) for i, n in enumerate(counts)))


def overlaps(corpora: dict[str, list[Pair]], root: Path) -> None:
    """Pairs that stand in the test sets below the same folder."""
    sets = []
    for path in [*sorted((root / "testsets").glob("*.en")), root / "tatoeba" / "dev.en", root / "tatoeba" / "test.en"]:
        if path.is_file():
            rows = list(zip(read_lines(path), ([line] for line in read_lines(path.with_suffix(".es"))), strict=True))
            sets.append(HeldOutSet(path.stem, "", lambda rows=rows: rows))  # type: ignore[misc]
    row("corpus", "min_words 3", "min_words 1", "13 words in a row")
    row(*["---"] * 4)
    for name, pairs in corpora.items():
        cells = []
        for least in (3, 1):
            report, cleaner = CleaningReport("train"), Cleaner()
            finder = Finder(Overlap(tuple(sets), min_words=least), cleaner.normalize_line)
            for _ in finder.without(cleaner.clean(pairs, report), report):
                pass
            assert report.overlap is not None
            cells.append(report.overlap["pairs"])
        row(name, cells[0]["sentences"], cells[1]["sentences"], cells[0]["ngrams"])


def best(run: Callable[[], object], repeats: int = 5) -> float:
    """The shortest of several times, in seconds of the processor: others may use it too."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def speed(pairs: Sequence[Pair], name: str) -> None:
    """Pairs a second of each step by itself and of the default pipeline; the cost of an empty pipeline is taken off a step's."""
    print(f"\n{name}, {len(pairs):,} pairs, processor time of one core, the best of 5:\n")
    row("step", "microseconds a pair", "pairs a second")
    row(*["---"] * 3)
    empty = best(lambda: dropped(pairs, []))
    row("reading from a list", f"{1e6 * empty / len(pairs):.2f}", f"{len(pairs) / empty:,.0f}")
    for step in DEFAULT_CLEANING:
        seconds = best(lambda step=step: dropped(pairs, [str(step)])) - empty  # type: ignore[misc]
        row(f"`{step}`", f"{1e6 * seconds / len(pairs):.2f}", f"{len(pairs) / seconds:,.0f}")
    whole = best(lambda: dropped(pairs, DEFAULT_CLEANING))
    row("the default pipeline", f"{1e6 * whole / len(pairs):.2f}", f"{len(pairs) / whole:,.0f}")


def overlap_speed(pairs: Sequence[Pair], root: Path) -> None:
    """The same for the search of a test set's sentences."""
    path = root / "testsets" / "newstest2013.en"
    rows = list(zip(read_lines(path), ([line] for line in read_lines(path.with_suffix(".es"))), strict=True))
    finder = Finder(Overlap((HeldOutSet("newstest2013", "", lambda: rows),)), str)
    seconds = best(lambda: sum(1 for _ in finder.without(pairs, CleaningReport("train"))))
    row("overlap with newstest2013", f"{1e6 * seconds / len(pairs):.2f}", f"{len(pairs) / seconds:,.0f}")


def table(count: int) -> None:
    """Memory and speed of the table of hashes."""
    hashes = HashSet()
    # Fibonacci's multiplier spreads the numbers as a hash would.
    values = [n * 0x9E3779B97F4A7C15 & (1 << 64) - 1 for n in range(1, 1_000_001)]
    start, longest = time.process_time(), 0.0
    for block in range(count // len(values)):
        before = time.process_time()
        for value in values:
            hashes.add(value ^ block << 44)
        longest = max(longest, time.process_time() - before)
    seconds = time.process_time() - start
    with open("/proc/self/status", encoding="utf-8") as status:
        peak = next(line for line in status if line.startswith("VmHWM"))
    print(
        f"\n{len(hashes):,} hashes: {len(hashes) / seconds:,.0f} a second, peak of the process {peak.split(maxsplit=1)[1].strip()}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the corpora")
    parser.add_argument("--hashes", type=int, default=0, help="measure the table of hashes with so many instead")
    arguments = parser.parse_args()
    if arguments.hashes:
        table(arguments.hashes)
        return
    folders = sorted(p for p in arguments.data.iterdir() if p.is_dir() and list(p.glob("train.en*")))
    corpora = {folder.name: training_pairs(folder) for folder in folders}
    for measure in (drops, catches):
        measure(corpora)
        print()
    overlaps(corpora, arguments.data)
    for name in ("tatoeba", "europarl-sample"):
        if name in corpora:
            speed(corpora[name], name)
            overlap_speed(corpora[name], arguments.data)


if __name__ == "__main__":
    main()
