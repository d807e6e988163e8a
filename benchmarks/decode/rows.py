"""What is measured, and who takes part."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

from benchmarks.peers.sizes import BEAM_WIDTH, Size

Task = Literal["greedy", "beam"]
Kind = Literal["ours", "torch", "engine"]

LARGEST_WITHOUT_CACHE = 32
"""Beyond this batch nobody waits for a toolkit that decodes without a cache."""


@dataclass(frozen=True)
class Contender:
    """A toolkit at a precision.

    Attributes:
        name: As the command line and the JSON write it.
        title: As the tables write it.
        module: Where its ``load`` is.
        precision: What it computes in.
        kind: Ours, another package on torch, or an engine that is none.
        package: What must be installed.
        has_cache: Whether it keeps keys and values between steps.
    """

    name: str
    title: str
    module: str
    precision: str
    kind: Kind
    package: str = "torch"
    has_cache: bool = True

    @property
    def is_installed(self) -> bool:
        """Whether it can take part."""
        return importlib.util.find_spec(self.package) is not None


CONTENDERS = {
    c.name: c
    for c in (
        Contender("recambio-fp32", "recambio fp32", "benchmarks.decode.ours", "fp32", "ours"),
        Contender("recambio-bf16", "recambio bf16", "benchmarks.decode.ours", "bf16", "ours"),
        Contender("recambio-int8", "recambio int8", "benchmarks.decode.ours", "int8", "ours"),
        Contender("marian-fp32", "HF fp32", "benchmarks.decode.huggingface", "fp32", "torch", "transformers"),
        Contender("marian-bf16", "HF bf16", "benchmarks.decode.huggingface", "bf16", "torch", "transformers"),
        Contender("joeynmt-fp32", "JoeyNMT", "benchmarks.decode.joey", "fp32", "torch", "joeynmt", has_cache=False),
        Contender(
            "ctranslate2-fp32", "CTranslate2 fp32", "benchmarks.decode.engine", "float32", "engine", "ctranslate2"
        ),
        Contender("ctranslate2-int8", "CTranslate2 int8", "benchmarks.decode.engine", "int8", "engine", "ctranslate2"),
    )
}
REFERENCE = "recambio-fp32"
"""Whose tokens the others' are compared with."""


@dataclass(frozen=True)
class Row:
    """One row of the tables."""

    task: Task
    batch: int

    @property
    def name(self) -> str:
        """As the tables write it, and as ``--only`` finds it."""
        return f"{f'beam {BEAM_WIDTH}' if self.task == 'beam' else self.task}, batch {self.batch}"


def rows_of(size: Size) -> list[Row]:
    """All rows."""
    tasks: tuple[Task, ...] = ("greedy", "beam")
    return [Row(task, batch) for batch in size.decoding_batches for task in tasks]


def takes_part(contender: Contender, row: Row, size: Size) -> bool:
    """Whether anybody waits for it."""
    if not contender.is_installed:
        return False
    if contender.has_cache:
        return True
    return row.batch <= LARGEST_WITHOUT_CACHE and (row.batch == 1 or row.task == "greedy" or size.d_model < 512)
