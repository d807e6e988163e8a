"""The package's own dropout: the right share, the right scale, reproducible."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recambio.components.dropout import Dropout, keep_mask


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_expectation(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    n = 400_000
    mask = keep_mask(torch.empty(n, dtype=dtype), p).float()
    share = float((mask == 0).float().mean())
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5 + 1 / 65536)
    kept = mask[mask != 0]
    assert bool((kept == kept[0]).all())
    assert float(kept[0]) == pytest.approx(1 / (1 - p), rel=1e-4 if dtype == torch.float32 else 1e-2)


def test_neighbours_are_independent() -> None:
    """Four elements share a draw of 64 bits; they must not share its fate."""
    torch.manual_seed(1)
    dropped = (keep_mask(torch.empty(100_000, 4), 0.5) == 0).double()
    assert torch.corrcoef(dropped.T).fill_diagonal_(0).abs().max() < 0.02


@given(st.lists(st.integers(0, 7), min_size=0, max_size=4))
def test_any_shape(shape: list[int]) -> None:
    assert keep_mask(torch.empty(shape), 0.3).shape == torch.Size(shape)


def test_seeded_identical_and_off_in_evaluation() -> None:
    layer, x = Dropout(0.4), torch.randn(64, 64)
    torch.manual_seed(5)
    first = layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert layer.eval()(x) is x


def test_the_gradient_passes_where_the_value_does() -> None:
    x = torch.randn(1000, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)


def test_a_probability_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`dropout` must be in \[0, 1\)"):
        Dropout(1.0)
