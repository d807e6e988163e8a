"""Memory that runs out: which batch it was, and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from recambio.data.batch import Batch
from recambio.errors import RunError

# The allocators of CUDA raise a class of their own, that of CPU and of Metal a RuntimeError with a text.
_TEXTS = ("can't allocate memory", "out of memory")


@contextmanager
def reported(where: str, remedy: str, batch: Batch | None = None) -> Iterator[None]:
    """Within, running out of memory is one line.

    Args:
        where: What is being done, as ``at step 3 of training``.
        remedy: What to change.
        batch: Whose passes these are, if they are a batch's.

    Raises:
        RunError: Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        shape = "" if batch is None else f", in a batch of {shape_of(batch)}"
        raise RunError(f"out of memory {where}{shape} ({_gist(error)}); {remedy}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator raised this."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TEXTS)


def shape_of(batch: Batch) -> str:
    """Rows and positions of a batch, padding included."""
    rows, source = batch.source.shape
    return f"{rows} rows x {source} source x {batch.target.shape[1] - 1} target positions"


def _gist(error: BaseException) -> str:
    """The allocator's first sentences, without where in torch's source it stands."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    _, found, rest = line.partition("DefaultCPUAllocator: ")
    return (rest if found else line).rstrip(". ")
