"""Losses against torch's own cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from recambio.errors import InputError
from recambio.registry import LOSS
from recambio.training.losses import fused
from recambio.training.losses.fused import smoothed_cross_entropy

N, D, V, PAD = 37, 8, 23, 0


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Random vectors in float64, walked over in several uneven pieces."""
    monkeypatch.setattr(fused, "PIECE", 10)
    g = torch.Generator().manual_seed(5)
    return {
        "hidden": torch.randn(N, D, generator=g, dtype=torch.float64, requires_grad=True),
        "weight": torch.randn(V, D, generator=g, dtype=torch.float64, requires_grad=True),
        "bias": torch.randn(V, generator=g, dtype=torch.float64, requires_grad=True),
        "targets": torch.randint(1, V, (N,), generator=g),
    }


def reference(hidden, weight, bias, targets, smoothing, excluded):  # type: ignore[no-untyped-def]
    """The formula, with all logits held at once."""
    log_p = torch.log_softmax(hidden @ weight.T + bias, dim=-1)
    q = torch.zeros_like(log_p)
    allowed = [v for v in range(V) if v != excluded]
    q[:, allowed] = smoothing / len(allowed)
    q[torch.arange(N), targets] += 1 - smoothing
    return -(q * log_p).sum(), -log_p[torch.arange(N), targets].sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("excluded", [None, PAD])
def test_value_and_gradients_equal_the_formula(case, smoothing, excluded):  # type: ignore[no-untyped-def]
    loss, nll = smoothed_cross_entropy(**case, smoothing=smoothing, excluded=excluded)
    wanted, wanted_nll = reference(**case, smoothing=smoothing, excluded=excluded)
    assert_close(loss, wanted)
    assert_close(nll, wanted_nll)
    leaves = [case["hidden"], case["weight"], case["bias"]]
    # A factor as the trainer applies it: backward must scale what forward prepared.
    ours = torch.autograd.grad(loss * 0.3, leaves)
    theirs = torch.autograd.grad(wanted * 0.3, leaves)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


def test_without_exclusion_it_is_torch_label_smoothing(case):  # type: ignore[no-untyped-def]
    loss, _ = smoothed_cross_entropy(**case, smoothing=0.1)
    logits = case["hidden"] @ case["weight"].T + case["bias"]
    wanted = torch.nn.functional.cross_entropy(logits, case["targets"], label_smoothing=0.1, reduction="sum")
    assert_close(loss, wanted)


def test_no_gradient_is_prepared_where_none_is_wanted(case):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        loss, nll = smoothed_cross_entropy(**case, smoothing=0.1)
    assert not loss.requires_grad and not nll.requires_grad
    assert_close(loss, reference(**case, smoothing=0.1, excluded=None)[0].detach())


def test_nll_carries_no_gradient(case):  # type: ignore[no-untyped-def]
    _, nll = smoothed_cross_entropy(**case, smoothing=0.1)
    assert not nll.requires_grad


def test_bf16_autocast_sums_in_float32() -> None:
    g = torch.Generator().manual_seed(1)
    hidden = torch.randn(600, 64, generator=g, requires_grad=True)
    weight = torch.randn(200, 64, generator=g, requires_grad=True)
    targets = torch.randint(0, 200, (600,), generator=g)
    exact, _ = smoothed_cross_entropy(hidden, weight, None, targets, 0.1)
    wanted = torch.autograd.grad(exact, [hidden, weight])
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = smoothed_cross_entropy(hidden, weight, None, targets, 0.1)
    assert loss.dtype == torch.float32
    assert_close(loss, exact, rtol=2e-3, atol=0.0)
    for ours, theirs in zip(torch.autograd.grad(loss, [hidden, weight]), wanted, strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - theirs).norm() / theirs.norm()) < 2e-2


def test_parts_report_plain_nll_beside_the_smoothed_loss(case):  # type: ignore[no-untyped-def]
    import recambio.training  # noqa: F401

    smooth = LOSS.create("label_smoothing", pad_id=PAD)(
        **{k: v for k, v in case.items() if k != "targets"}, targets=case["targets"]
    )
    plain = LOSS.create("cross_entropy", pad_id=PAD)(
        **{k: v for k, v in case.items() if k != "targets"}, targets=case["targets"]
    )
    assert_close(smooth.nll, plain.loss.detach())
    assert float(smooth.loss) != float(plain.loss)


def test_smoothing_out_of_range_is_refused() -> None:
    import recambio.training  # noqa: F401

    with pytest.raises(ValueError, match=r"`smoothing` must be in \[0, 1\)"):
        LOSS.create({"name": "label_smoothing", "smoothing": 1.0}, pad_id=0)
    with pytest.raises(InputError, match=r"has no option 'smooting'\. Did you mean 'smoothing'"):
        LOSS.create({"name": "label_smoothing", "smooting": 0.1}, pad_id=0)
