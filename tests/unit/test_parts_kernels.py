"""The attention kernel: the fast path computes the formula, on every path, for every mask."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from recambio.components.attention import attend, attend_plain, merge_heads, split_heads
from recambio.components.context import AttentionContext
from recambio.components.positions.base import PositionalEncoding


def loops(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, bias: Tensor | None, scale: float) -> Tensor:
    """The definition, one number at a time. mask: (B, H, T, S) or None; bias likewise."""
    n_rows, n_heads, n_queries, _ = q.shape
    per_group = n_heads // k.shape[1]
    out = torch.zeros(n_rows, n_heads, n_queries, v.shape[-1], dtype=torch.float64)
    for b in range(n_rows):
        for h in range(n_heads):
            for t in range(n_queries):
                scores = {}
                for s in range(k.shape[2]):
                    if mask is None or bool(mask[b, h, t, s]):
                        score = scale * sum(
                            float(x) * float(y) for x, y in zip(q[b, h, t], k[b, h // per_group, s], strict=True)
                        )
                        scores[s] = score + (float(bias[b, h, t, s]) if bias is not None else 0.0)
                if scores:
                    top = max(scores.values())
                    total = sum(math.exp(x - top) for x in scores.values())
                    for s, x in scores.items():
                        out[b, h, t] += math.exp(x - top) / total * v[b, h // per_group, s].double()
    return out


def context(
    mask: Tensor | None = None, bias: Tensor | None = None, n_queries: int = 5, n_keys: int = 5
) -> AttentionContext:
    merged = mask if bias is None else bias if mask is None else bias.masked_fill(~mask, -math.inf)
    positions = torch.arange(n_queries)[None], torch.arange(n_keys)[None]
    return AttentionContext(PositionalEncoding(), *positions, mask=mask, bias=bias, merged=merged)


def causal(length: int) -> AttentionContext:
    order = torch.arange(length)[None]
    return AttentionContext(PositionalEncoding(), order, order, is_causal=True)


@settings(max_examples=25)
@given(
    rows=st.integers(1, 3),
    groups=st.integers(1, 3),
    per_group=st.integers(1, 3),
    n_queries=st.integers(1, 5),
    n_keys=st.integers(1, 5),
    mask_shape=st.sampled_from(["none", "key", "query", "full"]),
    bias_shape=st.sampled_from(["none", "shared", "heads", "rows"]),
    scale=st.sampled_from([None, 0.3]),
    seed=st.integers(0, 999),
)
def test_attend_is_the_formula(
    rows: int,
    groups: int,
    per_group: int,
    n_queries: int,
    n_keys: int,
    mask_shape: str,
    bias_shape: str,
    scale: float | None,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    heads = groups * per_group
    q, k = torch.randn(rows, heads, n_queries, 4), torch.randn(rows, groups, n_keys, 4)
    v = torch.randn(rows, groups, n_keys, 6)
    shapes = {"key": (rows, 1, 1, n_keys), "query": (1, 1, n_queries, n_keys), "full": (rows, 1, n_queries, n_keys)}
    mask = None if mask_shape == "none" else torch.rand(shapes[mask_shape]) < 0.6
    sizes = {"shared": (1, 1), "heads": (1, heads), "rows": (rows, heads)}
    bias = None if bias_shape == "none" else torch.randn(*sizes[bias_shape], n_queries, n_keys)
    around = context(mask, bias, n_queries, n_keys)
    full = (rows, heads, n_queries, n_keys)
    expected = loops(
        q,
        k,
        v,
        None if mask is None else mask.expand(full),
        None if bias is None else bias.expand(full),
        scale or 0.5,
    ).float()
    torch.testing.assert_close(attend(q, k, v, around, scale), expected, rtol=1e-4, atol=1e-5)
    plain, weights = attend_plain(q, k, v, around, scale)
    torch.testing.assert_close(plain, expected, rtol=1e-4, atol=1e-5)
    sums = weights.sum(-1)
    seen = torch.ones(full).bool() if mask is None else mask.expand(full)
    torch.testing.assert_close(sums, seen.any(-1).float())


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_causal_flag_is_a_triangle(groups: int) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 6, 8), torch.randn(2, groups, 6, 8), torch.randn(2, groups, 6, 8)
    triangle = torch.ones(6, 6, dtype=torch.bool).tril()[None, None]
    expected = loops(q, k, v, triangle.expand(2, 4, 6, 6), None, 8**-0.5).float()
    torch.testing.assert_close(attend(q, k, v, causal(6)), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attend_plain(q, k, v, causal(6))[0], expected, rtol=1e-4, atol=1e-5)


def test_the_causal_flag_needs_the_same_tokens() -> None:
    q, k = torch.randn(1, 2, 1, 4), torch.randn(1, 2, 5, 4)
    with pytest.raises(ValueError, match="`is_causal` needs as many queries as keys, but they are 1 and 5"):
        attend(q, k, k, causal(5))


PATHS = {"chosen": None, "math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION}
BIASES = ("bool", "bias", "learned bias")
# The fused path has no gradient of a mask: there scaled_dot_product_attention itself takes the math path.
CASES = [(path, how) for path in PATHS for how in BIASES if (path, how) != ("flash", "learned bias")]


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("path", "how"), CASES)
def test_a_query_without_keys_gets_zero_and_sends_zero(path: str, dtype: torch.dtype, how: str, groups: int) -> None:
    check_masked_rows(PATHS[path], "cpu", dtype, how, groups)


@pytest.mark.gpu
@pytest.mark.parametrize("path", [None, SDPBackend.MATH, SDPBackend.EFFICIENT_ATTENTION], ids=str)
def test_a_query_without_keys_on_a_gpu(path: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("gpu: no CUDA device")
    for dtype in (torch.float32, torch.bfloat16):
        for how in BIASES:
            for groups in (2, 4):
                check_masked_rows(path, "cuda", dtype, how, groups)


def check_masked_rows(backend: Any, device: str, dtype: torch.dtype, how: str, groups: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, heads, 16, 32, device=device).to(dtype).requires_grad_() for heads in (4, groups, groups))
    mask = torch.rand(3, 1, 16, 16, device=device) < 0.7
    mask[0, 0, 2] = False
    mask[1] = False
    bias = None if how == "bool" else torch.randn(1, 4, 16, 16, device=device, requires_grad=how == "learned bias")
    around = context(mask, bias)
    with sdpa_kernel(backend) if backend is not None else contextlib.nullcontext():
        y = attend(q, k, v, around)
        y.float().square().sum().backward()
    assert bool((y[1] == 0).all())
    assert bool((y[0, :, 2] == 0).all())
    assert q.grad is not None and k.grad is not None and v.grad is not None
    for x in (q.grad, k.grad, v.grad):
        assert bool(torch.isfinite(x).all())
        assert bool((x[1] == 0).all())
        assert bool(x.any())
    assert bool((q.grad[0, :, 2] == 0).all())
    if bias is not None and bias.grad is not None:
        assert bool(torch.isfinite(bias.grad).all())
    plain, weights = attend_plain(q, k, v, around)
    torch.testing.assert_close(y, plain, rtol=0.02, atol=1e-5 if dtype == torch.float32 else 0.03)
    assert bool((weights[1] == 0).all())
    (gradient,) = torch.autograd.grad(plain.float().square().sum(), q)
    assert bool((gradient[1] == 0).all())
    torch.testing.assert_close(gradient, q.grad, rtol=0.05, atol=1e-5 if dtype == torch.float32 else 0.1)


def test_a_float_bias_serves_a_half_precision_query() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 5, 8) for _ in range(3))
    bias = torch.randn(1, 4, 5, 5)
    expected = attend(q, k, v, context(None, bias))
    y = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), context(None, bias))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        y = attend(q, k, v, context(None, bias))
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("is_autocast", [False, True], ids=["weights", "autocast"])
def test_a_decoding_step_in_half_precision_rounds_once(groups: int, is_autocast: bool) -> None:
    """Few queries are done in float32: what differs from the formula is the rounding of the result alone."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, heads, n, 8).bfloat16() for heads, n in ((4, 2), (groups, 6), (groups, 6)))
    mask = torch.rand(3, 1, 1, 6) < 0.7
    mask[1] = False
    around = context(mask, n_queries=2, n_keys=6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        y = attend(q, k, v, around)
    expected, _ = attend_plain(q.float(), k.float(), v.float(), around)
    assert y.dtype == torch.bfloat16
    assert bool((y[1] == 0).all())
    torch.testing.assert_close(y.float(), expected, rtol=2**-8, atol=1e-6)


def test_dropout_drops_weights_and_keeps_their_mean() -> None:
    torch.manual_seed(0)
    q, k = torch.zeros(1, 1, 4000, 2), torch.zeros(1, 1, 10, 2)
    v = torch.eye(10)[None, None]
    y = attend(q, k, v, context(n_queries=4000, n_keys=10), dropout=0.25)
    assert abs((y == 0).float().mean().item() - 0.25) < 0.02
    assert abs(y.sum(-1).mean().item() - 1.0) < 0.02


def test_heads_split_and_merge() -> None:
    x = torch.randn(2, 5, 12)
    heads = split_heads(x, 3)
    assert heads.shape == (2, 3, 5, 4)
    torch.testing.assert_close(heads[:, 1, :, 2], x[:, :, 6])
    torch.testing.assert_close(merge_heads(heads), x)
