"""Training steps of Transformer-base on one GPU: target tokens a second, MFU, what padding costs, where a step's time goes.

python -m benchmarks.gpu [--tokens 25000] [--peak TFLOPS] [--repeats N] [--json PATH] [--profile FOLDER] [--quick] [--no-compile]
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.fit.work import flops_per_token
from benchmarks.padding import Ints, Lengths, Padding, padding, planned, synthetic_lengths, unsorted
from benchmarks.peers import flops
from benchmarks.peers.ours import Ours
from benchmarks.peers.report import environment, number, ratio, table
from benchmarks.peers.sizes import EOS, N_SPECIAL, SIZES, Size, batch_of, training_batch
from benchmarks.peers.timing import Spread, alternate, ratios, spread
from recambio.data.batch import Batch
from recambio.training.callbacks.profile import summary
from recambio.training.compilation import compile_layers

POSITIONS = ("sinusoidal", "alibi", "t5")
PLAN = "our plan, padded"
STEPS = 5
"""Steps of a turn: the device is waited for once a turn."""

Run = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """One row.

    Attributes:
        name: Positions or the batches' making, and how the layers run.
        tokens: Real target tokens of a step, on average.
        work: Useful matrix-product operations of a step, on average.
        seconds: Of a step, one number a round.
        padding: What the batches hold beside sentences, where they are made of sentences of real lengths.
    """

    name: str
    tokens: float
    work: float
    seconds: list[float]
    padding: Padding | None = None

    def rate(self) -> Spread:
        """Real target tokens a second."""
        return spread([self.tokens / s for s in self.seconds])

    def rate_against(self, other: Measured) -> Spread:
        """How many times as many tokens a second as another, round by round."""
        found = ratios(self.seconds, other.seconds)
        scale = self.tokens / other.tokens
        return Spread(found.median * scale, found.low * scale, found.high * scale)

    def mfu(self, peak: float) -> float:
        """Share of a peak, in operations a second."""
        return flops.mfu(self.work, spread(self.seconds).median, peak)


@dataclass(frozen=True)
class Work:
    """What one row trains on, batch after batch; a step takes one.

    Attributes:
        tokens, operations, padding: As in :class:`Measured`.
    """

    batches: list[Batch]
    tokens: float
    operations: float
    padding: Padding | None = None


def uniform_work(size: Size, tokens: int, steps: int, device: torch.device) -> Work:
    """One device batch with about so many real target tokens, 18 to 32 a sentence as in the other benchmarks, again and again."""
    mean = (size.shortest + size.longest) / 2
    full = replace(size, training_batch=max(1, round(tokens / mean)))
    batch = training_batch(full).to(device)
    return Work([batch] * steps, batch.target_tokens, flops.training_step(full, batch.target_tokens))


def sentence_work(
    size: Size, lengths: Lengths, batches: Sequence[Ints], every: Sequence[Ints], device: torch.device
) -> Work:
    """Random tokens at given lengths. Products count that real tokens need, each sentence at its own length.

    Args:
        size: Of the model.
        lengths: Of the sentences.
        batches: What is trained on: indices of sentences, a batch each.
        every: What these stand for, in which the padding is counted.
        device: Where they go.
    """
    stream = np.random.default_rng(1)

    def rows(side: Ints) -> list[list[int]]:
        return [[*stream.integers(N_SPECIAL, size.vocabulary, n - 1).tolist(), EOS] for n in side]

    made = [batch_of(rows(lengths.source[b]), rows(lengths.target[b])).to(device) for b in batches]
    chosen = np.concatenate(batches)
    source, target = lengths.source[chosen].tolist(), lengths.target[chosen].tolist()
    tokens = sum(target) / len(batches)
    return Work(made, tokens, flops_per_token(size, source, target) * tokens, padding(lengths, every, size))


def padded_work(size: Size, tokens: int, steps: int, device: torch.device) -> dict[str, Work]:
    """Sentences of lengths like Tatoeba's in batches of about so many real target tokens: by chance, by our plan, and all of one length.

    The last is what packing them without any padding or mask could come to at best.
    """
    lengths = synthetic_lengths(150_000 if tokens > 1000 else 1_000)
    by_chance, by_plan = unsorted(lengths, tokens)[:-1], planned(lengths, tokens)
    # Of the short and of the long ones alike: the middles of so many equal parts of an epoch.
    by_plan.sort(key=lambda batch: float(lengths.target[batch].mean()))
    places = [int((i + 0.5) / steps * len(by_plan)) for i in range(steps)]
    mean = round(float(lengths.target.mean()))
    one = np.full(max(1, round(tokens / mean)), mean)
    whole = [np.arange(len(one))] * steps
    return {
        "random order, padded": sentence_work(size, lengths, by_chance[:steps], by_chance, device),
        PLAN: sentence_work(size, lengths, [by_plan[i] for i in places], by_plan, device),
        "one length, no padding": sentence_work(size, Lengths(one, one), whole, whole, device),
    }


def model_of(size: Size, positions: str, is_compiled: bool, device: torch.device) -> Ours:
    """A model in training, on the device."""
    contender = Ours(size, positions=positions)
    contender.model.to(device).train()
    if is_compiled:
        compile_layers(contender.model)
    return contender


def steps_of(contender: Ours, work: Work) -> Run:
    """A training step in bf16 on each batch, and a wait for the device."""

    def run() -> None:
        for batch in work.batches:
            contender.train_step(batch, "bf16")
        wait_for(work.batches[0].source.device)

    return run


def wait_for(device: torch.device) -> None:
    """Until all is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def product_rate(device: torch.device, side: int, repeats: int = 10) -> tuple[Run, int]:
    """A plain bf16 product, ``repeats`` times. Returns: what to time, and its operations."""
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))

    def run() -> None:
        for _ in range(repeats):
            torch.mm(a, b)
        wait_for(device)

    return run, 2 * side**3 * repeats


def measure(
    size: Size, tokens: int, device: torch.device, modes: Sequence[bool], n_rounds: int, steps: int
) -> tuple[list[Measured], float, dict[str, Run]]:
    """Time all rows turn by turn. Returns: the rows, the rate of a plain product in the same rounds, and what was timed, by name."""
    uniform, padded = uniform_work(size, tokens, steps, device), padded_work(size, tokens, steps, device)
    work: dict[str, Work] = {}
    runs: dict[str, Run] = {}
    for positions in POSITIONS:
        for is_compiled in modes:
            contender = model_of(size, positions, is_compiled, device)
            work[name := f"{positions}, {mode_name(is_compiled)}"] = uniform
            runs[name] = steps_of(contender, uniform)
            if positions != POSITIONS[0]:
                continue
            for made, batches in padded.items():
                work[name := f"{made}, {mode_name(is_compiled)}"] = batches
                runs[name] = steps_of(contender, batches)
    product, operations = product_rate(device, 8192 if device.type == "cuda" else 256)
    seconds, _ = alternate({**runs, "product": product}, n_rounds, n_discarded=2)
    rows = [
        Measured(name, w.tokens, w.operations, [s / steps for s in seconds[name]], w.padding)
        for name, w in work.items()
    ]
    return rows, operations / spread(seconds["product"]).median, runs


def mode_name(is_compiled: bool) -> str:
    """As the rows write it."""
    return "compiled" if is_compiled else "eager"


def write_profiles(
    runs: Mapping[str, Run], modes: Sequence[bool], steps: int, device: torch.device, folder: Path
) -> str:
    """Where the time of a step of the first positions goes, a file for each mode. Returns: the heads of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = []
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    for mode in map(mode_name, modes):
        name = f"{POSITIONS[0]}, {mode}"
        with profile(activities=activities) as seen:
            since = time.perf_counter()
            runs[name]()
            seconds = time.perf_counter() - since
        text = summary(seen, seconds, 0.0, f"{name}, profiled", steps, on_device=device.type == "cuda")
        (folder / f"profile-{mode}.txt").write_text(text, "utf-8")
        heads.append(text.partition("\noperators by")[0])
    return "\n".join(heads)


def as_markdown(rows: Sequence[Measured], size: Size, product: float, peak: float | None) -> str:
    """Two tables, with ratios to the first row and to the plan's rows."""
    head = ["target tokens/s", f"share of a plain product's {product / 1e12:.3g} TFLOP/s"]
    head += [f"MFU, of {peak / 1e12:.3g} TFLOP/s"] if peak else []
    by_name = {row.name: row for row in rows}

    def cells(row: Measured, against: Measured) -> list[str]:
        shares = [f"{row.mfu(ceiling):.1%}" for ceiling in (product, peak) if ceiling]
        return [number(row.rate().median), *shares, ratio(row.rate_against(against))]

    lines = [
        f"{size.name}: {size.n_layers}+{size.n_layers} layers, d_model {size.d_model}, vocabulary {size.vocabulary}; "
        f"{rows[0].tokens:,.0f} target tokens a step, bf16, torch {torch.__version__}.",
        "",
    ]
    lines += table(
        ["row", *head, "against the first row"],
        [[row.name, *cells(row, rows[0])] for row in rows if row.padding is None],
    )
    lines += ["", f"Sentences of lengths like Tatoeba's, {POSITIONS[0]}; products are those of real tokens alone:", ""]
    lines += table(
        ["row", "padding", "products on it", *head, "against the plan"],
        [
            [
                row.name,
                f"{row.padding.positions:.1%}",
                f"{row.padding.products:.1%}",
                *cells(row, by_name[f"{PLAN}, {row.name.rpartition(', ')[2]}"]),
            ]
            for row in rows
            if row.padding is not None
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
    parser.add_argument(
        "--profile", type=Path, metavar="FOLDER", help="say where a step's time goes, and write files here"
    )
    parser.add_argument("--no-compile", action="store_true", help="eager rows only")
    parser.add_argument("--quick", action="store_true", help="a tiny model on CPU: does it run? Numbers mean nothing")
    options = parser.parse_args(arguments)
    if not options.quick and not torch.cuda.is_available():
        parser.error("cuda: there is no GPU here; --quick runs a tiny model on CPU")
    device = torch.device("cpu" if options.quick else "cuda")
    size = SIZES["tiny" if options.quick else "base"]
    tokens, n_rounds, steps = (60, 1, 1) if options.quick else (options.tokens, options.repeats, STEPS)
    modes = (False,) if options.no_compile else (False, True)
    rows, product, runs = measure(size, tokens, device, modes, n_rounds, steps)
    peak = options.peak * 1e12 if options.peak else None
    print(as_markdown(rows, size, product, peak), flush=True)
    if options.json is not None:
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        command = shlex.join(["python", "-m", "benchmarks.gpu", *(sys.argv[1:] if arguments is None else arguments)])
        found = {"device": name, "environment": {**environment(), "command": command}, "product": product, "peak": peak}
        found["rows"] = [asdict(row) for row in rows]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.profile is not None:
        print(write_profiles(runs, modes, steps, device, options.profile))
    return 0


if __name__ == "__main__":
    sys.exit(main())
