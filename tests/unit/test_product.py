"""The product under every linear map is the same function on every path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from recambio.components import product
from recambio.components.product import linear

SHAPES = [
    ((1,), 8000, 256),
    ((4,), 1024, 256),
    ((64,), 768, 256),
    ((3, 100), 256, 256),
    ((2, 5, 7), 512, 512),
    ((0,), 512, 512),
]


def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes that took oneDNN, from here on."""
    if not product._is_there():
        pytest.skip("needs an AMD processor with AVX-512")
    shapes: list[tuple[int, ...]] = []
    kernel = torch.ops.mkldnn._linear_pointwise

    def noted(x: Tensor, *rest: object) -> Tensor:
        shapes.append(tuple(x.shape))
        return kernel(x, *rest)  # type: ignore[no-any-return]

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", noted)
    return shapes


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(("rows", "n_out", "n_in"), SHAPES)
def test_without_gradients_it_is_torchs(rows: tuple[int, ...], n_out: int, n_in: int, has_bias: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(*rows, n_in), torch.randn(n_out, n_in) * n_in**-0.5
    bias = torch.randn(n_out) if has_bias else None
    with torch.no_grad():
        y = linear(x, weight, bias)
        strided = linear(x.repeat_interleave(2, -1)[..., ::2], weight, bias)
    expected = nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double()).float()
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(strided, y)


def test_gradients_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = taken(monkeypatch)
    torch.manual_seed(0)
    x, weight, bias = (t.requires_grad_() for t in (torch.randn(3, 100, 256), torch.randn(512, 256), torch.randn(512)))
    found, expected = linear(x, weight, bias), nn.functional.linear(x, weight, bias)
    grad = torch.randn_like(found)
    ours, theirs = (torch.autograd.grad(y, (x, weight, bias), grad, create_graph=True) for y in (found, expected))
    assert shapes == [(3, 100, 256), (3, 100, 512)]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    # and once more, as a penalty on gradients takes it
    again = [torch.autograd.grad(g[0].square().sum(), (weight,))[0] for g in (ours, theirs)]
    torch.testing.assert_close(again[0], again[1], rtol=1e-3, atol=1e-2)
    assert torch.autograd.grad(linear(x.detach(), weight), weight, grad)[0].shape == weight.shape


def test_what_is_large_takes_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = taken(monkeypatch)
    weight, x = torch.randn(8000, 256), torch.randn(32, 256)
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled):
            linear(x.double(), weight.double())
            linear(x.bfloat16(), weight.bfloat16())
            linear(x[:1], weight[:256])
            with torch.autocast("cpu", torch.bfloat16):
                assert linear(x, weight).dtype == torch.bfloat16
            with FlopCounterMode(display=False) as counter:
                linear(x, weight)
            assert counter.get_total_flops() == 2 * 32 * 8000 * 256
            assert not shapes
            linear(x, weight)
        assert shapes == [(32, 256)]
        shapes.clear()
