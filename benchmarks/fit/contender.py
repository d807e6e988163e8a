"""One contender's process: ``python -m benchmarks.fit.contender JOB DESCRIPTOR``.

Each toolkit is alone in it: global settings and patches reach nobody else.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from benchmarks.fit.clock import Clock
from benchmarks.fit.work import TURNS, Job

OURS = "recambio"
TITLES = {
    OURS: "recambio train",
    "trainer": "HF Seq2SeqTrainer",
    "trainer-grouped": "HF Seq2SeqTrainer, grouped by length",
    "joeynmt": "JoeyNMT train",
}
_MODULES = {
    OURS: "benchmarks.fit.ours",
    "trainer": "benchmarks.fit.huggingface",
    "trainer-grouped": "benchmarks.fit.huggingface",
    "joeynmt": "benchmarks.fit.joey",
}


def available() -> list[str]:
    """The contenders whose toolkit is installed."""
    needs = {"trainer": "accelerate", "trainer-grouped": "accelerate", "joeynmt": "joeynmt"}
    return [name for name in TITLES if name not in needs or importlib.util.find_spec(needs[name]) is not None]


def main(arguments: list[str]) -> None:
    """Train until the orders end."""
    import torch

    job = Job.load(arguments[0])
    torch.set_num_threads(job.threads)
    clock = Clock(TURNS[job.size].warmup, os.fdopen(os.dup(0)), os.fdopen(int(arguments[1]), "w"))
    importlib.import_module(_MODULES[job.contender]).train(job, clock)


if __name__ == "__main__":
    main(sys.argv[1:])
