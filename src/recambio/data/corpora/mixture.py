"""Several corpora as one, each as often as it is told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from recambio.data.cache import stable_hash
from recambio.data.corpora.base import TRAIN, Corpus
from recambio.data.pairs import OnBad, Pair
from recambio.errors import InputError
from recambio.registry import CORPUS, Card

_MOST = 1_000.0


@CORPUS.register(
    "mixture",
    card=Card(
        claim="Several corpora as one; in an epoch the pairs of each come as often as its weight or the temperature says.",
        formula="weights: part i comes w_i times; temperature T: w_i = (max_j n_j / n_i)^(1 - 1/T), n_i its training pairs",
        paper="Arivazhagan et al. 2019, 'Massively Multilingual Neural Machine Translation in the Wild', "
        "https://arxiv.org/abs/1907.05019, section 4.2 (temperature)",
        departures="The paper samples with replacement, part i in proportion to n_i^(1/T). Here a part comes w_i times whole, "
        "in the same proportion, and of a fraction no pair twice; the largest part comes exactly once.",
        example={
            "parts": [
                {"name": "moses", "train": "tatoeba/train", "dev": "tatoeba/dev", "test": "tatoeba/test"},
                {"name": "huggingface", "path": "Helsinki-NLP/opus-100", "config": "en-es"},
            ],
            "weights": [2, 0.5],
        },
    ),
)
class MixtureCorpus(Corpus):
    """Several corpora as one.

    Weights are numbers of times: with 2 each training pair of a part comes twice an epoch, with 0.5 a random half of them once,
    another half in the next epoch. With a temperature T they follow from the sizes: a part of n pairs comes in proportion to
    n^(1/T), the largest exactly once. T = 1 leaves every part as it is, a high T makes all equally large.

    Cleaning, the vocabulary and the token store know no weights: they meet every pair once.

    Args:
        parts: The corpora, in order. Of a pair that two have, the ``duplicates`` step keeps the first.
        weights: How many times the training pairs of each come in an epoch; without it and ``temperature``, once.
        temperature: T, at least 1.
        labels: What reports call the parts; by default the names of their kinds.
        dev: Label of the part whose development set is used; by default the first that has one.
        test: Label of the part whose test set is used; by default the first that has one.
    """

    def __init__(
        self,
        parts: list[Corpus],
        weights: list[float] | None = None,
        temperature: float | None = None,
        labels: list[str] | None = None,
        dev: str | None = None,
        test: str | None = None,
    ) -> None:
        labels = _default_labels(parts) if labels is None else list(labels)
        problems = [*_part_problems(parts, labels), *_weight_problems(parts, weights, temperature)]
        if problems:
            raise InputError(problems)
        self.parts = list(parts)
        self.labels = labels
        self.given_weights = None if weights is None else [float(weight) for weight in weights]
        self.temperature = temperature
        self._scored = {split: self._part_with(split, label) for split, label in (("dev", dev), ("test", test))}

    def splits(self) -> tuple[str, ...]:
        return (TRAIN, *(split for split, index in self._scored.items() if index is not None))

    def code(self) -> tuple[type, ...]:
        return (type(self), *(cls for part in self.parts for cls in part.code()))

    def sections(self, on_bad: OnBad | None = None) -> Iterator[tuple[str, Iterator[Pair]]]:
        for index, label in enumerate(self.labels):
            yield label, self._read(index, TRAIN, on_bad)

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        self.check_split(split)
        for index in self._indices(split):
            yield from self._read(index, split, on_bad)

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        self.check_split(split)
        prints: list[str] = []
        problems: list[str] = []
        for index in self._indices(split):
            try:
                with _of_part(index):
                    prints.append(self.parts[index].fingerprint(split, cache))
            except InputError as error:
                problems += error.problems
        if problems:
            raise InputError(problems)
        return stable_hash(["mixture", prints, self.labels if split == TRAIN else []])

    def weights(self, pairs: Sequence[int]) -> list[float]:
        if self.given_weights is not None:
            return self.given_weights
        temperature = 1.0 if self.temperature is None else self.temperature
        return [(max(pairs) / count) ** (1 - 1 / temperature) for count in pairs]

    def _indices(self, split: str) -> list[int]:
        """The parts that a split comes from."""
        chosen = self._scored.get(split)
        return list(range(len(self.parts))) if chosen is None else [chosen]

    def _read(self, index: int, split: str, on_bad: OnBad | None) -> Iterator[Pair]:
        with _of_part(index):
            yield from self.parts[index].read(split, on_bad)

    def _part_with(self, split: str, label: str | None) -> int | None:
        having = [index for index, part in enumerate(self.parts) if split in part.splits()]
        if label is None:
            return having[0] if having else None
        chosen = [index for index in having if self.labels[index] == label]
        if not chosen:
            known = ", ".join(self.labels[index] for index in having) or "none"
            raise InputError(f"data.corpus.{split}: no part {label!r} with a {split} set; those with one: {known}")
        return chosen[0]


@contextmanager
def _of_part(index: int) -> Iterator[None]:
    """Say of a part's problems which part they are of."""
    try:
        yield
    except InputError as error:
        raise InputError(
            problem.replace("data.corpus", f"data.corpus.parts[{index}]", 1)
            if problem.startswith("data.corpus")
            else problem
            for problem in error.problems
        ) from error


def _default_labels(parts: Sequence[Corpus]) -> list[str]:
    """The names that parts are registered under, numbered where they repeat."""
    names = {entry.cls: name for name, entry in CORPUS.entries.items()}
    labels: list[str] = []
    for part in parts:
        name = names.get(type(part), type(part).__name__)
        before = sum(names.get(type(other), type(other).__name__) == name for other in parts[: len(labels)])
        labels.append(f"{name}-{before + 1}" if before else name)
    return labels


def _part_problems(parts: Sequence[Corpus], labels: Sequence[str]) -> Iterator[str]:
    if not parts:
        yield "data.corpus.parts: is empty; name at least one corpus"
    for index, part in enumerate(parts):
        if isinstance(part, MixtureCorpus):
            yield f"data.corpus.parts[{index}]: is a mixture within a mixture; list its parts here"
        elif TRAIN not in part.splits():
            yield f"data.corpus.parts[{index}]: has no training pairs; name them, or leave the part out"
    if len(labels) != len(parts):
        yield f"data.corpus.labels: has {len(labels)} names for {len(parts)} parts; one each is needed"
    if not all(labels) or len(set(labels)) != len(labels):
        yield f"data.corpus.labels: are {', '.join(map(repr, labels))}; each part needs a name of its own"


def _weight_problems(
    parts: Sequence[Corpus], weights: Sequence[float] | None, temperature: float | None
) -> Iterator[str]:
    if weights is not None and temperature is not None:
        yield "data.corpus.weights: is given, and so is temperature; one of them decides, leave the other out"
    if weights is not None and len(weights) != len(parts):
        yield f"data.corpus.weights: has {len(weights)} numbers for {len(parts)} parts; one each is needed"
    for index, weight in enumerate(weights or ()):
        if not 0 < weight <= _MOST:  # false for NaN too
            yield f"data.corpus.weights[{index}]: is {weight}; more than 0 and at most {_MOST:g} times are possible"
    if temperature is not None and not (1 <= temperature < math.inf):
        yield f"data.corpus.temperature: is {temperature}; 1 (parts as they are) or more (more alike) is needed"
