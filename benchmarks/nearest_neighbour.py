"""A translator that only remembers: the translation of the most similar training sentence.

What it scores on the embedded corpus is what copying alone is worth there; a model has to be well above. Run

    python benchmarks/nearest_neighbour.py --train 100000 --test 1000 --seed 1
"""

from __future__ import annotations

import argparse
import itertools
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from recambio.data.grammar import SPLITS, generate

_WORD = re.compile(r"[\w'-]+|[^\w\s]")


def words(sentence: str) -> list[str]:
    """Words and marks of a sentence, in lower case."""
    return _WORD.findall(sentence.lower())


def n_grams(tokens: Sequence[str], longest: int) -> set[tuple[str, ...]]:
    """All runs of one to `longest` tokens."""
    return {tuple(tokens[i : i + n]) for n in range(1, longest + 1) for i in range(len(tokens) - n + 1)}


def edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Levenshtein distance in tokens."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right)),
            )
    return row[-1]


class NearestNeighbour:
    """The translations of the most similar sources.

    Similarity is the F1 score of shared n-grams; ties go to the smaller edit distance, then to the earlier sentence.

    Args:
        pairs: Source and target sentences to remember.
        longest: The longest n-gram.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], longest: int = 3) -> None:
        self.longest = longest
        self.targets: list[str] = []
        self.tokens: list[list[str]] = []
        postings: dict[tuple[str, ...], list[int]] = defaultdict(list)
        sizes: list[int] = []
        for index, (source, target) in enumerate(pairs):
            tokens = words(source)
            grams = n_grams(tokens, longest)
            for gram in grams:
                postings[gram].append(index)
            sizes.append(len(grams))
            self.tokens.append(tokens)
            self.targets.append(target)
        self.sizes = np.array(sizes)
        self.postings = {gram: np.array(rows) for gram, rows in postings.items()}

    def __call__(self, source: str, n_ties: int = 200) -> str:
        """The target of the nearest source; at most `n_ties` equally similar ones are compared by edit distance."""
        tokens = words(source)
        grams = n_grams(tokens, self.longest)
        known = [self.postings[gram] for gram in grams if gram in self.postings]
        if not known:
            return self.targets[0]
        shared = np.bincount(np.concatenate(known), minlength=len(self.sizes))
        score = 2 * shared / (self.sizes + len(grams))
        ties = np.flatnonzero(score == score.max())[:n_ties]
        best = min(ties, key=lambda row: (edit_distance(tokens, self.tokens[row]), row))
        return self.targets[int(best)]


def score(train: int, test: int, seed: int, split: str = "test", longest: int = 3) -> tuple[float, str]:
    """BLEU of the baseline on one part of the corpus, and sacreBLEU's signature."""
    from sacrebleu.metrics.bleu import BLEU

    neighbour = NearestNeighbour(((pair.source, pair.target) for pair in generate("train", train, seed)), longest)
    pairs = list(generate(split, test, seed))
    metric = BLEU()
    result = metric.corpus_score([neighbour(pair.source) for pair in pairs], [[pair.target for pair in pairs]])
    return result.score, str(metric.get_signature())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=60_000, help="training pairs to remember")
    parser.add_argument("--test", type=int, default=1_000, help="pairs of each part to translate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=int, default=3, help="longest n-gram of the similarity")
    options = parser.parse_args(arguments)
    for split in itertools.filterfalse("train".__eq__, SPLITS):
        started = time.perf_counter()
        bleu, signature = score(options.train, options.test, options.seed, split, options.longest)
        seconds = time.perf_counter() - started
        print(f"{split:14} BLEU {bleu:5.2f}  {signature}  ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
