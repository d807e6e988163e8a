"""The embedded corpus: pairs of the package's own grammar, of any size, without a download."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from recambio.data.cache import source_hash, stable_hash
from recambio.data.corpora.base import TRAIN, Corpus
from recambio.data.pairs import OnBad, Pair
from recambio.errors import InputError
from recambio.registry import CORPUS, Card

_GRAMMAR = "recambio.data.grammar"


@CORPUS.register(
    "embedded",
    card=Card(
        claim="Synthetic English-Spanish pairs of a synchronous grammar, each tagged with its phenomena: "
        "offline, deterministic, of any size, and a diagnosis of what a model has learnt.",
    ),
)
class EmbeddedCorpus(Corpus):
    """Pairs of a synchronous grammar of English and Spanish.

    Beside ``train``, ``dev`` and ``test`` it has ``recombination`` (known words in combinations that training never
    shows) and ``length`` (longer than any training sentence), both of the test set's size. Tags are the phenomena.

    Args:
        train_size: Training pairs.
        dev_size: Development pairs.
        test_size: Pairs of each test set.
        seed: What the grammar draws from; the same seed gives the same pairs everywhere.
    """

    def __init__(self, train_size: int = 20_000, dev_size: int = 500, test_size: int = 1_000, seed: int = 1) -> None:
        sizes = {"train_size": train_size, "dev_size": dev_size, "test_size": test_size}
        problems = [f"data.corpus.{k}: is {v}; at least 1 is needed" for k, v in sizes.items() if v < 1]
        if problems:
            raise InputError(problems)
        self.sizes = {TRAIN: train_size, "dev": dev_size}
        self.sizes |= dict.fromkeys(("test", "recombination", "length"), test_size)
        self.seed = seed

    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        self.check_split(split)
        # Imported here: the grammar takes a moment to build, and no other corpus needs it.
        grammar = importlib.import_module(_GRAMMAR)
        for number, pair in enumerate(grammar.generate(split, self.sizes[split], self.seed), start=1):
            yield Pair(pair.source, pair.target, tuple(pair.phenomena), number)

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        self.check_split(split)
        (folder,) = map(Path, importlib.import_module(_GRAMMAR).__path__)
        # The pairs follow from the grammar's own files, so an edit of any of them makes another corpus.
        code = source_hash(*(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts))
        return stable_hash(["embedded", code, split, self.sizes[split], self.seed])
