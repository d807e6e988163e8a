"""``recambio data prepare``: what the corpus became, before any training."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from recambio import interrupts
from recambio.config import Config
from recambio.data.prepare import Prepared, prepare
from recambio.data.sampled import SampledStores, Sampling
from recambio.data.tokenizers.base import SIDES, Tokenizer
from recambio.experiment.build import build_corpus
from recambio.experiment.overlap import build_overlap, overlap_lines


def prepared(
    config: Config, splits: Sequence[str] | None = None, tokenizer: Tokenizer | None = None, *, is_quiet: bool = False
) -> Prepared:
    """The config's corpus as token stores, from the cache where it holds them; progress goes to standard error.

    Args:
        config: Names the corpus, the cleaning and the tokenizer.
        splits: Which; by default all that the corpus has.
        tokenizer: A run's, instead of one trained on this corpus.
        is_quiet: Print no progress.
    """
    console = Console(stderr=True)
    last: list[str] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        if is_quiet:
            return
        of = f"/{total:,}" if total else ""
        if console.is_terminal:
            sys.stderr.write(f"\r\x1b[K{stage} {done:,}{of}")
            sys.stderr.flush()
        elif not last or last[-1] != stage:
            console.print(f"{stage} ...", highlight=False)
        last.append(stage)
        del last[:-1]

    values, sampling = config.values.data, sampling_of(config)
    corpus = build_corpus(config)
    with interrupts.advising(lambda: "what was prepared is kept in the cache; the same command goes on from there"):
        found = prepare(
            corpus,
            cleaning=values.cleaning,
            tokenizer=tokenizer or values.tokenizer,
            max_length=values.max_length,
            sampling=sampling,
            overlap=build_overlap(config, corpus),
            splits=splits,
            progress=progress,
        )
    if last and console.is_terminal:
        sys.stderr.write("\r\x1b[K")
    return found


def sampling_of(config: Config) -> Sampling | None:
    """How the config samples segmentations of the training pairs; None if it doesn't."""
    values = config.values
    for option, strength in asdict(values.data.regularization).items():
        if strength:
            limit = min(values.data.max_length, values.data.batch_tokens)
            return Sampling(option, float(strength), values.seed, limit)
    return None


def run(config: Config) -> None:
    """Prepare the config's corpus and print what became of it."""
    result = prepared(config)
    console = Console(soft_wrap=True, highlight=False)
    for split, store in result.stores.items():
        report = result.reports[split]
        source, target = map(store.n_tokens, SIDES)
        console.print(f"{split}: {len(store):,} pairs, {source:,} source and {target:,} target tokens")
        if split == "train" and result.sampled is not None:
            _print_sampled(console, result.sampled)
        if split == "train" or report.dropped:
            console.print(str(report))
        for part in result.parts if split == "train" else ():
            text = f"  {part.name}: {part.weight:g} times an epoch, {part.per_epoch:,} pairs"
            console.print(text, markup=False)
        _print_samples(console, report.samples, report.dropped)
        if report.overlap is not None:
            for line in overlap_lines(report.overlap):
                console.print(line, markup=False)
            _print_samples(console, report.overlap["samples"], {})
        elif split == "train":
            console.print("evaluation sets: not looked for in the training pairs; see data.overlap")
    vocabulary = result.tokenizer
    console.print(
        f"vocabulary: {vocabulary.source_vocabulary_size:,} source, {vocabulary.target_vocabulary_size:,} target"
    )


def _print_sampled(console: Console, sampled: SampledStores) -> None:
    store, how = sampled.store(0), sampled.sampling
    source, target = map(store.n_tokens, SIDES)
    text = f"  segmentations sampled with {how.option} {how.strength:g}: {source:,} source and {target:,} target tokens"
    console.print(f"{text} in the first epoch; {store.about['too_long']:,} pairs too long for it", markup=False)


def _print_samples(console: Console, samples: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> None:
    """Samples by reason, in the order of the corpus."""
    for reason in dict.fromkeys(s["reason"] for s in samples):
        chosen = sorted((s for s in samples if s["reason"] == reason), key=lambda s: (s["file"], s["line"]))
        total = counts.get(reason, 0)
        of = f", {len(chosen)} of {total:,} at random" if total > len(chosen) else ""
        console.print(f"  {reason}{of}:", markup=False)
        for sample in chosen:
            text = f": {sample['source']} | {sample['target']}" if sample["source"] or sample["target"] else ""
            place = f"{sample['file']}:{sample['line']}" if sample["file"] else f"pair {sample['line']}"
            console.print(f"    {place}{text}", markup=False)
