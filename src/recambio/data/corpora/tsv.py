"""Tab-separated files: one pair a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recambio.data.corpora.base import TRAIN, Corpus, existing, files_fingerprint, resolve
from recambio.data.pairs import OnBad, Pair, read_tsv
from recambio.errors import InputError
from recambio.registry import CORPUS, Card


@CORPUS.register(
    "tsv",
    card=Card(
        claim="Files of tab-separated columns, two of which are the sides of a pair.",
        example={"train": "mine/train.tsv", "dev": "mine/dev.tsv"},
    ),
)
class TsvCorpus(Corpus):
    """Files of tab-separated columns, without quoting, plain or with ``.gz`` or ``.xz``.

    Args:
        train: Path of the training pairs, or a list of paths that are read in order.
        dev: Path of the development set; none if null.
        test: Path of the test set; none if null.
        columns: Index of the source's and of the target's column, from 0.
        root: Folder under which relative paths lie.
    """

    def __init__(
        self,
        train: str | list[str],
        dev: str | None = None,
        test: str | None = None,
        columns: list[int] | None = None,
        root: Path | None = None,
    ) -> None:
        columns = [0, 1] if columns is None else list(columns)
        if len(columns) != 2 or columns[0] == columns[1] or min(columns) < 0:
            raise InputError(f"data.corpus.columns: is {columns}; two different column indices from 0 are needed")
        paths = {TRAIN: [train] if isinstance(train, str) else list(train)}
        paths |= {split: [path] for split, path in (("dev", dev), ("test", test)) if path is not None}
        if not paths[TRAIN]:
            raise InputError("data.corpus.train: is an empty list; name at least one file")
        self.root = root
        self.columns = columns
        self.paths = paths

    def splits(self) -> tuple[str, ...]:
        return tuple(self.paths)

    def files(self, split: str) -> list[Path]:
        """The files of a split.

        Raises:
            InputError: One is missing.
        """
        self.check_split(split)
        return [existing(resolve(self.root, path), split, self.root) for path in self.paths[split]]

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        for path in self.files(split):
            yield from read_tsv(path, self.columns, strict=split != TRAIN, on_bad=on_bad)

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        return files_fingerprint("tsv", self.files(split), [self.columns, split == TRAIN], cache)
