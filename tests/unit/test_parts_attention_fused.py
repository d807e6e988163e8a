"""The attentions that change what comes before or after the softmax, against loops over every pair of tokens."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import linear

from recambio.components.attention import (
    DifferentialAttention,
    FourierMixing,
    GatedAttention,
    KeyValueCache,
    Linformer,
    MemoryCache,
    MultiHead,
    MultiHeadLatentAttention,
    QKNorm,
    QKNormalization,
    SlidingWindow,
)
from recambio.components.context import AttentionContext
from recambio.components.positions.base import PositionalEncoding
from recambio.components.positions.rope import RoPE
from recambio.model.initialise import initialise
from recambio.registry import ATTENTION

SITES = ("encoder_self", "decoder_self", "cross")
D, H, DH, B, T, S = 16, 4, 4, 2, 5, 6
LENGTHS = (5, 3)
"""Real tokens of the two rows of keys."""


@pytest.fixture(autouse=True)
def _float64() -> Any:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------- references: torch and loops, nothing from the package


def attended(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) v by loops; q, k, v: (B, H, T|S, width), allowed: (B, T, S)."""
    y = torch.zeros(*q.shape[:3], v.shape[-1])
    for b, h, t in product(*map(range, q.shape[:3])):
        keys = [s for s in range(k.shape[2]) if allowed[b, t, s]]
        if keys:
            weights = torch.stack([scale * (q[b, h, t] * k[b, h, s]).sum() for s in keys]).softmax(0)
            y[b, h, t] = sum((w * v[b, h, s] for w, s in zip(weights, keys, strict=True)), torch.zeros(v.shape[-1]))
    return y


def apart(x: Tensor, n_heads: int) -> Tensor:
    """(B, T, D) -> (B, H, T, Dh) by slices."""
    return torch.stack(x.chunk(n_heads, -1), 1)


def together(y: Tensor) -> Tensor:
    """(B, H, T, Dh) -> (B, T, D) by concatenation."""
    return torch.cat(list(y.unbind(1)), -1)


def rms(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return gain * x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def turned(x: Tensor) -> Tensor:
    """Rotary positions 0, 1, ...: each pair of columns as a complex number; x: (B, H, T, width)."""
    y = x.clone()
    width = x.shape[-1]
    for t, i in product(range(x.shape[2]), range(0, width, 2)):
        turn = cmath.exp(1j * t * 10000 ** (-i / width))
        y[:, :, t, i] = x[:, :, t, i] * turn.real - x[:, :, t, i + 1] * turn.imag
        y[:, :, t, i + 1] = x[:, :, t, i] * turn.imag + x[:, :, t, i + 1] * turn.real
    return y


# --------------------------------------------------------------------------------------------------------- what is compared


def context_for(site: str, positions: PositionalEncoding | None = None) -> tuple[AttentionContext, Tensor]:
    """A pass over LENGTHS real keys, padded on the right, and the pairs (B, T, S) that it allows."""
    positions = positions or PositionalEncoding()
    n_keys = S if site == "cross" else T
    order, keys = torch.arange(T)[None], torch.arange(n_keys)[None]
    if site == "decoder_self":
        allowed = (keys <= order.T).expand(B, T, T)
        return AttentionContext(positions, order, order, is_causal=True), allowed
    tokens = keys < torch.tensor(LENGTHS)[:, None]
    mask = tokens[:, None, None, :]
    queries = None if site == "cross" else tokens
    context = AttentionContext(positions, order, keys, mask=mask, merged=mask, query_tokens=queries, key_tokens=tokens)
    return context, tokens[:, None, :].expand(B, T, n_keys)


def inputs(site: str) -> tuple[Tensor, Tensor | None]:
    return torch.randn(B, T, D), torch.randn(B, S, D) if site == "cross" else None


def projected(part: Any, x: Tensor, memory: Tensor | None, widths: Sequence[int] = (D, D, D)) -> Sequence[Tensor]:
    """q, k and v as the part's weights make them."""
    if memory is None:
        return linear(x, part.input.weight, part.input.bias).split(list(widths), -1)
    q = linear(x, part.query.weight, part.query.bias)
    return [q, *linear(memory, part.memory.weight, part.memory.bias).split(list(widths[1:]), -1)]


def output(part: Any, y: Tensor) -> Tensor:
    return linear(together(y), part.output.weight, part.output.bias)


def stirred(part: Any) -> Any:
    """The part with every parameter somewhere else than where it starts."""
    for parameter in part.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return part.eval()


close = torch.testing.assert_close


# ------------------------------------------------------------------------------------------------------------------ qk_norm


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize("site", SITES)
def test_qk_norm_normalises_before_it_rotates(site: str, groups: int) -> None:
    part = stirred(QKNormalization(D, H, site, n_groups=groups, eps=0.1))
    x, memory = inputs(site)
    rotates = site != "cross"
    context, allowed = context_for(site, RoPE() if rotates else None)
    q, k, v = projected(part, x, memory, (D, groups * DH, groups * DH))
    q = rms(apart(q, H), part.query_norm.weight, 0.1)
    k = rms(apart(k, groups), part.key_norm.weight, 0.1)
    q, k = (turned(q), turned(k)) if rotates else (q, k)
    k, v = (torch.stack([z[:, h * groups // H] for h in range(H)], 1) for z in (k, apart(v, groups)))
    close(part(x, memory, context), output(part, attended(q, k, v, allowed, DH**-0.5)))


@settings(max_examples=20)
@given(st.floats(-2, 2), st.floats(-2, 2))
def test_how_large_the_weights_of_queries_and_keys_are_does_not_matter(of_q: float, of_k: float) -> None:
    torch.manual_seed(0)
    x, memory = inputs("encoder_self")
    context, _ = context_for("encoder_self")
    for part in (
        QKNormalization(D, H, "encoder_self", eps=1e-12, bias=False),
        QKNorm(D, H, "encoder_self", max_length=20, bias=False),
    ):
        before = part(x, memory, context)
        with torch.no_grad():
            part.input.weight[:D] *= 10**of_q
            part.input.weight[D : 2 * D] *= 10**of_k
        close(part(x, memory, context), before, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------------- cosine


@pytest.mark.parametrize("site", SITES)
def test_cosine_scores_are_scaled_cosines(site: str) -> None:
    part = stirred(QKNorm(D, H, site, max_length=50))
    x, memory = inputs(site)
    context, allowed = context_for(site)
    q, k, v = (apart(z, H) for z in projected(part, x, memory))
    q, k = (z / z.norm(dim=-1, keepdim=True) for z in (q, k))
    close(part(x, memory, context), output(part, attended(q, k, v, allowed, part.scale.item())))


def test_the_cosines_scale_starts_where_the_paper_says() -> None:
    close(QKNorm(D, H, "cross", max_length=640, length=50).scale.item(), math.log2(50 * 50 - 50), rtol=1e-6, atol=0)
    close(QKNorm(D, H, "cross", max_length=33).scale.item(), math.log2(33 * 32), rtol=1e-6, atol=0)


def test_the_cosine_with_nothing_is_finite() -> None:
    part = QKNorm(D, H, "encoder_self", max_length=50, bias=False)
    x = torch.zeros(B, T, D, requires_grad=True)
    y = part(x, None, context_for("encoder_self")[0])
    y.sum().backward()
    assert not y.any()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


# -------------------------------------------------------------------------------------------------------------------- gated


@pytest.mark.parametrize("gate", ["head", "elementwise"])
@pytest.mark.parametrize("site", SITES)
def test_gated_is_multi_head_times_what_the_querys_side_says(site: str, gate: Any) -> None:
    part = stirred(GatedAttention(D, H, site, gate=gate))
    x, memory = inputs(site)
    context, allowed = context_for(site)
    y = attended(*(apart(z, H) for z in projected(part, x, memory)), allowed, DH**-0.5)
    share = 1 / (1 + (-linear(x, part.gate.weight, part.gate.bias)).exp())
    for h, c in product(range(H), range(DH)):
        y[:, h, :, c] *= share[..., h if gate == "head" else h * DH + c]
    close(part(x, memory, context), output(part, y))


@pytest.mark.parametrize("gate", ["head", "elementwise"])
def test_an_open_gate_is_multi_head_and_a_shut_one_is_silent(gate: Any) -> None:
    gated, plain = GatedAttention(D, H, "encoder_self", gate=gate), MultiHead(D, H, "encoder_self")
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("gate")})
    x, _ = inputs("encoder_self")
    context, _ = context_for("encoder_self")
    gated.gate.bias.data.fill_(100)
    close(gated(x, None, context), plain(x, None, context))
    gated.gate.bias.data.fill_(-100)
    close(gated(x, None, context), gated.output.bias.expand(B, T, D))


# ------------------------------------------------------------------------------------------------------------- differential


@pytest.mark.parametrize("site", SITES)
def test_differential_subtracts_a_share_of_the_second_softmax(site: str) -> None:
    part = stirred(DifferentialAttention(D, H, site, layer_index=2))
    x, memory = inputs(site)
    context, allowed = context_for(site, RoPE() if site != "cross" else None)
    a, b, c, d = part.shares.tolist()
    share_at_first = 0.8 - 0.6 * math.exp(-0.6)
    share = (
        math.exp(sum(p * r for p, r in zip(a, b, strict=True)))
        - math.exp(sum(p * r for p, r in zip(c, d, strict=True)))
        + share_at_first
    )
    q, k, v = projected(part, x, memory)
    q, k, v = apart(q, H), apart(k, H), apart(v, H // 2)
    q, k = (turned(q), turned(k)) if site != "cross" else (q, k)
    first, second = (attended(q[:, i::2], k[:, i::2], v, allowed, DH**-0.5) for i in (0, 1))
    y = (1 - share_at_first) * rms(first - share * second, part.norm.weight, 1e-5)
    close(part(x, memory, context), output(part, y))


def test_what_both_softmaxes_attend_to_cancels() -> None:
    part = DifferentialAttention(D, H, "encoder_self", layer_index=0, bias=False)
    with torch.no_grad():
        for rows in (part.input.weight[:D], part.input.weight[D : 2 * D]):
            pairs = rows.view(H // 2, 2, DH, D)
            pairs[:, 1] = pairs[:, 0]
        part.shares.zero_()
        part.shares[0, 0], part.shares[1, 0] = 1.0, math.log(1.8)  # exp(log 1.8) - exp(0) + 0.2 = 1
    close(part.share().item(), 1.0)
    y = part(torch.randn(B, T, D), None, context_for("encoder_self")[0])
    close(y, torch.zeros(B, T, D), rtol=0, atol=1e-9)


def test_the_share_starts_near_the_papers_and_is_drawn_from_a_stream_of_its_own() -> None:
    parts = [DifferentialAttention(64, 4, "cross", layer_index=3, bias=bias) for bias in (True, False)]
    for part in parts:
        initialise(nn.ModuleDict({"part": part}), 1, {})
        assert 0.05 < part.shares.std().item() < 0.15
        assert abs(part.share().item() - (0.8 - 0.6 * math.exp(-0.9))) < 0.1
    assert torch.equal(parts[0].shares, parts[1].shares)


def test_the_differential_cache_holds_half_as_many_values_twice_as_wide() -> None:
    part = DifferentialAttention(D, H, "decoder_self", layer_index=0)
    cache = part.new_cache(B, 10)
    assert isinstance(cache, KeyValueCache)
    part(torch.randn(B, T, D), None, context_for("decoder_self")[0], cache)
    keys, values = cache.append(torch.zeros(B, H, 1, DH), torch.zeros(B, H // 2, 1, 2 * DH))
    assert keys.shape == (B, H, T + 1, DH)
    assert values.shape == (B, H // 2, T + 1, 2 * DH)


# ----------------------------------------------------------------------------------------------------------- sliding_window


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("site", ["encoder_self", "decoder_self"])
def test_a_window_is_full_attention_to_what_is_near(site: str, window: int) -> None:
    part = stirred(SlidingWindow(D, H, site, window=window))
    x, _ = inputs(site)
    context, allowed = context_for(site)
    order = torch.arange(T)
    near = (order[:, None] - order).abs() <= window
    y = attended(*(apart(z, H) for z in projected(part, x, None)), allowed & near, DH**-0.5)
    close(part(x, None, context), output(part, y))


@pytest.mark.parametrize("site", ["encoder_self", "decoder_self"])
@pytest.mark.parametrize("biased", [False, True])
def test_a_window_as_wide_as_the_row_is_multi_head_bit_for_bit(site: str, biased: bool) -> None:
    part, plain = SlidingWindow(D, H, site, window=T - 1).float(), MultiHead(D, H, site).float()
    plain.load_state_dict(part.state_dict())
    x = torch.randn(B, T, D, dtype=torch.float32)
    context, allowed = context_for(site)
    if biased:
        bias = torch.randn(1, H, T, T, dtype=torch.float32)
        mask = allowed[:, None]
        context = AttentionContext(
            context.positions,
            context.query_positions,
            context.key_positions,
            mask=mask,
            bias=bias,
            merged=bias.masked_fill(~mask, -math.inf),
        )
    assert torch.equal(part(x, None, context), plain(x, None, context))
    part.window = T - 2
    assert not torch.equal(part(x, None, context), plain(x, None, context))


def test_a_window_keeps_a_bias_and_its_gradient() -> None:
    part = SlidingWindow(D, H, "encoder_self", window=1)
    order = torch.arange(T)[None]
    bias = torch.randn(1, 1, T, T, requires_grad=True)
    context = AttentionContext(PositionalEncoding(), order, order, bias=bias, merged=bias)
    x = torch.randn(B, T, D)
    y = part(x, None, context)
    near = (order - order.T).abs() <= 1
    q, k, v = (apart(z, H) for z in projected(part, x, None))
    scores = (q @ k.mT / 2 + bias).masked_fill(~near, -math.inf)
    close(y, output(part, scores.softmax(-1) @ v))
    (gradient,) = torch.autograd.grad((y * torch.randn_like(y)).sum(), bias)
    assert bool((gradient[0, 0] != 0).eq(near).all())


@settings(max_examples=30)
@given(st.data())
def test_a_token_reaches_exactly_as_far_as_the_window(data: st.DataObject) -> None:
    torch.manual_seed(0)
    n, window = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 12))
    is_causal = data.draw(st.booleans())
    here = data.draw(st.integers(0, n - 1))
    part = SlidingWindow(D, H, "decoder_self" if is_causal else "encoder_self", window=window)
    order = torch.arange(n)[None]
    x = torch.randn(1, n, D, requires_grad=True)
    y = part(x, None, AttentionContext(PositionalEncoding(), order, order, is_causal=is_causal))
    (gradient,) = torch.autograd.grad((y[0, here] * torch.randn(D)).sum(), x)
    reached = gradient[0].abs().amax(-1) > 0
    expected = [abs(here - s) <= window and (s <= here or not is_causal) for s in range(n)]
    assert reached.tolist() == expected


def test_a_decoding_step_reads_the_windows_keys_only() -> None:
    part = SlidingWindow(D, H, "decoder_self", window=2).eval()
    cache = part.new_cache(1, 10)
    assert isinstance(cache, KeyValueCache)
    x = torch.randn(1, 8, D)
    order = torch.arange(8)[None]
    with torch.no_grad():
        full = part(x, None, AttentionContext(PositionalEncoding(), order, order, is_causal=True))
        for t in range(8):
            if t > 3:  # what lies outside may be anything
                assert cache._keys is not None and cache._values is not None
                cache._keys[:, :, : t - 2] = cache._values[:, :, : t - 2] = math.nan
            here = AttentionContext(PositionalEncoding(), order[:, t : t + 1], order[:, : t + 1])
            close(part(x[:, t : t + 1], None, here, cache), full[:, t : t + 1])


# ------------------------------------------------------------------------------------------------------------------- latent


def latent_reference(part: Any, x: Tensor, memory: Tensor | None, allowed: Tensor, c: int, r: int) -> Tensor:
    q, q_rope, latent, k_rope = (
        linear(x, part.input.weight, part.input.bias).split([D, H * r, c, r], -1)
        if memory is None
        else [
            *linear(x, part.query.weight, part.query.bias).split([D, H * r], -1),
            *linear(memory, part.memory.weight, part.memory.bias).split([c, r], -1),
        ]
    )
    latent = rms(latent, part.norm.weight, 1e-6)
    k, v = (apart(latent @ w.T, H) for w in part.up.weight.split(D))
    q_rope, k_rope = apart(q_rope, H), torch.stack([k_rope] * H, 1)
    q_rope, k_rope = (turned(q_rope), turned(k_rope)) if memory is None else (q_rope, k_rope)
    q, k = torch.cat([apart(q, H), q_rope], -1), torch.cat([k, k_rope], -1)
    return output(part, attended(q, k, v, allowed, (DH + r) ** -0.5))


@pytest.mark.parametrize(("c", "r"), [(None, None), (6, 4)])
@pytest.mark.parametrize("site", SITES)
def test_latent_makes_keys_and_values_from_the_latents(site: str, c: int | None, r: int | None) -> None:
    part = stirred(MultiHeadLatentAttention(D, H, site, c, r))
    x, memory = inputs(site)
    context, allowed = context_for(site, RoPE() if site != "cross" else None)
    close(part(x, memory, context), latent_reference(part, x, memory, allowed, c or 4 * DH, r or DH // 2))


@pytest.mark.parametrize("site", ["decoder_self", "cross"])
def test_attending_to_the_latents_themselves_is_the_same(site: str) -> None:
    part = stirred(MultiHeadLatentAttention(D, H, site, 6, 4))
    x, memory = inputs(site)
    context, _ = context_for(site, RoPE() if site != "cross" else None)
    if site == "cross":  # one row sees nothing
        mask = torch.tensor([True, False])[:, None, None, None].expand(B, 1, 1, S)
        context = AttentionContext(context.positions, context.query_positions, context.key_positions, mask, merged=mask)
    cache = part.new_cache(B, T, memory)
    close(part(x, None, context, cache), part(x, memory, context))


@pytest.mark.parametrize("site", ["decoder_self", "cross"])
def test_the_latent_cache_holds_latents_and_one_key_only(site: str) -> None:
    part = MultiHeadLatentAttention(D, H, site, latent_dim=6, rope_dim=4)
    x, memory = inputs(site)
    cache = part.new_cache(B, T, memory)
    part(x, None, context_for(site)[0], cache)
    if isinstance(cache, MemoryCache):
        held = cache.k, cache.v
    else:
        assert isinstance(cache, KeyValueCache) and cache._keys is not None and cache._values is not None
        held = cache._keys, cache._values
    n_keys = S if site == "cross" else T
    assert sum(z.numel() for z in held) == B * n_keys * (6 + 4)


def test_positions_turn_the_key_beside_the_latents_and_nothing_else() -> None:
    part = MultiHeadLatentAttention(D, H, "encoder_self", latent_dim=6, rope_dim=4, bias=False)
    x, _ = inputs("encoder_self")
    here, _ = context_for("encoder_self", RoPE())
    nowhere, _ = context_for("encoder_self")
    assert not torch.allclose(part(x, None, here), part(x, None, nowhere))
    part.input.weight.data[-4:] = 0
    close(part(x, None, here), part(x, None, nowhere))


# ---------------------------------------------------------------------------------------------------------------- linformer


def in_batch(rows: Sequence[Tensor], width: int, left: bool) -> tuple[Tensor, AttentionContext]:
    """Rows padded with noise to one width, and their context."""
    x, tokens = 9 * torch.randn(len(rows), width, D), torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        x[i, where], tokens[i, where] = row, True
    positions = (tokens.cumsum(1) - 1).clamp(min=0) if left else torch.arange(width)[None]
    mask = tokens[:, None, None, :]
    return x, AttentionContext(PositionalEncoding(), positions, positions, mask, False, None, mask, tokens, tokens)


@pytest.mark.parametrize("left", [False, True])
def test_linformer_mixes_each_rows_own_tokens(left: bool) -> None:
    part = stirred(Linformer(D, H, "encoder_self", max_length=9, projected_length=3))
    rows = [torch.randn(n, D) for n in (5, 2, 0)]
    x, context = in_batch(rows, 7, left)
    y = part(x, None, context)
    for i, row in enumerate(rows[:2]):
        q, k, v = (apart(z, H) for z in projected(part, row[None], None))
        mixed_k, mixed_v = torch.zeros(1, H, 3, DH), torch.zeros(1, H, 3, DH)
        for p, s in product(range(3), range(len(row))):
            mixed_k[:, :, p] += part.key_mixtures.weight[s, p] * k[:, :, s]
            mixed_v[:, :, p] += part.value_mixtures.weight[s, p] * v[:, :, s]
        everywhere = torch.ones(1, len(row), 3, dtype=torch.bool)
        expected = output(part, attended(q, mixed_k, mixed_v, everywhere, DH**-0.5))
        close(y[i, context.key_tokens[i]] if context.key_tokens is not None else y, expected[0])
    close(y[2], part.output.bias.expand(7, D))  # no token, nothing attended to


def test_linformer_with_every_token_its_own_mixture_is_multi_head() -> None:
    part, plain = Linformer(D, H, "encoder_self", max_length=T, projected_length=T), MultiHead(D, H, "encoder_self")
    plain.load_state_dict({k: v for k, v in part.state_dict().items() if "mixtures" not in k})
    for table in (part.key_mixtures, part.value_mixtures):
        table.weight.data = torch.eye(T)
    order = torch.arange(T)[None]
    context = AttentionContext(RoPE(), order, order)
    x = torch.randn(B, T, D)
    close(part(x, None, context), plain(x, None, context))


def test_linformer_refuses_what_it_has_no_column_for() -> None:
    part = Linformer(D, H, "encoder_self", max_length=4)
    order = torch.arange(5)[None]
    with pytest.raises(ValueError, match=r"attention 'linformer' knows 4 positions .* a sentence has 5"):
        part(torch.randn(1, 5, D), None, AttentionContext(PositionalEncoding(), order, order))


def test_linformers_mixtures_start_with_the_variance_of_the_papers_proofs() -> None:
    part = Linformer(D, H, "encoder_self", max_length=400, projected_length=25)
    initialise(nn.ModuleDict({"part": part}), 1, {})
    for table in (part.key_mixtures, part.value_mixtures):
        close(table.weight.std().item(), 0.2, rtol=0.05, atol=0)


# -------------------------------------------------------------------------------------------------------------- fourier_mix


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("width", [D, D - 1])
def test_fourier_mix_is_the_transform_of_each_rows_own_tokens(width: int, left: bool) -> None:
    rows = [torch.randn(n, D) for n in (6, 1, 5, 0)]
    x, context = in_batch(rows, 8, left)
    y = FourierMixing()(x[..., :width], None, context)
    assert context.query_tokens is not None
    for i, row in enumerate(rows[:3]):
        expected = torch.fft.fft2(row[:, :width]).real / math.sqrt(len(row) * width)
        close(y[i, context.query_tokens[i]], expected)
    assert not y[~context.query_tokens].any()


def test_fourier_mix_keeps_the_size_of_its_input_at_any_length() -> None:
    for n in (3, 30, 300):
        order = torch.arange(n)[None]
        x = torch.randn(8, n, 64)
        y = FourierMixing()(x, None, AttentionContext(PositionalEncoding(), order, order))
        close(y, torch.fft.fft2(x, norm="ortho").real)
        assert 0.6 < y.std().item() < 0.85  # the imaginary half is left out: 1 / sqrt(2)


def test_fourier_mix_counts_exactly_in_low_precision() -> None:
    order = torch.arange(600)[None]
    context = AttentionContext(PositionalEncoding(), order, order)
    x = torch.randn(1, 600, D)
    expected = FourierMixing()(x, None, context)
    close(FourierMixing()(x.float(), None, context).double(), expected, rtol=0, atol=1e-5)
    close(FourierMixing()(x.bfloat16(), None, context).double(), expected, rtol=0, atol=0.05)


def test_fourier_mix_has_no_cache() -> None:
    with pytest.raises(ValueError, match="stands in the encoder"):
        FourierMixing().new_cache(1, 1)


# --------------------------------------------------------------------------------------------------------------------- all


def test_attention_dropout_acts_in_training_only() -> None:
    for part in (
        QKNormalization(D, H, "encoder_self", attention_dropout=0.5),
        QKNorm(D, H, "encoder_self", 20, attention_dropout=0.5),
        GatedAttention(D, H, "encoder_self", attention_dropout=0.5),
        DifferentialAttention(D, H, "encoder_self", 0, attention_dropout=0.5),
        SlidingWindow(D, H, "encoder_self", 2, attention_dropout=0.5),
        MultiHeadLatentAttention(D, H, "encoder_self", attention_dropout=0.5),
        Linformer(D, H, "encoder_self", 20, attention_dropout=0.5),
    ):
        x, context = torch.randn(B, T, D), context_for("encoder_self")[0]
        assert not torch.equal(part(x, None, context), part(x, None, context)), type(part).__name__
        part.eval()
        assert torch.equal(part(x, None, context), part(x, None, context)), type(part).__name__


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("qk_norm", {"n_groups": 3}, r"^`n_heads` must be divisible by `n_groups` \(3\), but is 4$"),
        ("qk_norm", {"n_groups": 0}, r"`n_groups` \(0\)"),
        ("qk_norm", {"eps": 0.0}, r"^`eps` must be above 0, but is 0.0$"),
        ("cosine", {"length": 1}, r"^`length` must be at least 2, but is 1$"),
        ("sliding_window", {"window": 0}, r"^`window` must be at least 1, but is 0$"),
        ("latent", {"latent_dim": 0}, r"^`latent_dim` must be at least 1, but is 0$"),
        ("latent", {"rope_dim": 0}, r"^`rope_dim` must be even and at least 2, but is 0$"),
        ("latent", {"rope_dim": 3}, r"^`rope_dim` must be even and at least 2, but is 3$"),
        ("latent", {"attention_dropout": 1.0}, r"^`attention_dropout` must be in \[0, 1\), but is 1.0$"),
        ("linformer", {"projected_length": 0}, r"^`projected_length` must be at least 1, but is 0$"),
        ("differential", {"n_heads": 1}, r"^`n_heads` must be even for attention 'differential', .* but is 1$"),
        ("latent", {"n_heads": 3}, r"^`d_model` must be divisible by `n_heads` \(3\), but is 16$"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], text: str) -> None:
    context: dict[str, Any] = {"d_model": D, "n_heads": H, "site": "encoder_self", "layer_index": 0, "max_length": 20}
    context |= {k: options.pop(k) for k in list(options) if k in context}
    with pytest.raises(ValueError, match=text):
        ATTENTION.create({"name": name, **options}, **context)


@pytest.mark.parametrize("site", ["cross"])
def test_cross_attention_needs_something_to_attend_to(site: str) -> None:
    with pytest.raises(ValueError, match="cross-attention needs the encoder's output"):
        MultiHeadLatentAttention(D, H, site)(torch.randn(1, 2, D), None, context_for(site)[0])
