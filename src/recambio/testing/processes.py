"""The check that a part trains alike on one process and on two.

Two processes take minutes to start for every part by itself, so one session tries any number of parts; where one fails, a new
session goes on behind it.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor, nn

import recambio
from recambio import registry
from recambio.registry import Node
from recambio.testing.kit import IN_STACK, applies_to, drops_at_random, name_of, same
from recambio.testing.rig import D_MODEL, Rig, build

Case = tuple[str, Node, str]
"""(kind, node, site)."""

_START = "import sys; from recambio.testing.processes import work; work(sys.argv[1], int(sys.argv[2]))"
_TIMEOUT = 30.0
_LENGTHS, _MEMORY_LENGTHS = (6, 3, 5, 2), (4, 2, 3, 5)


@applies_to(*IN_STACK)
def ddp(kind: str, node: Node, site: str) -> None:
    """Two processes with half a batch each end with the gradients of one with all of it, and no parameter is unused."""
    (problem,) = together([(kind, node, site)])
    assert problem is None, problem


def together(cases: Sequence[Case]) -> Iterator[str | None]:
    """Try parts in two processes that share gradients by gloo. Yields: for each case its problem, or None."""
    done = 0
    while done < len(cases):
        for problem in _session(cases[done:]):
            yield problem
            done += 1


def _session(cases: Sequence[Case]) -> Iterator[str | None]:
    """Results up to the first failure, which leaves the processes in no state to go on."""
    outside = {registry.REGISTRIES[kind].get(name_of(node)).source_file for kind, node, _ in cases}
    package = Path(recambio.__file__).parent
    plugins = sorted(file for file in outside if not Path(file).resolve().is_relative_to(package))
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"cases": list(cases), "plugins": plugins}), encoding="utf-8")
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", _START, str(job), str(rank)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
                },
            )
            for rank in range(2)
        ]
        try:
            for _ in cases:
                lines = [rank.stdout.readline() if rank.stdout else "" for rank in ranks]
                problems = [
                    json.loads(line) if line else _last_words(rank) for line, rank in zip(lines, ranks, strict=True)
                ]
                # The rank that waited in vain knows less than the one that it waited for.
                found = min(
                    (p for p in problems if p), key=lambda p: "Timeout" in p or "closed by peer" in p, default=None
                )
                yield found
                if found:
                    return
        finally:
            for rank in ranks:
                rank.kill()
                rank.communicate()


def _last_words(rank: subprocess.Popen[str]) -> str:
    error = rank.stderr.read().strip() if rank.stderr else ""
    return f"a process died: {error.splitlines()[-1] if error else 'without a word'}"


def work(job: str, rank: int) -> None:
    """One of the two processes: prints a line of JSON a case, and ends with the first problem."""
    from recambio.plugins import load_plugins

    torch.set_num_threads(1)
    content = json.loads(Path(job).read_text(encoding="utf-8"))
    registry.load_builtins()
    load_plugins(content["plugins"])
    torch.distributed.init_process_group(
        "gloo", f"file://{Path(job).parent}/store", rank=rank, world_size=2, timeout=timedelta(seconds=_TIMEOUT)
    )
    for kind, node, site in content["cases"]:
        problem = None
        try:
            if name_of(node) not in {*registry.REGISTRIES[kind].entries, *registry.REGISTRIES[kind].presets}:
                raise AssertionError("another process doesn't find it: register it where its file is imported")
            _compare(kind, node, site, rank)
        except Exception as error:
            text = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            problem = " ".join(text.split())[:400]
        print(json.dumps(problem), flush=True)
        if problem:
            break


def _compare(kind: str, node: Node, site: str, rank: int) -> None:
    torch.default_generator.manual_seed(0)
    rig = build(kind, node, site).train(not drops_at_random(kind, node))
    alone = copy.deepcopy(rig)
    parallel = nn.parallel.DistributedDataParallel(rig)
    for _ in range(2):  # what the first pass left unused, DDP reports in the second
        x, weights = torch.randn(2, 4, max(_LENGTHS), D_MODEL, dtype=rig.dtype)
        memory = torch.randn(4, max(_MEMORY_LENGTHS), D_MODEL, dtype=rig.dtype)
        for module, rows in ((parallel, range(2 * rank, 2 * rank + 2)), (alone, range(4))):
            module.zero_grad()
            _loss(module, rig, x, memory, weights, list(rows)).backward()  # type: ignore[no-untyped-call]
    for (name, ours), reference in zip(rig.named_parameters(), alone.parameters(), strict=True):
        assert ours.grad is not None and reference.grad is not None, f"parameter {name!r} gets no gradient"
        # DDP takes the mean over processes; each loss is a sum.
        same(2 * ours.grad, reference.grad, f"gradient of {name!r} on two processes against one")


def _loss(module: nn.Module, rig: Rig, x: Tensor, memory: Tensor, weights: Tensor, rows: list[int]) -> Tensor:
    """The sum over the real tokens of some rows, cut to the longest of them."""
    lengths, memory_lengths = (torch.tensor(n)[rows] for n in (_LENGTHS, _MEMORY_LENGTHS))
    longest, widest = int(lengths.max()), int(memory_lengths.max())
    tokens = torch.arange(longest) < lengths[:, None]
    around = (memory[rows, :widest], torch.arange(widest) < memory_lengths[:, None]) if rig.is_decoder else ()
    y = module(x[rows, :longest], tokens, *around)
    loss: Tensor = (y * weights[rows, :longest])[tokens].sum()
    return loss
