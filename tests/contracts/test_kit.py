"""The conformance kit catches what it is there to catch: each part below is broken in one way, and the named check says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recambio import registry, testing
from recambio.components.activation.base import Activation
from recambio.components.attention import KeyValueCache, MultiHead, attend, merge_heads, split_heads
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
from recambio.registry import Card

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

    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        if self.is_cross:
            q = split_heads(self.query(x), self.n_heads)
            k, v = (cache.k, cache.v) if cache is not None else self._project(memory)
        else:
            q, k, v = (split_heads(part, self.n_heads) for part in self.input.apart(x))
        scores = q @ k.transpose(-1, -2)
        mask = context.full_mask()
        weights = (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(-2)
        return self.output(merge_heads(weights @ v))


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

    def forward(self, x: Tensor, memory: Any, context: AttentionContext, cache: Any = None) -> Tensor:
        q, k, v = (split_heads(part, self.n_heads) for part in self.input.apart(x))
        scores = q @ k.transpose(-1, -2)
        mask = context.full_mask()
        weights = (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)
        return self.output(merge_heads(weights @ v))


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
        return x / x.float().square().mean((-1, -2), keepdim=True).add(1e-6).sqrt().to(x.dtype) * self.weight


class _NormalisesOverTheBatch(Normalization):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + x.float().std(0, keepdim=True, correction=0).to(x.dtype)) * self.weight


class _WidensTheDtype(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


class _HalfPrecisionStatistics(RMSNorm):
    """A layer norm that computes in its input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return (centred * centred.square().mean(-1, keepdim=True).add(1e-6).rsqrt() * self.weight).to(x.dtype)


class _NaNAtZero(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return (x / x.float().norm(dim=-1, keepdim=True) * self.weight).to(x.dtype)


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
    def forward(self, x: Tensor, context: TokenContext, cache: Any = None) -> Tensor:
        return nn.functional.dropout(super().forward(x, context, cache), 0.1, training=True)


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


FAULTS: list[tuple[str, type[nn.Module], str]] = [
    ("attention", _SeesTheFuture, "causality"),
    ("attention", _SeesPadding, "padding"),
    ("attention", _ForgetsTheOffset, "cached"),
    ("attention", _RotatesQueriesOnly, "cached"),
    ("attention", _NeverUsesOneParameter, "gradients"),
    ("attention", _DetachesTheValues, "gradients"),
    ("attention", _NormalisesOverQueries, "causality"),
    ("attention", _NormalisesOverQueries, "folded_beams"),
    ("attention", _SubtractsTheBias, "bias"),
    ("attention", _IgnoresRotations, "positions_used"),
    ("attention", _DividesByZero, "masked_rows"),
    ("attention", _SelectsWithoutOrder, "cached_select"),
    ("attention", _JoinsInReverse, "cached_join"),
    ("attention", _Miscounts, "cached"),
    ("normalization", _NormalisesOverTime, "causality"),
    ("normalization", _NormalisesOverTime, "tokenwise"),
    ("normalization", _NormalisesOverTheBatch, "padding"),
    ("normalization", _WidensTheDtype, "shape_and_dtype"),
    ("normalization", _HalfPrecisionStatistics, "tokenwise"),
    ("normalization", _NaNAtZero, "tokenwise"),
    ("feed_forward", _LooksAhead, "causality"),
    ("feed_forward", _LooksBackWithoutACache, "cached"),
    ("feed_forward", _AveragesPadding, "padding"),
    ("feed_forward", _DropsOutInEvaluation, "deterministic"),
    ("feed_forward", _LearnsOutsideTheState, "state_dict"),
    ("activation", _SumsItsInput, "elementwise"),
    ("activation", _Overflows, "elementwise"),
    ("positions", _CountsInHalfPrecision, "hooks"),
    ("positions", _FollowsTheLength, "cached"),
    ("positions", _RotatesKeysByIndex, "cached"),
    ("positions", _RevealsNothing, "order"),
    ("positions", _BiasOfTheWrongShape, "hooks"),
    ("block", _MixesTime, "causality"),
    ("embedding", _LosesItsTies, "tables"),
    ("embedding", _TransposesTheOutput, "tables"),
]


@pytest.mark.parametrize(("kind", "cls", "check"), FAULTS, ids=[f"{cls.__name__}-{check}" for _, cls, check in FAULTS])
def test_the_named_check_catches_the_fault(kind: str, cls: type[nn.Module], check: str) -> None:
    registry.REGISTRIES[kind].register("broken")(cls)
    with pytest.raises(AssertionError, match=f"broken at .*: {check}: "):
        testing.check(kind, "broken", [check])


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
    assert {o.check for o in testing.check("feed_forward", "modest")} >= {"card_parameters", "card_flops", "causality"}


def test_all_failures_are_reported_at_once() -> None:
    registry.FEED_FORWARD.register("broken")(_LooksAhead)
    with pytest.raises(AssertionError) as caught:
        testing.check("feed_forward", "broken")
    lines = str(caught.value).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("feed_forward broken at ") for line in lines)


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
    testing.check("normalization", "layer_norm")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_check_says_what_it_proves() -> None:
    for name, info in testing.CHECKS.items():
        assert info.proves.endswith("."), name
        assert len(info.proves) < 140, name
