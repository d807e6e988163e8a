"""recambio: the ``greedy`` and ``beam`` searches over its own scorer."""

from __future__ import annotations

import torch

from benchmarks.decode.worker import Decode, Job
from benchmarks.peers.ours import Ours
from benchmarks.peers.sizes import SIZES
from benchmarks.peers.weights import stir
from recambio.components.packed import WeightPrecision
from recambio.model.prepare import prepared


def load(job: Job) -> Decode:
    """The stirred model, prepared as ``decoding.precision`` says."""
    torch.set_num_threads(job.threads)
    ours = Ours(SIZES[job.size])
    stir(ours.model)
    ours.model.eval()
    precision: dict[str, WeightPrecision] = {"fp32": "32", "bf16": "bf16", "int8": "int8"}
    ours.model = prepared(ours.model, precision[job.precision])
    ours.is_recorded = True
    ours.forbid_special_tokens()
    return ours.decode
