"""Training steps of Transformer-base on one GPU: target tokens a second and MFU, eager and compiled.

python -m benchmarks.gpu [--tokens 25000] [--peak TFLOPS] [--repeats N] [--json PATH] [--quick] [--no-compile]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from benchmarks.peers import flops
from benchmarks.peers.ours import Ours
from benchmarks.peers.report import environment, number, ratio, table
from benchmarks.peers.sizes import SIZES, Size, training_batch
from benchmarks.peers.timing import Spread, alternate, ratios, spread
from recambio.data.batch import Batch
from recambio.training.compilation import compile_layers

POSITIONS = ("sinusoidal", "alibi", "t5")
STEPS = 5
"""Steps of a turn: the device is waited for once a turn."""


@dataclass(frozen=True)
class Measured:
    """One row.

    Attributes:
        name: Positions, and how the layers run.
        tokens: Real target tokens of a step.
        work: Useful matrix-product operations of a step.
        seconds: Of a step, one number a round.
    """

    name: str
    tokens: int
    work: int
    seconds: list[float]

    def rate(self) -> Spread:
        """Real target tokens a second."""
        return spread([self.tokens / s for s in self.seconds])

    def mfu(self, peak: float) -> float:
        """Share of a peak, in operations a second."""
        return flops.mfu(self.work, spread(self.seconds).median, peak)


def batch_of(size: Size, tokens: int) -> tuple[Size, Batch]:
    """One device batch with about so many real target tokens. Returns: the size with that many sentences, and the batch."""
    mean = (size.shortest + size.longest) / 2
    full = replace(size, training_batch=max(1, round(tokens / mean)))
    return full, training_batch(full)


def steps_of(size: Size, batch: Batch, positions: str, is_compiled: bool, count: int) -> Callable[[], object]:
    """Make a model ready. Returns: ``count`` training steps in bf16, and a wait for the device."""
    device = batch.source.device
    contender = Ours(size, positions=positions)
    contender.model.to(device).train()
    if is_compiled:
        compile_layers(contender.model)

    def run() -> None:
        for _ in range(count):
            contender.train_step(batch, "bf16")
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def product_rate(device: torch.device, side: int, repeats: int = 10) -> tuple[Callable[[], object], int]:
    """A plain bf16 product, ``repeats`` times. Returns: what to time, and its operations."""
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))

    def run() -> None:
        for _ in range(repeats):
            torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run, 2 * side**3 * repeats


def measure(
    size: Size, tokens: int, device: torch.device, modes: Sequence[bool], n_rounds: int, steps: int
) -> tuple[list[Measured], float]:
    """Time all rows turn by turn. Returns: the rows, and the rate of a plain product in the same rounds."""
    full, batch = batch_of(size, tokens)
    batch = batch.to(device)
    runs: dict[str, Callable[[], object]] = {
        f"{positions}, {'compiled' if is_compiled else 'eager'}": steps_of(full, batch, positions, is_compiled, steps)
        for positions in POSITIONS
        for is_compiled in modes
    }
    product, operations = product_rate(device, 8192 if device.type == "cuda" else 256)
    seconds, _ = alternate({**runs, "product": product}, n_rounds, n_discarded=2)
    work = flops.training_step(full, batch.target_tokens)
    rows = [Measured(name, batch.target_tokens, work, [s / steps for s in seconds[name]]) for name in runs]
    return rows, operations / spread(seconds["product"]).median


def as_markdown(rows: Sequence[Measured], size: Size, product: float, peak: float | None) -> str:
    """A table, with ratios to the first row."""
    head = ["row", "target tokens/s", f"share of a plain product's {product / 1e12:.3g} TFLOP/s"]
    head += [f"MFU, of {peak / 1e12:.3g} TFLOP/s"] if peak else []
    lines = [
        f"{size.name}: {size.n_layers}+{size.n_layers} layers, d_model {size.d_model}, vocabulary {size.vocabulary}; "
        f"{rows[0].tokens:,} target tokens a step, bf16, torch {torch.__version__}.",
        "",
    ]
    lines += table(
        [*head, "against the first row"],
        [
            [
                row.name,
                number(row.rate().median),
                f"{row.mfu(product):.1%}",
                *([f"{row.mfu(peak):.1%}"] if peak else []),
                ratio(ratios(row.seconds, rows[0].seconds)),
            ]
            for row in rows
        ],
    )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Training steps on one GPU.")
    parser.add_argument("--tokens", type=int, default=25_000, metavar="N", help="real target tokens a step (25000)")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="the data sheet's dense bf16 rate, for MFU")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="rounds that count (9)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every number to this file")
    parser.add_argument("--no-compile", action="store_true", help="eager rows only")
    parser.add_argument("--quick", action="store_true", help="a tiny model on CPU: does it run? Numbers mean nothing")
    options = parser.parse_args(arguments)
    if not options.quick and not torch.cuda.is_available():
        parser.error("cuda: there is no GPU here; --quick runs a tiny model on CPU")
    device = torch.device("cpu" if options.quick else "cuda")
    size = SIZES["tiny" if options.quick else "base"]
    modes = (False,) if options.no_compile else (False, True)
    rows, product = measure(
        size,
        60 if options.quick else options.tokens,
        device,
        modes,
        n_rounds=1 if options.quick else options.repeats,
        steps=1 if options.quick else STEPS,
    )
    peak = options.peak * 1e12 if options.peak else None
    print(as_markdown(rows, size, product, peak))
    if options.json is not None:
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        found = {"device": name, "environment": environment(), "product": product, "peak": peak}
        found["rows"] = [asdict(row) for row in rows]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
