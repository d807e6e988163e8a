"""Whether the code that runs is being followed, so that tensors have no values to ask for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_local = threading.local()


def is_traced() -> bool:
    """Whether a compiler or a recorder follows: a question for a tensor's value would break the graph, or end the recording."""
    return torch.compiler.is_compiling() or getattr(_local, "is_recording", False)


@contextmanager
def recording() -> Iterator[None]:
    """Within, this thread's tensors have shapes but no values."""
    _local.is_recording = True
    try:
        yield
    finally:
        _local.is_recording = False
