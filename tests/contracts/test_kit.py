"""The conformance kit catches what it is there to catch: each part below is broken in one way, and the named check says so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from recambio import registry, testing
from recambio.components.activation.base import Activation
from recambio.components.attention import KeyValueCache, MultiHead, attend, merge_heads, split_heads
from recambio.components.attention.kernels import plain_scores
from recambio.components.block.pre_norm import PreNorm
from recambio.components.context import AttentionContext, Cache, TokenContext
from recambio.components.embedding.standard import StandardEmbedding
from recambio.components.feed_forward.base import FeedForward
from recambio.components.feed_forward.mlp import MLP
from recambio.components.normalization.base import Normalization
from recambio.components.normalization.rms_norm import RMSNorm
from recambio.components.positions.alibi import ALiBi
from recambio.components.positions.base import PositionalEncoding
from recambio.components.positions.rope import RoPE
from recambio.errors import InputError
from recambio.plugins import load_plugins
from recambio.registry import Card
from recambio.testing.processes import together
from recambio.training.losses.base import Loss, LossTerms
from recambio.training.losses.cross_entropy import CrossEntropy
from recambio.training.losses.fused import smoothed_cross_entropy
from recambio.training.losses.label_smoothing import LabelSmoothing
from recambio.training.losses.r_drop import RDrop
from recambio.training.optimizers.adam import Adam
from recambio.training.optimizers.adamw import AdamW
from recambio.training.optimizers.base import ParameterGroups
from recambio.training.schedules.base import Schedule

pytestmark = pytest.mark.usefixtures("restored_registry")


# ------------------------------------------------------------------------------------------------ attention


class _SeesTheFuture(MultiHead):
    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        return super().forward(x, memory, replace(context, is_causal=False, mask=None, merged=context.bias), cache)


class _SeesPadding(MultiHead):
    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        if not self.is_cross and not context.is_causal and context.mask is not None:
            context = replace(context, mask=None, merged=context.bias)
        return super().forward(x, memory, context, cache)


class _ForgetsTheOffset(MultiHead):
    """Counts the new tokens from 0, as if none were cached."""

    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        return super().forward(x, memory, replace(context, query_positions=torch.arange(x.shape[1])[None]), cache)


class _RotatesQueriesOnly(MultiHead):
    """Keys enter the cache unrotated and are rotated on the way in only without one."""

    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        if cache is None or self.is_cross:
            return super().forward(x, memory, context, cache)
        q, k, v = (split_heads(part, self.n_heads) for part in self.input.apart(x))
        q = context.positions.rotate_queries(q, context.query_positions)
        k, v = cache.append(k, v)
        return self.output(merge_heads(attend(q, k, v, context)))


class _NeverUsesOneParameter(MultiHead):
    def __init__(self, d_model: int, n_heads: int, site: str) -> None:
        super().__init__(d_model, n_heads, site)
        self.extra = nn.Parameter(torch.zeros(3))


class _DetachesTheValues(MultiHead):
    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        with torch.no_grad():
            return super().forward(x, memory, context, cache)


class _NormalisesOverQueries(MultiHead):
    """Softmax over the wrong axis."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, context: AttentionContext) -> Tensor:
        scores, mask = plain_scores(q, k, context), context.full_mask()
        weights = (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-2)
        return weights.to(v.dtype) @ v


class _SubtractsTheBias(MultiHead):
    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        if context.bias is not None:
            mask, bias = context.full_mask(), -context.bias
            merged = bias if mask is None else bias.masked_fill(~mask, float("-inf"))
            context = replace(context, bias=bias, merged=merged)
        return super().forward(x, memory, context, cache)


class _IgnoresRotations(MultiHead):
    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        return super().forward(x, memory, replace(context, positions=PositionalEncoding()), cache)


class _DividesByZero(MultiHead):
    """A softmax of one's own, over a row of -inf."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, context: AttentionContext) -> Tensor:
        scores, mask = plain_scores(q, k, context), context.full_mask()
        weights = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)
        return weights.to(v.dtype) @ v


class _UnorderedCache(KeyValueCache):
    """Takes as many rows as asked for, whichever they are."""

    def select(self, rows: Tensor) -> KeyValueCache:
        n_held = len(self.lengths)
        return super().select(torch.arange(len(rows)) % n_held)


class _SelectsWithoutOrder(MultiHead):
    def new_cache(self, rows: int, max_length: int, memory: Tensor | None = None) -> Cache:
        return super().new_cache(rows, max_length, memory) if self.is_cross else _UnorderedCache(rows, max_length)


class _SwappingCache(KeyValueCache):
    def select(self, rows: Tensor) -> KeyValueCache:
        chosen = super().select(rows)
        chosen.__class__ = _SwappingCache
        return chosen

    def join(self, other: Cache) -> KeyValueCache:
        assert isinstance(other, KeyValueCache)
        joined = KeyValueCache.join(other, self)
        joined.lengths = joined.lengths.flip(0)
        return joined


class _JoinsInReverse(MultiHead):
    def new_cache(self, rows: int, max_length: int, memory: Tensor | None = None) -> Cache:
        return super().new_cache(rows, max_length, memory) if self.is_cross else _SwappingCache(rows, max_length)


class _MiscountingCache(KeyValueCache):
    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        held = super().append(k, v)
        self.lengths = self.lengths + 1
        return held


class _Miscounts(MultiHead):
    def new_cache(self, rows: int, max_length: int, memory: Tensor | None = None) -> Cache:
        return super().new_cache(rows, max_length, memory) if self.is_cross else _MiscountingCache(rows, max_length)


# ------------------------------------------------------------------------------------------------ other kinds


class _NormalisesOverTime(Normalization):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return (x / x.square().mean((-1, -2), keepdim=True).add(1e-6).sqrt() * self.weight).to(x.dtype)


class _NormalisesOverTheBatch(Normalization):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return (x / (1 + x.std(0, keepdim=True, correction=0)) * self.weight).to(x.dtype)


class _WidensTheDtype(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float() if x.dtype == torch.bfloat16 else x)


class _HalfPrecisionStatistics(RMSNorm):
    """A layer norm that computes in its input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (centred * centred.square().mean(-1, keepdim=True).add(1e-6).rsqrt() * self.weight).to(x.dtype)


class _NaNAtZero(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return (x / x.norm(dim=-1, keepdim=True) * self.weight).to(x.dtype)


class _LooksAhead(FeedForward):
    """A convolution that is centred, in the decoder too."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(d_model, d_model, 3, padding=1)

    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        return self.convolution(x.transpose(1, 2)).transpose(1, 2)


class _LooksBackWithoutACache(FeedForward):
    """A convolution that is causal, but forgets what came before when it decodes."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(d_model, d_model, 3)

    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        return self.convolution(nn.functional.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)


class _AveragesPadding(FeedForward):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.map = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        return self.map(x - x.mean(1, keepdim=True))


class _DropsOutInEvaluation(MLP):
    """Forgets that dropout is for training, but only where there is some."""

    def __init__(self, d_model: int, d_ff: int, activation: Activation, dropout: float) -> None:
        super().__init__(d_model, d_ff, activation)
        self.p = dropout

    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        return nn.functional.dropout(super().forward(x, context, cache), self.p, training=True)


class _LearnsOutsideTheState(MLP):
    def __init__(self, d_model: int, d_ff: int, activation: Activation) -> None:
        super().__init__(d_model, d_ff, activation)
        self.table = torch.randn(d_model)

    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        return super().forward(x, context, cache) + self.table.to(x.dtype)


class _SumsItsInput(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(-1)


class _Overflows(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(1 + x.exp())


class _CountsInHalfPrecision(PositionalEncoding):
    def add_to_embeddings(self, x: Tensor, positions: Tensor) -> Tensor:
        counted = positions.to(torch.bfloat16).to(x.dtype)
        return x + torch.sin(counted)[..., None] * torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)


class _FollowsTheLength(PositionalEncoding):
    """Scales positions by the row's length, which grows while decoding."""

    def add_to_embeddings(self, x: Tensor, positions: Tensor) -> Tensor:
        share = (positions / positions.max().clamp(min=1))[..., None].to(x.dtype)
        return x + share * torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)


class _RotatesKeysByIndex(RoPE):
    def rotate_keys(self, k: Tensor, positions: Tensor) -> Tensor:
        return super().rotate_keys(k, torch.arange(k.shape[2])[None])


class _RevealsNothing(PositionalEncoding):
    def add_to_embeddings(self, x: Tensor, positions: Tensor) -> Tensor:
        return x + 1.0


class _BiasOfTheWrongShape(ALiBi):
    def attention_bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return super().attention_bias(query_positions, key_positions).transpose(-1, -2)


class _MixesTime(PreNorm):
    def exit(self, state: Any) -> Tensor:
        return super().exit(state - state.mean(1, keepdim=True))


class _LosesItsTies(StandardEmbedding):
    def __init__(self, d_model: int, source_vocabulary: int, target_vocabulary: int, is_joint: bool) -> None:
        super().__init__(d_model, source_vocabulary, target_vocabulary, is_joint)
        self._load_state_dict_post_hooks.clear()


class _TransposesTheOutput(StandardEmbedding):
    def output(self) -> tuple[Tensor, Tensor | None]:
        return self.projection.weight.t(), None


class _BackwardOfAnotherFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (1 - x.tanh())


class _DerivesWrongly(Activation):
    def forward(self, x: Tensor) -> Tensor:
        return _BackwardOfAnotherFunction.apply(x)


class _ComputesInFloat32(MLP):
    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        return super().forward(x, context, cache).float().mul(1.1).to(x.dtype)


class _OverflowsInFloat16(MultiHead):
    def mix(self, q: Tensor, k: Tensor, v: Tensor, context: AttentionContext) -> Tensor:
        return super().mix(q * 1e6, k / 1e6, v, context)


class _WeighsInBfloat16(MLP):
    """Rounds what passes through it, which float32 would not."""

    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        y = super().forward(x, context, cache)
        return y if x.dtype == torch.float64 else y.to(torch.bfloat16).to(y.dtype)


class _IsItsOwnCopy(MLP):
    """Is itself where a copy of it was asked for."""

    def __deepcopy__(self, memory: Any) -> nn.Module:
        return self


class _BranchesOnTheLength(MLP):
    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        y = super().forward(x, context, cache)
        return y if x.shape[1] > 10 else y + 0.0


class _AsksTheDevice(MLP):
    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        y = super().forward(x, context, cache)
        return y + 0.0 if y.detach().sum().item() > 0 else y


class _HardlyLooks(MultiHead):
    """Scores so small that every key gets the same weight, nearly."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, context: AttentionContext) -> Tensor:
        return super().mix(q / 1000, k, v, context) if self.is_cross else super().mix(q, k, v, context)


# ------------------------------------------------------------------------------------------------ what trains


class _TakesTheMean(CrossEntropy):
    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        terms = super().forward(hidden, weight, bias, targets)
        return LossTerms(terms.loss / len(targets), terms.nll)


class _CountsTheFirstTokenTwice(CrossEntropy):
    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        terms = super().forward(hidden, weight, bias, targets)
        return LossTerms(terms.loss + super().forward(hidden[:1], weight, bias, targets[:1]).loss, terms.nll)


class _ReportsTheSmoothedLoss(LabelSmoothing):
    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        terms = super().forward(hidden, weight, bias, targets)
        return LossTerms(terms.loss, terms.loss.detach())


class _AddsUpItsPasses(RDrop):
    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        terms = super().forward(hidden, weight, bias, targets)
        return LossTerms(terms.loss, terms.nll * (len(hidden) // len(targets)))


class _DetachesTheBias(CrossEntropy):
    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        return super().forward(hidden, weight, None if bias is None else bias.detach() + 0 * bias, targets)


class _SmoothsTowardsPadding(LabelSmoothing):
    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        return LossTerms(*smoothed_cross_entropy(hidden, weight, bias, targets, self.smoothing))


class _SumsInHalfPrecision(Loss):
    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        log_p = nn.functional.linear(hidden, weight, bias).log_softmax(-1).to(hidden.dtype)
        nll = -log_p.gather(1, targets[:, None]).sum()
        return LossTerms(nll, nll.detach())


class _Climbs(AdamW):
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        every = [*parameters.decayed, *parameters.plain]
        return torch.optim.SGD(every, lr=self.lr, maximize=True)


class _LeavesTheGainsOut(AdamW):
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        return super().build(replace(parameters, plain=[]), is_fused=is_fused)


class _DecaysEverything(AdamW):
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        every = [*parameters.decayed, *parameters.plain]
        return torch.optim.AdamW(every, lr=self.lr, weight_decay=0.1, fused=is_fused)


class _ForgetsTheDecay(AdamW):
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        return torch.optim.Adam([*parameters.decayed, *parameters.plain], lr=self.lr, fused=is_fused)


class _Forgetful(torch.optim.Adam):
    """Keeps its moments, but outside the state that is saved."""

    def state_dict(self) -> dict[str, Any]:
        return {"state": {}, "param_groups": super().state_dict()["param_groups"]}


class _ForgetsItsState(Adam):
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        return _Forgetful([*parameters.decayed, *parameters.plain], lr=self.lr)


class _Normalised(torch.optim.SGD):
    """Steps of unit length, without an epsilon."""

    def step(self, closure: Any = None) -> None:
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p -= group["lr"] * p.grad / p.grad.norm()


class _DividesByTheNorm(Adam):
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        return _Normalised([*parameters.decayed, *parameters.plain], lr=self.lr)


class _Stubborn(torch.optim.Adam):
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["lr"] = 1e-3
        super().step(closure)


class _IgnoresTheSchedule(Adam):
    def build(self, parameters: ParameterGroups, *, is_fused: bool) -> Optimizer:
        return _Stubborn([*parameters.decayed, *parameters.plain], lr=self.lr)


class _CountsItsCalls(Schedule):
    def __init__(self) -> None:
        self.calls = 0

    def factor(self, step: int) -> float:
        self.calls += 1
        return 1 / self.calls


class _FallsBelowZero(Schedule):
    def __init__(self, max_steps: int | None) -> None:
        self.max_steps = max_steps or 1

    def factor(self, step: int) -> float:
        return 1 - step / self.max_steps


CACHED = {"cached", "cached_select", "cached_join"}
"""What depends on how much is fed at a time fails them all."""

FAULTS: list[tuple[str, type[Any], str, set[str]]] = [
    ("attention", _SeesTheFuture, "causality", {*CACHED, "bias", "padding"}),
    ("attention", _SeesPadding, "padding", {*CACHED, "bias", "causality"}),
    ("attention", _ForgetsTheOffset, "cached", CACHED),
    ("attention", _RotatesQueriesOnly, "cached", CACHED),
    ("attention", _NeverUsesOneParameter, "gradients", set()),
    ("attention", _DetachesTheValues, "gradients", {"bias", "derivative", "padding"}),
    ("attention", _NormalisesOverQueries, "causality", {*CACHED, "bias", "folded_beams", "padding"}),
    ("attention", _SubtractsTheBias, "bias", set()),
    ("attention", _IgnoresRotations, "positions_used", set()),
    ("attention", _DividesByZero, "masked_rows", {"bias", "padding"}),
    ("attention", _SelectsWithoutOrder, "cached_select", set()),
    ("attention", _JoinsInReverse, "cached_join", set()),
    ("attention", _Miscounts, "cached", CACHED),
    ("attention", _OverflowsInFloat16, "precision", set()),
    ("normalization", _NormalisesOverTime, "causality", {*CACHED, "padding", "tokenwise"}),
    ("normalization", _NormalisesOverTheBatch, "padding", {"cached_select", "cached_join", "masked_rows", "tokenwise"}),
    ("normalization", _WidensTheDtype, "shape_and_dtype", {"masked_rows", "precision"}),
    ("normalization", _HalfPrecisionStatistics, "tokenwise", set()),
    ("normalization", _NaNAtZero, "tokenwise", {"padding"}),
    ("feed_forward", _LooksAhead, "causality", {*CACHED, "padding"}),
    ("feed_forward", _LooksBackWithoutACache, "cached", {*CACHED, "padding"}),
    ("feed_forward", _AveragesPadding, "padding", {*CACHED, "causality"}),
    ("feed_forward", _DropsOutInEvaluation, "deterministic", set()),
    ("feed_forward", _LearnsOutsideTheState, "state_dict", set()),
    ("feed_forward", _ComputesInFloat32, "derivative", set()),
    ("feed_forward", _WeighsInBfloat16, "precision", set()),
    ("feed_forward", _IsItsOwnCopy, "copies", set()),
    ("activation", _SumsItsInput, "elementwise", set()),
    ("activation", _Overflows, "elementwise", set()),
    ("activation", _DerivesWrongly, "derivative", set()),
    ("positions", _CountsInHalfPrecision, "hooks", set()),
    ("positions", _FollowsTheLength, "cached", {*CACHED, "hooks", "padding"}),
    ("positions", _RotatesKeysByIndex, "cached", {*CACHED, "padding"}),
    ("positions", _RevealsNothing, "order", {"hooks"}),
    ("positions", _BiasOfTheWrongShape, "hooks", CACHED),
    ("block", _MixesTime, "causality", {*CACHED, "padding"}),
    ("embedding", _LosesItsTies, "tables", set()),
    ("embedding", _TransposesTheOutput, "tables", {"low_precision"}),
    ("loss", _TakesTheMean, "sums_over_tokens", set()),
    ("loss", _CountsTheFirstTokenTwice, "sums_over_tokens", set()),
    ("loss", _ReportsTheSmoothedLoss, "likelihood", set()),
    ("loss", _AddsUpItsPasses, "likelihood", set()),
    ("loss", _DetachesTheBias, "loss_gradients", {"float32_sums"}),
    ("loss", _SmoothsTowardsPadding, "padding_is_no_target", set()),
    ("loss", _SumsInHalfPrecision, "float32_sums", set()),
    ("optimizer", _Climbs, "lowers_the_loss", {"zero_gradients"}),
    ("optimizer", _LeavesTheGainsOut, "lowers_the_loss", set()),
    ("optimizer", _DecaysEverything, "zero_gradients", set()),
    ("optimizer", _ForgetsTheDecay, "zero_gradients", set()),
    ("optimizer", _ForgetsItsState, "resumes", set()),
    ("optimizer", _DividesByTheNorm, "zero_gradients", set()),
    ("optimizer", _IgnoresTheSchedule, "zero_rate", set()),
    ("schedule", _CountsItsCalls, "pure", set()),
    ("schedule", _FallsBelowZero, "rates", set()),
]
"""The part's kind, the part, the check that is there for its fault, and the others that must notice as well: a part that sees padding
can't decode alike beside shorter rows."""

SLOW_FAULTS: list[tuple[str, type[nn.Module], str, str]] = [
    ("feed_forward", _BranchesOnTheLength, "encoder_feed_forward", "traced"),
    ("feed_forward", _AsksTheDevice, "encoder_feed_forward", "traced"),
    ("attention", _HardlyLooks, "cross", "learns"),
]
"""Faults that no quick check can see."""


@pytest.mark.parametrize(("kind", "cls", "check", "also"), FAULTS, ids=[fault[1].__name__ for fault in FAULTS])
def test_the_check_that_is_there_for_it_catches_the_fault_and_no_other_does(
    kind: str, cls: type[nn.Module], check: str, also: set[str]
) -> None:
    registry.REGISTRIES[kind].register("broken")(cls)
    outcomes = [o for site in testing.sites(kind, "broken") for o in quick_outcomes(kind, "broken", site)]
    assert {o.check for o in outcomes if o.problem} == {check, *also}


@pytest.mark.parametrize(
    ("kind", "cls", "site", "check"),
    [
        pytest.param(*fault, id=fault[1].__name__, marks=[pytest.mark.slow] if fault[1] is _HardlyLooks else [])
        for fault in SLOW_FAULTS
    ],
)
def test_what_compiles_and_what_learns_is_found_by_compiling_and_training(
    kind: str, cls: type[nn.Module], site: str, check: str
) -> None:
    registry.REGISTRIES[kind].register("broken")(cls)
    assert not any(o.problem for o in quick_outcomes(kind, "broken", site))
    assert testing.run_one(kind, "broken", site, check).problem


def quick_outcomes(kind: str, name: str, site: str) -> list[testing.Outcome]:
    """Of all quick checks but the one that another process would have to find the part for."""
    return [testing.run_one(kind, name, site, check) for check in testing.check_names(kind, site) if check != "ddp"]


CONDITIONAL = """
import torch
from torch import nn
from recambio.components.activation.base import Activation
from recambio.components.feed_forward.mlp import MLP
from recambio.registry import FEED_FORWARD

@FEED_FORWARD.register("NAME")
class NAME(MLP):
    \"\"\"A bias that is not trained alike everywhere, as an expert that no token chose.\"\"\"

    def __init__(self, d_model: int, d_ff: int, activation: Activation) -> None:
        super().__init__(d_model, d_ff, activation)
        self.extra = nn.Parameter(torch.zeros(d_model))

    def forward(self, x, context, cache=None):
        y = super().forward(x, context, cache)
        return y + CONDITION if self.training else y
"""
ON_TWO_PROCESSES = {
    "sometimes": ("(self.extra if x.shape[1] > 5 else 0)", "gets no gradient|finished reduction|Timeout|closed"),
    "by_the_batch": (
        "self.extra * x.shape[0]",
        "gradient of 'layers.0.feed_forward.extra' on two processes against one: differs",
    ),
    "dies": ("__import__('os')._exit(3)", "a process died"),
}


@pytest.mark.slow  # a pair of processes for each part that fails
def test_what_trains_otherwise_on_two_processes_is_caught(tmp_path: Path) -> None:
    """And the parts around it are tried all the same."""
    for name, (condition, _) in ON_TWO_PROCESSES.items():
        file = tmp_path / f"{name}.py"
        file.write_text(CONDITIONAL.replace("NAME", name).replace("CONDITION", condition))
        load_plugins([str(file)])
    names = ["mlp", "sometimes", "dies", "mlp", "by_the_batch"]
    for name, problem in zip(
        names, together([("feed_forward", n, "encoder_feed_forward") for n in names]), strict=True
    ):
        if name == "mlp":
            assert problem is None
        else:
            assert re.search(ON_TWO_PROCESSES[name][1], problem or ""), problem


@pytest.mark.parametrize(
    ("card", "check", "text"),
    [
        (Card("c", parameters="D", flops="4 * D * F"), "card_parameters", "= 32 parameters, the part has 3152"),
        (Card("c", parameters="D * Q"), "card_parameters", "can't be evaluated"),
        (Card("c", flops="2 * D * F; the rest"), "card_flops", "= 3072 FLOPs per token, the plain path takes 6144"),
    ],
)
def test_a_card_that_is_wrong_is_caught(card: Card, check: str, text: str) -> None:
    registry.FEED_FORWARD.register("claims", card)(MLP)
    with pytest.raises(AssertionError, match=text):
        testing.check("feed_forward", "claims", [check])


def test_a_part_without_a_card_claims_nothing() -> None:
    registry.FEED_FORWARD.register("modest")(MLP)
    checks = ["card_parameters", "card_flops", "causality"]
    assert {o.check for o in testing.check("feed_forward", "modest", checks)} == set(checks)


def test_all_failures_are_reported_at_once() -> None:
    registry.FEED_FORWARD.register("broken")(_LooksAhead)
    quick = [check for check in testing.check_names("feed_forward", "encoder_feed_forward") if check != "ddp"]
    with pytest.raises(AssertionError) as caught:
        testing.check("feed_forward", "broken", quick)
    lines = str(caught.value).splitlines()
    assert len(lines) > 1
    assert all(line.startswith("feed_forward broken at ") for line in lines)
    assert {line.split()[3] for line in lines} == {f"{site}:" for site in testing.sites("feed_forward", "broken")}


def test_a_card_limits_the_sites() -> None:
    registry.ATTENTION.register("decoder_only", Card("c", sites=("decoder_self",)))(MultiHead)
    assert {o.site for o in testing.run("attention", "decoder_only", ["gradients"])} == {"decoder_self"}


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(InputError, match="unknown attention 'muti_head'"):
        testing.check("attention", "muti_head")
    with pytest.raises(InputError, match="needs it"):
        testing.check("attention", "grouped_query")
    with pytest.raises(ValueError, match="unknown checks"):
        testing.check("attention", "multi_head", ["causallity"])
    with pytest.raises(ValueError, match="no checks for kind 'corpus'"):
        testing.check("corpus", "embedded")


def test_the_kit_leaves_no_trace() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    testing.check(
        "normalization", "layer_norm", [c for c in testing.check_names("normalization", "encoder") if c != "ddp"]
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_check_says_what_it_proves() -> None:
    for name, info in testing.CHECKS.items():
        assert info.proves.endswith("."), name
        assert len(info.proves) < 140, name
