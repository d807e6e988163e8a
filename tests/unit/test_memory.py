"""What counts as running out of memory, and the line that is made of it."""

from __future__ import annotations

import pytest
import torch

from recambio.data.batch import Batch
from recambio.errors import RunError
from recambio.training.memory import is_out_of_memory, reported

BATCH = Batch(
    torch.arange(4), torch.zeros(4, 7, dtype=torch.long), torch.zeros(4, 10, dtype=torch.long), None, None, 28, 36
)


def test_the_line_names_step_shape_and_remedy() -> None:
    with pytest.raises(RunError) as caught, reported("at step 3 of training", "lower data.batch_tokens", BATCH):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. \nGPU 0 has ...")
    assert str(caught.value) == (
        "out of memory at step 3 of training, in a batch of 4 rows x 7 source x 9 target positions "
        "(CUDA out of memory. Tried to allocate 2.00 GiB); lower data.batch_tokens"
    )


def test_the_allocator_of_the_cpu_is_understood() -> None:
    with pytest.raises(RunError) as caught, reported("outside a step", "choose a smaller model"):
        torch.empty(10**15, dtype=torch.float64)
    line = str(caught.value)
    assert line.startswith(
        "out of memory outside a step (can't allocate memory: you tried to allocate 8000000000000000 bytes"
    )
    assert "alloc_cpu" not in line and line.endswith("; choose a smaller model") and "\n" not in line


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("shape '[2]' is invalid for input of size 3"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_other_errors_pass_through(error: Exception, wanted: bool) -> None:
    assert is_out_of_memory(error) is wanted
    with pytest.raises(RunError if wanted else type(error)), reported("here", "there"):
        raise error
