"""What each part costs: time, memory and products of a training step, time of a decoding step.

Every part is timed in turn with the plain part of its kind, there and back, so that a drift of the machine meets both; ratios are
medians over rounds. The plain part is timed against itself as well: how far that is from 1 is what the clock can't tell.
"""

from __future__ import annotations

import functools
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.parts.places import PLAIN, Place, places, spec_of
from recambio.components.context import TokenContext, WithLosses
from recambio.model import Transformer
from recambio.model.masks import cross_context, self_context
from recambio.registry import REGISTRIES

ROWS, LENGTH, HELD, STEPS = 16, 32, 16, 8
"""Sentences of a training batch and their tokens; tokens that a decoding row holds before, and steps that are timed."""

SIZES: dict[str, Any] = {
    "source_vocabulary": 4000,
    "target_vocabulary": 4000,
    "d_model": 256,
    "n_heads": 4,
    "d_ff": 1024,
    "dropout": 0.0,
    "max_length": 128,
}
N_LAYERS = 2

Run = Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """One part's ratios to the plain part of its kind.

    Attributes:
        alone: Time of the part's own forward and backward pass.
        alone_flops: Its matmul FLOPs, over the plain path; None where there are none to compare with.
        inside: Time of the model's pass.
        flops: Matmul FLOPs of the model's pass, over the plain path.
        memory: Most memory that the model's pass holds at a time.
        decode: Time of a decoding step with caches.
        parameters: Of the model.
        milliseconds: The model's forward and backward pass, for scale; not to be compared between runs.
    """

    kind: str
    name: str
    alone: float
    alone_flops: float | None
    inside: float
    flops: float
    memory: float
    decode: float
    parameters: float
    milliseconds: float

    @property
    def unexplained(self) -> float | None:
        """The part's own time over what its products explain."""
        return self.alone / self.alone_flops if self.alone_flops else None


class Bench:
    """A model with one part, and what is timed of it."""

    def __init__(self, place: Place, dtype: torch.dtype | None) -> None:
        torch.manual_seed(0)
        self.place, self.dtype = place, dtype
        self.model = Transformer(spec_of(place, SIZES, N_LAYERS)).train()
        self.source = torch.randint(4, 4000, (ROWS, LENGTH))
        self.target = torch.randint(4, 4000, (ROWS, LENGTH))

    def autocast(self) -> torch.autocast:
        return torch.autocast("cpu", self.dtype, enabled=self.dtype is not None)

    def inside(self) -> None:
        """The model's forward and backward pass."""
        self.model.zero_grad()
        with self.autocast():
            hidden, auxiliary = self.model(self.source, self.target)
            logits = self.model.logits(hidden)
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), self.target.flatten())
        for value, count in auxiliary.values():
            loss = loss + value / count.clamp(min=1)
        loss.backward()

    def alone(self) -> Run | None:
        """The part's own forward and backward pass, four times; None where it has none by itself."""
        run = _alone(self.place, self.model)
        if run is None:
            return None

        def passes() -> None:
            for _ in range(4):
                with self.autocast():
                    y = run()
                y = y.x if isinstance(y, WithLosses) else y
                y.float().square().sum().backward()

        return passes

    def decode(self) -> Run:
        """Prepares `STEPS` decoding steps of one token; returns what is timed."""
        self.model.eval()
        with torch.inference_mode():
            state = self.model.start(self.source, max_length=HELD + STEPS)
            self.model.step(state, self.target[:, :HELD])
        tokens = self.target[:, :1]

        def steps() -> None:
            with torch.inference_mode(), self.autocast():
                for _ in range(STEPS):
                    self.model.logits(self.model.step(state, tokens))

        return steps

    @functools.cached_property
    def flops(self) -> int:
        """Matmul FLOPs of the model's forward and backward pass, fused attention written out as products."""
        self.model.train()
        return _flops(self.inside)

    @functools.cached_property
    def alone_flops(self) -> int:
        """Likewise of the part's own; 0 where it has none by itself."""
        run = self.alone()
        return 0 if run is None else _flops(run)

    @functools.cached_property
    def memory(self) -> int:
        """Most bytes that the pass holds at a time beyond what it found."""
        self.model.train()
        self.model.zero_grad()
        gc.collect()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            self.inside()
        held = most = 0
        for event in recorded.profiler.kineto_results.events():  # type: ignore[union-attr]
            if event.name() == "[memory]":
                held += event.nbytes()
                most = max(most, held)
        return most


def _flops(run: Run) -> int:
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def _alone(place: Place, model: Transformer) -> Callable[[], Any] | None:
    """One pass of the part by itself over a batch, with gradients."""
    order = torch.arange(LENGTH)[None]
    x = torch.randn(ROWS, LENGTH, SIZES["d_model"], requires_grad=True)
    memory = torch.randn_like(x)
    site = place.sites[0]
    stack: Any = getattr(model, site.partition("_")[0], model.decoder)
    layer: Any = stack.layers[0]
    if place.kind == "attention" and site == "cross":
        return lambda: layer.cross_attention(x, memory, cross_context(order, order, None))
    if place.kind == "attention":
        context = self_context(stack.positions, order, order, is_causal=site == "decoder_self")
        return lambda: layer.self_attention(x, None, context)
    if place.kind == "feed_forward":
        return lambda: layer.feed_forward(x, TokenContext(order))
    if place.kind == "block":
        sublayers = [lambda x: x] * (3 if site == "decoder" else 2)

        def block() -> Tensor:
            state = stack.block.enter(x)
            for i in range(N_LAYERS):
                state = stack.block.layer(i, state, sublayers)
            y: Tensor = stack.block.exit(state)
            return y

        return block
    if place.kind == "positions":
        heads = torch.randn(ROWS, SIZES["n_heads"], LENGTH, SIZES["d_model"] // SIZES["n_heads"], requires_grad=True)

        def positions() -> Tensor:
            scheme = stack.positions
            bias = scheme.attention_bias(order, order)
            y: Tensor = scheme.add_to_embeddings(x, order).sum()
            for _ in range(N_LAYERS):
                y = y + scheme.rotate_queries(heads, order).sum() + scheme.rotate_keys(heads, order).sum()
            return y if bias is None else y + bias.sum()

        return positions
    if place.kind == "embedding":
        tokens = torch.randint(4, 4000, (ROWS, LENGTH))
        return lambda: model.embedding.project(model.embedding.embed_target(tokens))
    contract = REGISTRIES[place.kind].contract
    assert contract is not None
    part = next((m for m in model.decoder.modules() if isinstance(m, contract)), None)
    return None if part is None else lambda: part(x)


def in_turns(first: Callable[[], Run], second: Callable[[], Run], rounds: int) -> tuple[float, float]:
    """Median over rounds of second / first, and the median seconds of second; each prepares, then is timed.

    A round is first, second, second, first or the other way round, so that neither gains by its place. The clock is the process's own:
    on one thread what else the machine does hardly enters.
    """
    ratios, seconds = [], []
    for turn in range(rounds + 1):  # one round to warm up
        taken = [0.0, 0.0]
        for which in (0, 1, 1, 0) if turn % 2 else (1, 0, 0, 1):
            run = (first, second)[which]()
            gc.collect()
            start = time.process_time()
            run()
            taken[which] += time.process_time() - start
        if turn:
            ratios.append(taken[1] / taken[0])
            seconds.append(taken[1] / 2)
    return statistics.median(ratios), statistics.median(seconds)


def measure(
    only: Sequence[str], rounds: int, dtype: torch.dtype | None, say: Callable[[str], None] = lambda _: None
) -> list[Cost]:
    """Every part against the plain one of its kind."""
    found = []
    for kind, plain in PLAIN.items():
        base: Bench | None = None
        for place in places([kind]):
            bench = Bench(place, dtype)
            base = base or bench
            if only and kind not in only and place.label not in only:
                continue
            found.append(_against(base, bench, rounds))
            say(f"{place.label}: {found[-1].inside:.2f} of {plain}'s time")
    return found


def _against(base: Bench, bench: Bench, rounds: int) -> Cost:
    for each in (base, bench):
        each.model.train()
    alone, base_alone = bench.alone(), base.alone()
    alone_ratio = 1.0
    if alone is not None and base_alone is not None:
        alone_ratio, _ = in_turns(lambda: base_alone, lambda: alone, 2 * rounds)
    inside, seconds = in_turns(lambda: base.inside, lambda: bench.inside, rounds)
    decode, _ = in_turns(base.decode, bench.decode, rounds)
    sizes = [sum(p.numel() for p in each.model.parameters()) for each in (bench, base)]
    return Cost(
        bench.place.kind,
        bench.place.name,
        alone=alone_ratio,
        alone_flops=bench.alone_flops / base.alone_flops if base.alone_flops else None,
        inside=inside,
        flops=bench.flops / base.flops,
        memory=bench.memory / base.memory,
        decode=decode,
        parameters=sizes[0] / sizes[1],
        milliseconds=1000 * seconds,
    )


def _number(x: float | None) -> str:
    return "" if x is None else f"{x:.2f}"


def as_markdown(costs: Sequence[Cost]) -> str:
    """A table a kind."""
    lines = []
    for kind, plain in PLAIN.items():
        rows = [c for c in costs if c.kind == kind]
        if not rows:
            continue
        lines += [
            "",
            f"**{kind}**, against `{plain}`",
            "",
            "| part | alone | its FLOPs | time / FLOPs | in the model | FLOPs | memory | decoding step | parameters |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(
                f"| `{c.name}` | {c.alone:.2f} | {_number(c.alone_flops)} | {_number(c.unexplained)} | {c.inside:.2f} | {c.flops:.2f} "
                f"| {c.memory:.2f} | {c.decode:.2f} | {c.parameters:.2f} |"
                for c in rows
            ),
        ]
    return "\n".join(lines).strip()
