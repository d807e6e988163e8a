"""What is measured: model sizes, rows of the tables, token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from recambio.data.batch import Batch

PAD, SOS, EOS = 0, 1, 2
N_SPECIAL = 3

Task = Literal["train", "greedy", "beam"]
Precision = Literal["fp32", "bf16"]
TASKS: tuple[Task, ...] = ("train", "greedy", "beam")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")

BEAM_WIDTH = 4
SMOOTHING = 0.1
DROPOUT = 0.1


@dataclass(frozen=True)
class Size:
    """Dimensions of a model, and of the work it is given.

    Attributes:
        n_layers: Of the encoder, and of the decoder.
        training_batch: Sentence pairs of a training step.
        decoding_batches: Sentences that are decoded together, one row of the table each.
        longest: Tokens that a training batch is padded to, and tokens of each decoded sentence.
        shortest: Tokens of the shortest sentence, EOS included.
    """

    name: str
    d_model: int
    d_ff: int
    n_heads: int
    n_layers: int
    vocabulary: int
    training_batch: int
    decoding_batches: tuple[int, ...]
    longest: int
    shortest: int


SIZES = {
    size.name: size
    for size in (
        Size("tiny", 32, 64, 4, 2, 120, 6, (1, 3), 8, 4),
        Size("small", 256, 1024, 4, 3, 8_000, 128, (1, 32, 64), 32, 18),
        Size("base", 512, 2048, 8, 6, 16_000, 64, (1, 32, 64), 32, 18),
    )
}


@dataclass(frozen=True)
class Row:
    """One row of the tables: a task at a precision and a batch size."""

    task: Task
    precision: Precision
    batch: int

    @property
    def name(self) -> str:
        """As the tables write it, and as ``--only`` finds it."""
        task = f"beam {BEAM_WIDTH}" if self.task == "beam" else self.task
        return f"{task}, batch {self.batch}, {self.precision}"


def rows_of(size: Size, kind: str) -> list[Row]:
    """The rows of ``train``, ``decode`` or ``all``."""
    rows: list[Row] = []
    if kind in ("train", "all"):
        rows += [Row("train", precision, size.training_batch) for precision in PRECISIONS]
    if kind in ("decode", "all"):
        rows += [
            Row(task, precision, batch)
            for precision in PRECISIONS
            for batch in size.decoding_batches
            for task in TASKS
            if task != "train"
        ]
    return rows


def row_named(name: str, size: Size) -> Row:
    """The row whose name this is.

    Raises:
        KeyError: There is none.
    """
    return {row.name: row for row in rows_of(size, "all")}[name]


def sentences(size: Size, count: int, seed: int) -> list[list[int]]:
    """Random token ids of random length, each ending with EOS; the first sentence is of the longest length."""
    stream = torch.Generator().manual_seed(seed)
    lengths = torch.randint(size.shortest, size.longest + 1, (count,), generator=stream).tolist()
    if count > 1:
        lengths[0] = size.longest
    return [[*torch.randint(N_SPECIAL, size.vocabulary, (n - 1,), generator=stream).tolist(), EOS] for n in lengths]


def training_batch(size: Size, seed: int = 0) -> Batch:
    """Sentence pairs, both sides padded to the longest length; targets start with SOS."""
    count = size.training_batch
    return batch_of(sentences(size, count, 2 * seed + 1), sentences(size, count, 2 * seed + 2))


def batch_of(sources: list[list[int]], targets: list[list[int]]) -> Batch:
    """Sentence pairs that end with EOS as a batch, as `recambio.data.batch.collate` makes it; targets get their SOS."""
    source, target = padded(sources), padded([[SOS, *row] for row in targets])
    source_mask, is_target = source != PAD, (target[:, 1:] != PAD).reshape(-1)
    return Batch(
        ids=torch.arange(len(sources)),
        source=source,
        target=target,
        source_mask=None if bool(source_mask.all()) else source_mask,
        target_positions=None if bool(is_target.all()) else is_target.nonzero()[:, 0],
        source_tokens=int(source_mask.sum()),
        target_tokens=int(is_target.sum()),
    )


def padded(rows: list[list[int]]) -> torch.Tensor:
    """Rows as one (B, longest) tensor, PAD on the right."""
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
