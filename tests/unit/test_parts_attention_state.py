"""Attentions with a running state: averages, recurrences, products of features, convolutions; each against its definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recambio import registry
from recambio.components.attention import (
    SSRU,
    AverageAttention,
    CosFormer,
    DynamicConv,
    LightConv,
    LinearAttention,
    Performer,
    average,
    convolution,
    kernelised,
)
from recambio.components.context import AttentionContext
from recambio.components.positions.base import PositionalEncoding
from recambio.components.recurrence import _solve_by_doubling, _solve_in_turn, recurrence
from recambio.components.state_cache import StateCache
from recambio.model import ModelSpec, StackSpec, Transformer

D, H, DH = 16, 4, 4
STATES = ["average", "cosformer", "dynamic_conv", "light_conv", "linear", "performer", "ssru"]


def around(
    n_queries: int, n_keys: int | None = None, tokens: Tensor | None = None, positions: PositionalEncoding | None = None
) -> AttentionContext:
    """A pass over whole rows, or across; `tokens` (B, S) True = real, on whichever side."""
    n_keys = n_queries if n_keys is None else n_keys
    return AttentionContext(
        positions or PositionalEncoding(),
        torch.arange(n_queries)[None],
        torch.arange(n_keys)[None],
        mask=None if tokens is None else tokens[:, None, None, :],
        query_tokens=tokens,
        key_tokens=tokens,
    )


def made(name: str, site: str = "decoder_self", **options: Any) -> Any:
    torch.manual_seed(0)
    part = registry.ATTENTION.create(
        {"name": name, **options},
        d_model=D,
        n_heads=H,
        site=site,
        is_causal=site == "decoder_self",
        layer_index=0,
        max_length=400,
    )
    return part.double().eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


LEFT = torch.tensor([[True] * 6, [False] * 2 + [True] * 4, [False] * 5 + [True]])


# Running states in general


@pytest.mark.parametrize("name", STATES)
def test_long_rows_decode_as_they_train(name: str) -> None:
    part = made(name)
    x = noise(2, 300, D)
    with torch.no_grad():
        full = part(x, None, around(300))
        cache = part.new_cache(2, 300)
        pieces, start = [], 0
        for n in (1, 140, 2, 157):
            piece = x[:, start : start + n]
            context = AttentionContext(
                PositionalEncoding(), torch.arange(start, start + n)[None], torch.arange(start + n)[None]
            )
            pieces.append(part(piece, None, context, cache))
            start += n
    torch.testing.assert_close(torch.cat(pieces, dim=1), full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STATES)
def test_a_state_does_not_grow(name: str) -> None:
    part = made(name)
    cache = part.new_cache(2, 10)
    assert isinstance(cache, StateCache)
    before = {key: value.shape for key, value in cache.state.items()}
    with torch.no_grad():
        part(noise(2, 40, D), None, around(40), cache)
    assert {key: value.shape for key, value in cache.state.items()} == before
    assert cache.lengths.tolist() == [40, 40]


@pytest.mark.parametrize("name", STATES)
def test_states_are_float32_in_a_bfloat16_model(name: str) -> None:
    part = made(name).bfloat16()
    cache = part.new_cache(2, 4)
    with torch.no_grad():
        part(noise(2, 3, D).bfloat16(), None, around(3), cache)
    expected = torch.bfloat16 if "conv" in name else torch.float32  # a window holds values as they are, no sums
    assert {value.dtype for value in cache.state.values()} == {expected}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("site", ["encoder_self", "decoder_self"])
def test_pieces_are_the_whole(name: str, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if site not in (registry.ATTENTION.get(name).card.sites or [site]):
        return
    part, x, weights = made(name, site), noise(3, 6, D).requires_grad_(), noise(3, 6, D) * LEFT[..., None]
    results = []
    for longest in (100, 4):
        monkeypatch.setattr(kernelised, "CHUNK", longest)
        monkeypatch.setattr(convolution, "CHUNK", longest)
        monkeypatch.setattr(average, "_LONG", longest)
        part.zero_grad()
        y = part(x, None, around(6, tokens=LEFT))
        gradients = torch.autograd.grad((y * weights).sum(), [x, *part.parameters()])
        results.append((y[LEFT], *gradients))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


# The average attention network


def mean_of_earlier(x: Tensor, tokens: Tensor) -> Tensor:
    """Means of the real inputs so far, one number at a time."""
    out = torch.zeros_like(x)
    for b in range(x.shape[0]):
        for t in range(x.shape[1]):
            seen = [x[b, s] for s in range(t + 1) if tokens[b, s]]
            if seen:
                out[b, t] = torch.stack(seen).sum(0) / len(seen)
    return out


@pytest.mark.parametrize("expansion", [0, 4])
def test_average_is_its_definition(expansion: int) -> None:
    part: AverageAttention = made("average", expansion=expansion)
    x = noise(3, 6, D)
    g = mean_of_earlier(x, LEFT)
    if expansion:
        g = torch.relu(g @ part.inner.weight.T + part.inner.bias) @ part.outer.weight.T + part.outer.bias
    gates = torch.sigmoid(torch.cat([x, g], dim=-1) @ part.gates.weight.T + part.gates.bias)
    expected = gates[..., :D] * x + gates[..., D:] * g
    torch.testing.assert_close(part(x, None, around(6, tokens=LEFT))[LEFT], expected[LEFT])


def test_average_with_fixed_gates_is_the_mean_so_far() -> None:
    part: AverageAttention = made("average", expansion=0)
    with torch.no_grad():
        part.gates.weight.zero_()
        part.gates.bias[:D], part.gates.bias[D:] = -1e4, 1e4
    x = noise(2, 9, D)
    expected = x.cumsum(1) / torch.arange(1, 10)[:, None]
    torch.testing.assert_close(part(x, None, around(9)), expected)


def test_average_in_bfloat16_sums_in_float32() -> None:
    part: AverageAttention = made("average", expansion=0).bfloat16()
    x = torch.ones(1, 2000, D, dtype=torch.bfloat16)  # a bfloat16 sum of ones stops at 256
    torch.testing.assert_close(part(x, None, around(2000)), part(x[:, :1], None, around(1)).expand_as(x))


# The recurrence and the unit on it


def in_turn(a: Tensor, b: Tensor) -> Tensor:
    states = [torch.zeros_like(b[:, 0])]
    for t in range(b.shape[1]):
        states.append(a[:, t] * states[-1] + b[:, t])
    return torch.stack(states[1:], dim=1)


@settings(max_examples=30)
@given(
    rows=st.integers(1, 3), length=st.integers(1, 40), seed=st.integers(0, 1000), power=st.sampled_from([0.1, 1, 300])
)
def test_every_way_to_solve_the_recurrence_is_the_loop(rows: int, length: int, seed: int, power: float) -> None:
    torch.manual_seed(seed)
    a, b = torch.rand(rows, length, 3, dtype=torch.float64) ** power, noise(rows, length, 3)
    a[..., 0], a[..., 1] = 0.0, 1.0
    expected = in_turn(a, b)
    for found in (_solve_in_turn(a, b), *(_solve_by_doubling(a, b, n) for n in (1, 9, 64)), recurrence(a, b, 1)):
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(expected[..., 0], b[..., 0])
    torch.testing.assert_close(expected[..., 1], b[..., 1].cumsum(1))


def test_the_recurrence_differentiates() -> None:
    a, b = torch.rand(2, 7, 3, dtype=torch.float64).requires_grad_(), noise(2, 7, 3).requires_grad_()
    g = noise(2, 7, 3)
    solved = recurrence(a, b, 1), in_turn(a, b)
    ours, expected = (torch.autograd.grad((c * g).sum(), (a, b)) for c in solved)
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("projection", [False, True])
def test_ssru_is_its_definition(projection: bool) -> None:
    part: SSRU = made("ssru", projection=projection)
    with torch.no_grad():
        part.forget_bias.normal_()
    x = noise(3, 6, D)
    forget_weight, weight = part.input.weight[:D], part.input.weight[D:]
    expected = torch.zeros_like(x)
    for b in range(3):
        c = torch.zeros(D, dtype=torch.float64)
        for t in range(6):
            if LEFT[b, t]:
                f = torch.sigmoid(forget_weight @ x[b, t] + part.forget_bias)
                c = f * c + (1 - f) * (weight @ x[b, t])
            expected[b, t] = torch.relu(c)
    if projection:
        assert isinstance(part.output, nn.Linear)
        expected = expected @ part.output.weight.T + part.output.bias
    torch.testing.assert_close(part(x, None, around(6, tokens=LEFT))[LEFT], expected[LEFT])


def test_ssru_that_forgets_all_looks_at_each_token_alone() -> None:
    part: SSRU = made("ssru")
    nn.init.constant_(part.forget_bias, -1e4)
    x = noise(2, 5, D)
    torch.testing.assert_close(part(x, None, around(5)), torch.relu(x @ part.input.weight[D:].T))
    nn.init.constant_(part.forget_bias, 1e4)
    assert not part(x, None, around(5)).any()


# Attentions by features


def turned(x: Tensor, position: int) -> Tensor:
    """Neighbouring columns turned by ``position * 10000^(-2i/Dh)``; x: (Dh,)."""
    out = x.clone()
    for i in range(0, len(x), 2):
        angle = position * 10000.0 ** (-i / len(x))
        out[i] = x[i] * math.cos(angle) - x[i + 1] * math.sin(angle)
        out[i + 1] = x[i + 1] * math.cos(angle) + x[i] * math.sin(angle)
    return out


Score = Callable[[Tensor, Tensor, int, int], float]
"""(q, k, t, s) -> score."""


def by_scores(
    part: Any, x: Tensor, memory: Tensor | None, tokens: Tensor, numerator: Score, denominator: Score
) -> Tensor:
    """``sum_s numerator v_s / sum_s denominator``, one score at a time."""
    is_causal = memory is None and part.is_causal
    if memory is None:
        q, k, v = part.input(x).split(D, dim=-1)
    else:
        q, (k, v) = part.query(x), part.memory(memory).split(D, dim=-1)
    out = torch.zeros_like(q)
    for b in range(q.shape[0]):
        for h in range(H):
            c = slice(h * DH, (h + 1) * DH)
            for t in range(q.shape[1]):
                seen = [s for s in range(k.shape[1]) if tokens[b, s] and (s <= t or not is_causal)]
                total = sum(denominator(q[b, t, c], k[b, s, c], t, s) for s in seen)
                for s in seen:
                    out[b, t, c] += numerator(q[b, t, c], k[b, s, c], t, s) / total * v[b, s, c]
    return out @ part.output.weight.T + part.output.bias


def elu_score(q: Tensor, k: Tensor, t: int, s: int) -> float:
    return sum((x + 1 if x > 0 else math.exp(x)) * (y + 1 if y > 0 else math.exp(y)) for x, y in zip(q, k, strict=True))


def elu_score_turned(q: Tensor, k: Tensor, t: int, s: int) -> float:
    phi_q, phi_k = (torch.where(x > 0, x + 1, x.clamp(max=0).exp()) for x in (q, k))
    return float(turned(phi_q, t) @ turned(phi_k, s))


@pytest.mark.parametrize("site", ["encoder_self", "decoder_self", "cross"])
@pytest.mark.parametrize("n_keys", [3, 6])  # from 5 on the encoder takes the sums over keys first
def test_linear_is_its_definition(site: str, n_keys: int) -> None:
    part: LinearAttention = made("linear", site)
    tokens = LEFT[:, -n_keys:]
    x, memory = noise(3, n_keys, D), None
    if site == "cross":
        x, memory = noise(3, 7, D), noise(3, n_keys, D)
    with torch.no_grad():
        expected = by_scores(part, x, memory, tokens, elu_score, elu_score)
        y = part(x, memory, around(x.shape[1], n_keys, tokens))
    if site != "cross":
        y, expected = y[tokens], expected[tokens]
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("site", ["encoder_self", "decoder_self"])
@pytest.mark.parametrize("n_tokens", [3, 6])
def test_linear_rotates_the_numerator_alone(site: str, n_tokens: int) -> None:
    part: LinearAttention = made("linear", site)
    rope = registry.POSITIONS.create("rope")
    x = noise(2, n_tokens, D)
    with torch.no_grad():
        expected = by_scores(part, x, None, torch.ones(2, n_tokens, dtype=torch.bool), elu_score_turned, elu_score)
        y = part(x, None, around(n_tokens, positions=rope))
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)  # angles are float32


def test_linear_does_not_care_in_which_order_keys_come() -> None:
    part: LinearAttention = made("linear", "cross")
    x, memory, order = noise(2, 5, D), noise(2, 9, D), torch.randperm(9)
    torch.testing.assert_close(part(x, memory, around(5, 9)), part(x, memory[:, order], around(5, 9)))


@pytest.mark.parametrize("name", ["linear", "performer"])
def test_a_query_that_sees_nothing_gets_zero(name: str) -> None:
    part = made(name, "cross", bias=False)
    for n_keys in (2, 60):
        tokens = torch.tensor([[False] * n_keys, [True] * n_keys])
        y = part(noise(2, 3, D), noise(2, n_keys, D), around(3, n_keys, tokens))
        assert not y[0].any() and y[1].any()


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v


def test_performer_estimates_the_exponential_without_bias() -> None:
    torch.manual_seed(0)
    q, k = 0.6 * noise(1, 1, 1, DH), 0.6 * noise(1, 1, 1, DH)
    estimates = []
    for seed in range(100):
        torch.manual_seed(seed)
        part = Performer(D, H, "encoder_self", n_features=64).double()
        of_q, of_k = (part.features(x, None, is_query=False)[0] for x in (q, k))
        estimates.append((of_q * of_k).mean())
        as_query = part.features(q, None, is_query=True)[0]
        torch.testing.assert_close(as_query, of_q / of_q.sum())
    found = torch.stack(estimates)
    expected = math.exp(float((q * k).sum()) / math.sqrt(DH))
    error = found.std() / math.sqrt(len(found))
    assert abs(found.mean() - expected) < 4 * error < 0.2 * expected


def test_performer_comes_to_softmax_attention_as_features_grow() -> None:
    torch.manual_seed(0)
    q, k, v = 0.3 * noise(1, H, 5, DH), 0.3 * noise(1, H, 7, DH), noise(1, H, 7, DH)
    expected = softmax_attention(q, k, v)
    errors = []
    for n_features in (16, 144, 1296):
        squares = []
        for seed in range(20):
            torch.manual_seed(seed)
            part = Performer(D, H, "encoder_self", n_features=n_features).double()
            of_q, of_k = part.features(q, None, True), part.features(k, None, False)
            weights = of_q[0] @ of_k[0].mT
            squares.append((weights / weights.sum(-1, keepdim=True) @ v - expected).square().mean())
        errors.append(float(torch.stack(squares).mean().sqrt()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2], errors
    assert 6 < errors[0] / errors[2] < 13.5  # 9 for an error that falls like the root


def test_performer_with_many_features_is_multi_head() -> None:
    part, plain = made("performer", n_features=20000), made("multi_head")
    plain.load_state_dict({key: value for key, value in part.state_dict().items() if key != "directions"})
    x = 0.5 * noise(2, 6, D)
    causal = AttentionContext(PositionalEncoding(), torch.arange(6)[None], torch.arange(6)[None], is_causal=True)
    torch.testing.assert_close(part(x, None, causal), plain(x, None, causal), rtol=0.02, atol=0.02)


def test_performers_directions_are_orthogonal_and_as_long_as_gaussians() -> None:
    torch.manual_seed(0)
    blocks = Performer(256, 4, "cross", n_features=640).directions.double().view(10, 64, 64)
    lengths = blocks.norm(dim=-1)
    torch.testing.assert_close(blocks @ blocks.mT, torch.diag_embed(lengths.square()), rtol=1e-4, atol=1e-4)
    assert abs(lengths.square().mean() - 64) < 3
    assert lengths.std() > 0.3
    assert Performer(D, H, "cross", n_features=7).directions.shape == (7, 4)


def test_performers_directions_come_from_the_seed_and_stay_with_the_weights() -> None:
    def model(seed: int) -> Transformer:
        stacks = StackSpec.uniform(1, attention="performer"), StackSpec.uniform(1, cross_attention="performer")
        return Transformer(
            ModelSpec(*stacks, source_vocabulary=9, target_vocabulary=9, d_model=D, n_heads=H, seed=seed)
        )

    key = "encoder.layers.0.self_attention.directions"
    one, again, other = (model(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(one[key], again[key])
    assert not torch.equal(one[key], other[key])
    assert not torch.equal(one[key], one["decoder.layers.0.cross_attention.directions"])


def test_performer_stays_in_float32s_range() -> None:
    torch.manual_seed(0)
    part = Performer(512, 2, "encoder_self", n_features=64)
    direction = part.directions[0] / part.directions[0].norm()
    for size in (1.0, 30.0, 1000.0):
        x = (direction * size).expand(1, 2, 3, 256)
        for is_query in (False, True):
            assert torch.isfinite(part.features(x, None, is_query)[0] * 1e3).all()


@pytest.mark.parametrize("site", ["encoder_self", "decoder_self"])
@pytest.mark.parametrize("n_tokens", [3, 6])
def test_cosformer_is_its_definition(site: str, n_tokens: int) -> None:
    part: CosFormer = made("cosformer", site)
    part.max_length = 10
    x, tokens = noise(3, n_tokens, D), LEFT[:, -n_tokens:]

    def score(q: Tensor, k: Tensor, t: int, s: int) -> float:
        return sum(max(a, 0) * max(b, 0) for a, b in zip(q.tolist(), k.tolist(), strict=True)) * math.cos(
            math.pi / 2 * (t - s) / 10
        )

    with torch.no_grad():
        part.input.bias[: 2 * D] += 1.0  # no query is left without a feature
        expected = by_scores(part, x, None, tokens, score, score)
        y = part(x, None, around(n_tokens, tokens=tokens))
    torch.testing.assert_close(y[tokens], expected[tokens])


def test_cosformer_knows_distances_only() -> None:
    part: CosFormer = made("cosformer", "encoder_self")
    x = noise(2, 5, D)
    here = around(5)
    there = AttentionContext(here.positions, here.query_positions + 100, here.key_positions + 100)
    torch.testing.assert_close(part(x, None, here), part(x, None, there))
    part.max_length = 5
    swapped = part(x[:, [1, 0, 2, 3, 4]], None, here)
    assert (swapped - part(x, None, here))[:, 2:].abs().max() > 1e-4


def test_cosformer_refuses_longer_sentences() -> None:
    part = CosFormer(D, H, "decoder_self", max_length=5)
    part(torch.randn(1, 5, D), None, around(5))
    with pytest.raises(ValueError, match=r"'cosformer' knows 5 positions .* but a sentence has 6"):
        part(torch.randn(1, 6, D), None, around(6))
    cache = part.new_cache(1, 9)
    one = AttentionContext(PositionalEncoding(), torch.tensor([[5]]), torch.arange(6)[None])
    with pytest.raises(ValueError, match="a sentence has 6"):
        part(torch.randn(1, 1, D), None, one, cache)


def test_cosformer_without_a_positive_feature_gives_zero_and_no_nan() -> None:
    part: CosFormer = made("cosformer")
    with torch.no_grad():
        part.input.bias[:D] = -1e3
        part.output.bias.zero_()
    x = noise(2, 5, D).requires_grad_()
    y = part(x, None, around(5))
    y.sum().backward()
    assert not y.any()
    assert x.grad is not None and torch.isfinite(x.grad).all()


# Convolutions


def gated(part: Any, x: Tensor) -> Tensor:
    value, gate = (x @ part.input.weight.T + part.input.bias).chunk(2, dim=-1)
    return value * torch.sigmoid(gate)


@pytest.mark.parametrize("n_tokens", [1, 5, 40, 300])
@pytest.mark.parametrize(("is_causal", "kernel_size"), [(True, 1), (True, 4), (True, 7), (False, 7), (False, 4)])
def test_light_conv_is_a_grouped_convolution(is_causal: bool, kernel_size: int, n_tokens: int) -> None:
    torch.manual_seed(0)
    part = LightConv(D, H, is_causal, kernel_size=kernel_size).double()
    x = noise(2, n_tokens, D)
    left = kernel_size - 1 if is_causal else kernel_size // 2
    padded = nn.functional.pad(gated(part, x).mT, (left, kernel_size - 1 - left))
    weight = part.weight.softmax(-1).repeat_interleave(DH, dim=0)[:, None]
    mixed = nn.functional.conv1d(padded, weight, groups=D).mT
    expected = mixed @ part.output.weight.T + part.output.bias
    torch.testing.assert_close(part(x, None, around(n_tokens)), expected)


@pytest.mark.parametrize("is_causal", [True, False])
def test_dynamic_conv_is_its_definition(is_causal: bool) -> None:
    torch.manual_seed(0)
    part = DynamicConv(D, H, is_causal, kernel_size=3).double()
    x = noise(3, 6, D)
    u = gated(part, x)
    left = 2 if is_causal else 1
    mixed = torch.zeros_like(u)
    for b in range(3):
        for t in range(6):
            for h in range(H):
                logits = part.kernel.weight[3 * h : 3 * h + 3] @ u[b, t]
                for j, weight in enumerate(logits.softmax(0)):
                    s = t + j - left
                    if 0 <= s < 6 and LEFT[b, s]:
                        mixed[b, t, h * DH : (h + 1) * DH] += weight * u[b, s, h * DH : (h + 1) * DH]
    expected = mixed @ part.output.weight.T + part.output.bias
    torch.testing.assert_close(part(x, None, around(6, tokens=LEFT))[LEFT], expected[LEFT])


def test_dynamic_conv_with_constant_kernels_is_light_conv() -> None:
    torch.manual_seed(0)
    dynamic, light = (cls(D, H, True, kernel_size=5).double() for cls in (DynamicConv, LightConv))
    light.load_state_dict(
        {**{k: v for k, v in dynamic.state_dict().items() if k != "kernel.weight"}, "weight": light.weight}
    )
    with torch.no_grad():
        # One channel of u made 1 everywhere: its column of the kernel's map is a constant.
        for part in (dynamic, light):
            part.input.weight[[0, D]], part.input.bias[0], part.input.bias[D] = 0.0, 1.0, 1e4
        dynamic.kernel.weight.zero_()
        dynamic.kernel.weight[:, 0] = light.weight.flatten()
    x = noise(2, 9, D)
    torch.testing.assert_close(dynamic(x, None, around(9)), light(x, None, around(9)))


@pytest.mark.parametrize("name", ["light_conv", "dynamic_conv"])
def test_weight_dropout_drops_normalised_weights_in_training_only(name: str) -> None:
    part = made(name, "encoder_self", kernel_size=1, weight_dropout=0.5)
    nn.init.eye_(part.output.weight)
    nn.init.zeros_(part.output.bias)
    x = noise(4, 50, D)
    u = gated(part, x)
    torch.testing.assert_close(part(x, None, around(50)), u)
    # The kernel's one weight is 1: a head gets u doubled, or nothing.
    kept = (part.train()(x, None, around(50)) / u).view(-1, H, DH)
    torch.testing.assert_close(kept, kept[..., :1].round().expand_as(kept))
    assert set(kept.round().unique().tolist()) <= {0.0, 2.0}
    if name == "dynamic_conv":
        assert abs(kept.mean() - 1.0) < 0.15  # every token's kernel is drawn for itself
    else:
        torch.testing.assert_close(kept, kept[:1].expand_as(kept))


# What can't be built


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("average", {"expansion": -1}, "`expansion` must be 0 or more, but is -1"),
        ("performer", {"n_features": 0}, "`n_features` must be 1 or more, but is 0"),
        ("light_conv", {"kernel_size": 0}, "`kernel_size` must be 1 or more, but is 0"),
        ("dynamic_conv", {"weight_dropout": 1.0}, r"`weight_dropout` must be in \[0, 1\), but is 1.0"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made(name, **options)


def test_convolutions_need_heads_that_divide() -> None:
    with pytest.raises(ValueError, match=r"`d_model` must be divisible by `n_heads` \(3\), but is 16"):
        LightConv(16, 3, True)
