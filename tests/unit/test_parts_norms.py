"""Scale norm, dynamic tanh, no norm; squared rectifier, tanh, mish: against plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recambio.components.activation import Mish, ReLUSquared, Tanh
from recambio.components.block import PreNorm
from recambio.components.normalization import DynamicTanh, LayerNorm, NoNorm, RMSNorm, ScaleNorm
from recambio.registry import ACTIVATION, NORMALIZATION

NORMS: list[type[Any]] = [ScaleNorm, DynamicTanh, NoNorm]

# ------------------------------------------------------------------------------------------------ scale norm


@pytest.mark.parametrize("shape", [(6,), (5, 6), (4, 3, 6)])
def test_scale_norm_is_the_formula(shape: tuple[int, ...]) -> None:
    part = ScaleNorm(6).double()
    assert part.g.item() == pytest.approx(math.sqrt(6))
    with torch.no_grad():
        part.g.fill_(1.7)
    x = torch.randn(shape, dtype=torch.float64)
    y = part(x).reshape(-1, 6)
    for given_, found in zip(x.reshape(-1, 6).tolist(), y.tolist(), strict=True):
        length = math.sqrt(sum(v * v for v in given_))
        assert found == pytest.approx([1.7 * v / length for v in given_], rel=1e-12)


def test_scale_norm_starts_as_layer_norm_of_centred_tokens() -> None:
    x = torch.randn(7, 32)
    x = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close(ScaleNorm(32)(x), LayerNorm(32)(x), rtol=1e-3, atol=1e-3)


@settings(max_examples=25)
@given(scale=st.floats(1e-3, 1e6), seed=st.integers(0, 99))
def test_scale_norm_gives_every_token_the_same_length(scale: float, seed: int) -> None:
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(seed))
    part = ScaleNorm(16)
    torch.testing.assert_close(part(x * scale).norm(dim=-1), torch.full((5,), 4.0))
    torch.testing.assert_close(part(x * scale), part(x), rtol=1e-4, atol=1e-5)


def test_scale_norms_gradients_are_those_of_the_formula() -> None:
    part = ScaleNorm(5, eps=0.5).double()
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)

    def apply(x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(part, {"g": g}, (x,))

    assert torch.autograd.gradcheck(apply, (x, part.g))
    y = part(x)
    along = torch.autograd.grad(y, x, x)[0]  # the derivative towards longer tokens
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


def test_scale_norm_divides_short_tokens_by_eps() -> None:
    part = ScaleNorm(4, eps=0.1)
    x = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.03, 0.0, 0.0, 0.04]], requires_grad=True)
    y = part(x)
    torch.testing.assert_close(y, x * 20.0)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2, 4), 20.0))
    with pytest.raises(ValueError, match=r"`eps` must be above 0, but is 0\.0"):
        ScaleNorm(4, eps=0.0)


# ------------------------------------------------------------------------------------------------ dynamic tanh


def test_dynamic_tanh_is_the_formula() -> None:
    part = DynamicTanh(3, alpha=0.8).double()
    with torch.no_grad():
        part.weight.normal_()
        part.bias.normal_()
    x = 3 * torch.randn(4, 3, dtype=torch.float64)
    alpha = part.alpha.item()
    assert alpha == pytest.approx(0.8)
    for given_, found in zip(x.tolist(), part(x).tolist(), strict=True):
        expected = [
            w * math.tanh(alpha * v) + b
            for v, w, b in zip(given_, part.weight.tolist(), part.bias.tolist(), strict=True)
        ]
        assert found == pytest.approx(expected, rel=1e-12)


def test_dynamic_tanh_takes_no_statistics_and_bounds_every_number() -> None:
    part, x = DynamicTanh(8), torch.randn(5, 8)
    assert part.alpha.item() == 0.5
    changed = x.clone()
    changed[:, 3] = 1e6
    torch.testing.assert_close(part(changed)[:, :3], part(x)[:, :3], rtol=0, atol=0)
    assert part(changed).abs().max() <= 1.0
    torch.testing.assert_close(part(1e-3 * x), 0.5e-3 * x, rtol=1e-4, atol=1e-9)
    with pytest.raises(ValueError, match=r"`alpha` must be above 0, but is -1\.0"):
        DynamicTanh(8, alpha=-1.0)


# ------------------------------------------------------------------------------------------------ none


def test_no_norm_hands_on_what_it_gets() -> None:
    part = NORMALIZATION.create("none", dim=6)
    assert isinstance(part, NoNorm)
    x = torch.randn(2, 6)
    assert part(x) is x
    assert list(part.parameters()) == []


def test_a_stack_without_norms_is_its_sublayers_sum() -> None:
    block = PreNorm(2, 1, 0.0, lambda index: NoNorm(6))
    x = torch.randn(2, 5, 6)
    state = block.enter(x)
    for index in range(2):
        state = block.layer(index, state, [torch.sin])
    y = x + x.sin()
    torch.testing.assert_close(block.exit(state), y + y.sin())


# ------------------------------------------------------------------------------------------------ all norms


@pytest.mark.parametrize("norm", NORMS)
def test_norms_keep_half_precision_outside_and_float32_inside(norm: type[Any]) -> None:
    part = norm(64)
    for dtype in (torch.bfloat16, torch.float16):
        x = (torch.randn(4, 64) * 3 + 10).to(dtype)
        y, exact = part(x), part(x.float())
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), exact, rtol=2**-8, atol=1e-6)
        low = norm(64).to(dtype)
        with torch.no_grad():
            assert low(x).dtype == dtype
            torch.testing.assert_close(low(x).float(), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm, *NORMS])
def test_norms_of_a_float32_stream_stay_float32_under_autocast(norm: type[Any]) -> None:
    part = norm(64)
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(50, 64, generator=torch.Generator().manual_seed(1))
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = part(x)
            gradients = torch.autograd.grad((y * weight).sum(), [x, *part.parameters()])
        results.append((y, *gradients))
    for plain, cast in zip(*results, strict=True):
        assert cast.dtype == torch.float32
        torch.testing.assert_close(cast, plain, rtol=0, atol=0)


# ------------------------------------------------------------------------------------------------ activations


@pytest.mark.parametrize(
    ("part", "formula"),
    [
        (ReLUSquared(), lambda x: max(0.0, x) ** 2),
        (Tanh(), lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))),
        (Mish(), lambda x: x * math.tanh(math.log1p(math.exp(x)))),
    ],
    ids=["relu_squared", "tanh", "mish"],
)
def test_activations_are_their_formulas(part: nn.Module, formula: Callable[[float], float]) -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    y = part(x)
    torch.testing.assert_close(y, torch.tensor([formula(v) for v in x.tolist()], dtype=torch.float64))
    (slope,) = torch.autograd.grad(y.sum(), x)
    step = 1e-6
    expected = [(formula(v + step) - formula(v - step)) / (2 * step) for v in x.tolist()]
    torch.testing.assert_close(slope, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def test_activations_are_registered_under_their_names() -> None:
    for name, cls in (("relu_squared", ReLUSquared), ("tanh", Tanh), ("mish", Mish)):
        assert type(ACTIVATION.create(name)) is cls


def test_squares_stay_finite_in_float16() -> None:
    x = torch.tensor([-9.0, 0.5, 255.0, 255.875, 256.0, 60000.0], dtype=torch.float16, requires_grad=True)
    y = ReLUSquared()(x)
    assert y.dtype == torch.float16
    assert y.tolist() == [0.0, 0.25, 65024.0, 65472.0, 65472.0, 65472.0]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 510.0, 511.75, 0.0, 0.0]
    wide = torch.tensor([256.0, 60000.0])
    torch.testing.assert_close(ReLUSquared()(wide), wide**2)
    assert ReLUSquared()(wide.bfloat16()).tolist() == (wide.bfloat16() ** 2).tolist()


def test_squaring_is_a_gate_whose_maps_are_equal() -> None:
    """So et al. 2021: the squared rectifier of a map is ReGLU with that map as both of its own."""
    x, w = torch.randn(5, 4), torch.randn(4, 7)
    torch.testing.assert_close(ReLUSquared()(x @ w), torch.relu(x @ w) * (x @ w))


def test_mish_bends_below_zero_and_passes_above() -> None:
    x = torch.linspace(-20, 20, 4001)
    y = Mish()(x)
    assert -0.31 < y.min() < -0.30
    torch.testing.assert_close(y[x > 10], x[x > 10])
