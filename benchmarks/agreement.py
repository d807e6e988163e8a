"""How often a run's translations change with the batch, and what weights in bf16 and int8 cost.

python benchmarks/agreement.py RUN --source FILE --reference FILE [--lines 2000] [--search greedy] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sacrebleu import corpus_bleu, corpus_chrf

from recambio.data.pairs import read_lines
from recambio.decoding.generate import length_limit
from recambio.decoding.searches.base import Hypothesis
from recambio.experiment.translator import Translator, load

BATCHES = (1, 7, 64)
TIE = 1e-5


@dataclass
class Agreement:
    """Translations of one batch size beside those one by one.

    Attributes:
        batch: Sentences translated together.
        equal: Share of sentences with the same tokens.
        differing: How many differ.
        ties: Of these, with scores within :data:`TIE`.
        largest: The largest difference of two scores where tokens differ.
    """

    batch: int
    equal: float
    differing: int
    ties: int
    largest: float


@dataclass
class Quality:
    """Translations by weights of a precision.

    Attributes:
        precision: ``decoding.precision``.
        bleu, chrf: sacreBLEU's.
        equal: Share of sentences with the same tokens as in float32.
        seconds: Wall clock, in batches of 64.
    """

    precision: str
    bleu: float
    chrf: float
    equal: float
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Translate, compare, print Markdown."""
    parser = argparse.ArgumentParser(prog="python benchmarks/agreement.py", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=2000, metavar="N", help="the first N (2000)")
    parser.add_argument("--search", default="", metavar="NAME", help="instead of the run's")
    parser.add_argument("--json", type=Path, metavar="PATH")
    options = parser.parse_args(arguments)
    source, reference = (list(read_lines(p))[: options.lines] for p in (options.source, options.reference))
    search = [f"decoding.search={options.search}"] if options.search else []
    translator = load(options.run, overrides=search)
    tokens = [
        [*ids[: translator.source_limit - 1], translator.tokenizer.eos_id]
        for ids in translator.tokenizer.encode(source, "source")
    ]
    outputs = {n: translate(translator, tokens, n)[0] for n in BATCHES}
    found = [compare(outputs[1], outputs[n], n) for n in BATCHES[1:]]
    qualities = []
    for precision in ("32", "bf16", "int8"):
        other = load(options.run, overrides=[*search, f"decoding.precision={precision}"])
        hypotheses, seconds = translate(other, tokens, BATCHES[-1])
        text = other.tokenizer.decode([h.tokens for h in hypotheses])
        bleu, chrf = corpus_bleu(text, [reference]).score, corpus_chrf(text, [reference]).score
        same = compare(outputs[BATCHES[-1]], hypotheses, BATCHES[-1]).equal
        qualities.append(Quality(precision, bleu, chrf, same, seconds))
    print(f"{options.source.name}, {len(source):,} sentences, {translator.config.values.decoding.search['name']}\n")
    print("| batch | equal to batch 1 | differing | ties within 1e-5 | largest difference in score |")
    print("| --- | --- | --- | --- | --- |")
    for a in found:
        print(f"| {a.batch} | {a.equal:.2%} | {a.differing} | {a.ties} | {a.largest:.1e} |")
    print("\n| precision | BLEU | chrF | equal to 32 | seconds |\n| --- | --- | --- | --- | --- |")
    for q in qualities:
        print(f"| {q.precision} | {q.bleu:.2f} | {q.chrf:.2f} | {q.equal:.1%} | {q.seconds:.1f} |")
    if options.json is not None:
        stored = {"batches": [asdict(a) for a in found], "precisions": [asdict(q) for q in qualities]}
        options.json.write_text(json.dumps(stored, indent=1) + "\n")
    return 0


def translate(translator: Translator, tokens: Sequence[list[int]], rows: int) -> tuple[list[Hypothesis], float]:
    """The best of each source, ``rows`` sources of like length at a time, and the seconds it took."""
    decoding = translator.config.values.decoding
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    best: list[Hypothesis] = [Hypothesis([], 0.0, 0.0, True)] * len(tokens)
    started = time.perf_counter()
    for start in range(0, len(order), rows):
        batch = [i for i in order[start : start + rows] if len(tokens[i]) > 1]
        limits = [
            length_limit(len(tokens[i]), decoding.max_ratio, decoding.max_extra, translator.target_limit) for i in batch
        ]
        if batch:
            for i, found in zip(
                batch, translator.search(translator.scorer, [tokens[i] for i in batch], limits), strict=True
            ):
                best[i] = found[0]
    return best, time.perf_counter() - started


def compare(alone: Sequence[Hypothesis], together: Sequence[Hypothesis], batch: int) -> Agreement:
    """Sentence by sentence."""
    gaps = [abs(a.score - b.score) for a, b in zip(alone, together, strict=True) if a.tokens != b.tokens]
    return Agreement(batch, 1 - len(gaps) / len(alone), len(gaps), sum(g <= TIE for g in gaps), max(gaps, default=0.0))


if __name__ == "__main__":
    sys.exit(main())
