"""What sampling of segmentations costs, and how many tokens it gives. Run

    python benchmarks/sampling.py ../shared/data/tatoeba

for a folder with train.{en,es}[.gz|.xz|.zst]; the table of docs/data.md is what it prints.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import recambio.data  # noqa: F401
from recambio.data.prepare import prepare
from recambio.data.sampled import SampledStores, Sampling
from recambio.data.store import TokenStore
from recambio.data.tokenizers import SIDES
from recambio.registry import CORPUS

STRENGTHS = {"unigram": (0.5, 0.2, 0.1), "bpe": (0.05, 0.1, 0.2)}
OPTIONS = {"unigram": "alpha", "bpe": "dropout"}


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def mean(store: TokenStore) -> str:
    """Tokens of a sentence, source and target."""
    return " and ".join(f"{store.lengths(side).mean():.2f}" for side in SIDES)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the pairs")
    parser.add_argument("--vocabulary", type=int, default=8000, help="pieces")
    arguments = parser.parse_args()
    corpus = CORPUS.create({"name": "moses", "train": str(arguments.data.resolve() / "train")}, root=arguments.data)
    row(
        "vocabulary",
        "option",
        "tokens a sentence, en and es",
        "pairs left plain",
        "an epoch's store",
        "sentences a second",
    )
    row(*["---"] * 6)
    with tempfile.TemporaryDirectory() as cache:
        for name, strengths in STRENGTHS.items():
            node = {"name": name, "vocabulary_size": arguments.vocabulary}
            sampling = Sampling(OPTIONS[name], strengths[0], seed=1, limit=128)
            data = prepare(corpus, tokenizer=node, max_length=128, sampling=sampling, splits=["train"], cache=cache)
            train, sampled = data.stores["train"], data.sampled
            assert sampled is not None
            row(f"`{name}`", "none", mean(train), "", "", "")
            for epoch, strength in enumerate(strengths, start=1):
                how = Sampling(OPTIONS[name], strength, seed=1, limit=128)
                stores = SampledStores(how, data.tokenizer, train, sampled.text, Path(cache))
                start = time.process_time()
                store = stores.store(epoch)
                seconds = time.process_time() - start
                rate = f"{2 * len(train) / seconds:,.0f}"
                row(
                    f"`{name}`",
                    f"{how.option} {strength}",
                    mean(store),
                    store.about["too_long"],
                    f"{seconds:.1f} s",
                    rate,
                )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"\n{len(train):,} pairs; processor time of one core, reading and writing included; peak of the process {peak} MiB"
    )


if __name__ == "__main__":
    main()
