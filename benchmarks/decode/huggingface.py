"""Hugging Face: ``generate`` of a `MarianMTModel`, its weights of the same precision."""

from __future__ import annotations

import torch

from benchmarks.decode.worker import Decode, Job
from benchmarks.peers.marian import Marian
from benchmarks.peers.ours import Ours
from benchmarks.peers.sizes import SIZES
from benchmarks.peers.weights import copy_to_marian, stir


def load(job: Job) -> Decode:
    """The same weights."""
    torch.set_num_threads(job.threads)
    size = SIZES[job.size]
    ours, marian = Ours(size), Marian(size)
    stir(ours.model)
    copy_to_marian(ours, marian)
    marian.model.eval()
    if job.precision == "bf16":
        marian.model.to(torch.bfloat16)
    marian.forbid_special_tokens()
    return marian.decode
