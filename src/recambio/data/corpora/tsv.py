"""Tab-separated files: one pair a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recambio.data.corpora.files import FileCorpus
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
class TsvCorpus(FileCorpus):
    """Files of tab-separated columns, without quoting, plain or with ``.gz``, ``.xz`` or ``.zst``.

    Args:
        train: Path of the training pairs, or a list of paths that are read in order.
        dev: The same for the development set; none if null.
        test: The same for the test set; none if null.
        columns: Index of the source's and of the target's column, from 0.
        root: Folder under which relative paths lie.
    """

    format = "tsv"

    def __init__(
        self,
        train: str | list[str],
        dev: str | list[str] | None = None,
        test: str | list[str] | None = None,
        columns: list[int] | None = None,
        root: Path | None = None,
    ) -> None:
        columns = [0, 1] if columns is None else list(columns)
        if len(columns) != 2 or columns[0] == columns[1] or min(columns) < 0:
            raise InputError(f"data.corpus.columns: is {columns}; two different column indices from 0 are needed")
        super().__init__(train, dev, test, root, [columns])
        self.columns = columns

    def read_file(self, path: Path, *, strict: bool, on_bad: OnBad | None = None) -> Iterator[Pair]:
        return read_tsv(path, self.columns, strict=strict, on_bad=on_bad)
