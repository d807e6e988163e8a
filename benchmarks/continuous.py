"""What it gains that waiting sentences enter the batch, over one batch after another, on a trained run's own translations.

    python benchmarks/continuous.py RUN --source FILE

Both ways translate the same sentences with the same limit on a batch, in turns; the first round is a warm-up.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from recambio.decoding.generate import batches, generate
from recambio.decoding.searches import stepwise
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.experiment.translator import Translator, load


class Fixed(Search):
    """A search that is no :class:`Stepwise` to whoever batches."""

    def __init__(self, inner: Search) -> None:
        self.inner, self.width = inner, inner.width

    def __call__(self, scorer, sources, max_lengths):  # type: ignore[no-untyped-def]
        """See :meth:`Search.__call__`."""
        return self.inner(scorer, sources, max_lengths)


def timed(
    translator: Translator, search: Search, rows: Sequence[Sequence[int]], size: int
) -> tuple[float, list[list[Hypothesis]]]:
    """Seconds, and what was found."""
    decoding = translator.config.values.decoding
    start = time.perf_counter()
    found = generate(
        translator.scorer, search, rows,
        batch_tokens=size, max_ratio=decoding.max_ratio, max_extra=decoding.max_extra, max_length=translator.target_limit,
    )  # fmt: skip
    return time.perf_counter() - start, found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--sentences", type=int, default=2_000)
    parser.add_argument("--batch-tokens", type=int, nargs="+", default=[64, 128, 256, 8192])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--few-rows", type=int, default=stepwise._FEW_ROWS, help="up to so many rows waiting ones enter"
    )
    options = parser.parse_args()
    stepwise._FEW_ROWS = options.few_rows
    lines = options.source.read_text(encoding="utf-8").splitlines()[: options.sentences]
    print(
        "| search | batch_tokens | batches | one after another, sentences/s | waiting ones enter | ratio | same tokens |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ("greedy", "beam"):
        translator = load(options.run, overrides=[f"decoding.search={name}"])
        tokenizer, search = translator.tokenizer, translator.search
        rows = [[*row, tokenizer.eos_id] for row in tokenizer.encode(lines, "source")]
        rows = [row for row in rows if 1 < len(row) <= translator.source_limit]
        for size in options.batch_tokens:
            n_batches = sum(1 for _ in batches([len(r) for r in rows], size, search.width))
            seconds: dict[bool, list[float]] = {True: [], False: []}
            said: dict[bool, list[list[int]]] = {}
            for _ in range(options.repeats + 1):
                for is_full in (False, True):
                    time_, found = timed(translator, search if is_full else Fixed(search), rows, size)
                    seconds[is_full].append(time_)
                    said[is_full] = [h[0].tokens for h in found]
            ratio = statistics.median(a / b for a, b in zip(seconds[False][1:], seconds[True][1:], strict=True))
            rates = [len(rows) / statistics.median(seconds[x][1:]) for x in (False, True)]
            same = sum(a == b for a, b in zip(said[False], said[True], strict=True)) / len(rows)
            print(
                f"| {name} | {size} | {n_batches} | {rates[0]:.3g} | {rates[1]:.3g} | **{ratio:.2f}** | {same:.2%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
