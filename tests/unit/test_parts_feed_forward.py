"""Feed-forwards against naive loops and torch's own convolution."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from recambio import registry
from recambio.components.context import TokenContext, WithLosses
from recambio.components.feed_forward.mixture_of_experts import grouped
from recambio.model import ModelSpec, StackSpec, Transformer

registry.load_builtins()

D, F = 8, 12


def part(name: str, is_causal: bool = False, **options: Any) -> nn.Module:
    """In float64 and in evaluation, with weights of order 1."""
    torch.manual_seed(1)
    site = "decoder_feed_forward" if is_causal else "encoder_feed_forward"
    module: nn.Module = registry.FEED_FORWARD.create(
        {"name": name, **options}, d_model=D, d_ff=F, activation="relu", is_causal=is_causal, site=site, layer_index=3
    )
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module.double().eval()


def whole(x: Tensor, tokens: Tensor | None = None) -> TokenContext:
    return TokenContext(torch.arange(x.shape[1])[None], tokens)


# ------------------------------------------------------------------------------------------------ conv


def convolved(module: Any, x: Tensor, is_causal: bool, k: int) -> Tensor:
    """One row (T, D) through torch's convolutions, whose kernels are (out, in, k)."""
    left = k - 1 if is_causal else (k - 1) // 2
    y = x.T[None]
    for layer in (module.inner, module.output):
        kernel = layer.weight.view(layer.out_features, k, -1).transpose(1, 2)
        y = nn.functional.conv1d(nn.functional.pad(y, (left, k - 1 - left)), kernel, layer.bias)
        y = y.relu() if layer is module.inner else y
    return y[0].T


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_conv_is_two_convolutions_over_the_tokens_of_a_row(k: int, is_causal: bool) -> None:
    module = part("conv", is_causal, kernel_size=k)
    x = torch.randn(3, 7, D, dtype=torch.float64)
    tokens = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1]]).bool()
    y = module(x, whole(x, tokens))
    for row, real in zip(range(3), tokens, strict=True):
        assert_close(y[row][real], convolved(module, x[row][real], is_causal, k))


@pytest.mark.parametrize("is_causal", [False, True])
def test_conv_sees_its_neighbours_neighbours_and_no_further(is_causal: bool) -> None:
    module = part("conv", is_causal, kernel_size=3)
    x = torch.randn(1, 11, D, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x, whole(x))[0, 5].sum(), x)
    seen = gradient[0].abs().sum(-1).nonzero()[:, 0].tolist()
    assert seen == ([1, 2, 3, 4, 5] if is_causal else [3, 4, 5, 6, 7])


def test_conv_of_one_token_is_the_mlp() -> None:
    conv, mlp = part("conv", kernel_size=1), part("mlp")
    mlp.load_state_dict(conv.state_dict())
    x = torch.randn(2, 5, D, dtype=torch.float64)
    assert_close(conv(x, whole(x)), mlp(x, whole(x)))


# ------------------------------------------------------------------------------------------------ mixture of experts


def mixed(module: Any, token: Tensor, n_active: int, n_shared: int) -> Tensor:
    """One token (D,), expert by expert."""
    e = module.router.weight.shape[0]
    inner, output = module.inner.weight.view(e, -1, D), module.output.weight.view(e, D, -1)
    odds = [
        math.exp(sum(w * x for w, x in zip(row, token.tolist(), strict=True))) for row in module.router.weight.tolist()
    ]
    p = [o / sum(odds) for o in odds]
    best = sorted(range(e), key=lambda i: -p[i])[:n_active]
    scale = sum(p[i] for i in best) if n_active > 1 else 1.0
    y = sum(p[i] / scale * (output[i] @ (inner[i] @ token).relu()) for i in best)
    if n_shared:
        y = y + module.shared_output.weight @ (module.shared_inner.weight @ token).relu()
    return y  # type: ignore[return-value]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_active": 1},
        {"n_experts": 3, "n_active": 3, "d_expert": 5},
        {"n_experts": 5, "n_shared": 2, "d_expert": 4},
    ],
)
def test_mixture_is_the_weighted_sum_of_the_chosen_experts(options: dict[str, int]) -> None:
    module = part("mixture_of_experts", **options)
    x = torch.randn(2, 9, D, dtype=torch.float64)
    y = module(x, whole(x))
    for b in range(2):
        for t in range(9):
            assert_close(y[b, t], mixed(module, x[b, t], options.get("n_active", 2), options.get("n_shared", 0)))


def test_mixture_of_equal_experts_is_one_of_them() -> None:
    module = part("mixture_of_experts")
    with torch.no_grad():
        for maps in (module.inner, module.output):
            maps.weight.copy_(maps.weight[: len(maps.weight) // 8].repeat(8, 1))  # type: ignore[operator,index,union-attr,arg-type]
    mlp = part("mlp", bias=False)
    mlp.load_state_dict({"inner.weight": module.inner.weight[:F], "output.weight": module.output.weight[:D]})  # type: ignore[index,union-attr]
    x = torch.randn(2, 9, D, dtype=torch.float64)
    assert_close(module(x, whole(x)), mlp(x, whole(x)))


def test_mixture_gives_every_expert_a_gradient_also_where_nobody_chose_it() -> None:
    module: Any = part("mixture_of_experts")
    x = torch.randn(1, 1, D, dtype=torch.float64)
    module(x, whole(x)).sum().backward()
    assert (module.inner.weight.grad.view(8, -1).abs().sum(1) > 0).sum() == 2
    assert all(p.grad is not None for p in module.parameters())
    empty = torch.zeros(1, 1, dtype=torch.bool)
    module.zero_grad()
    module(x, whole(x, empty)).sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in module.parameters())


def test_mixture_of_one_expert_teaches_its_router() -> None:
    module: Any = part("mixture_of_experts", n_active=1)
    x = torch.randn(2, 9, D, dtype=torch.float64)
    module(x, whole(x)).square().sum().backward()
    assert bool(module.router.weight.grad.any())


def test_mixture_losses_are_those_of_the_papers_over_real_tokens() -> None:
    module: Any = part("mixture_of_experts", balance=0.5, router_z=0.25).train()
    x = torch.randn(3, 6, D, dtype=torch.float64)
    tokens = torch.tensor([[1] * 6, [1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]]).bool()
    out = module(x, whole(x, tokens))
    assert isinstance(out, WithLosses)
    real = x[tokens]
    n = len(real)
    logits = real @ module.router.weight.T
    p = logits.exp() / logits.exp().sum(-1, keepdim=True)
    shares = torch.zeros(8, dtype=torch.float64)
    for row in p:
        for e in sorted(range(8), key=lambda i: -row[i].item())[:2]:
            shares[e] += 1 / (2 * n)
    balance = 0.5 * 8 * sum(shares[e] * p[:, e].mean() for e in range(8))
    z = 0.25 * sum(row.exp().sum().log() ** 2 for row in logits) / n
    assert set(out.losses) == {"feed_forward.3.balance", "feed_forward.3.router_z"}
    for name, expected in (("balance", balance), ("router_z", z)):
        value, count = out.losses[f"feed_forward.3.{name}"]
        assert count == n
        assert_close(value / count, expected)


def test_mixture_balance_is_one_where_the_router_is_fair_and_many_where_it_is_not() -> None:
    module: Any = part("mixture_of_experts", n_active=1, balance=1.0).train()
    x = torch.randn(1, 1, D, dtype=torch.float64).expand(1, 6, D)
    for scale, expected in ((0.0, 1.0), (1e4, 8.0)):
        with torch.no_grad():
            module.router.weight.mul_(0).add_(scale * torch.eye(8, dtype=torch.float64))
        value, count = module(x, whole(x)).losses["feed_forward.3.balance"]
        assert_close((value / count).item(), expected)


def test_mixture_without_weights_has_no_losses_and_evaluation_none_at_all() -> None:
    x = torch.randn(1, 4, D, dtype=torch.float64)
    module = part("mixture_of_experts", balance=0.0, router_z=0.0)
    assert isinstance(module(x, whole(x)), Tensor)
    assert module.train()(x, whole(x)).losses == {}


def test_mixture_losses_of_layers_stay_apart_and_follow_the_rule_of_tokens() -> None:
    """Each layer's loss counts for itself, and a z-loss summed over pieces of a batch is that of the batch."""
    node = {"name": "mixture_of_experts", "balance": 0.0}
    spec = ModelSpec(
        StackSpec.uniform(1),
        StackSpec.uniform(2, cross_attention="multi_head", feed_forward=node),
        source_vocabulary=11,
        target_vocabulary=11,
        d_model=8,
        n_heads=2,
        d_ff=12,
        dropout=0.0,
    )
    model = Transformer(spec).double().train()
    source, target = torch.randint(1, 11, (4, 5)), torch.randint(1, 11, (4, 6))
    tokens = torch.arange(6) < torch.tensor([6, 2, 3, 5])[:, None]
    _, losses = model(source, target, None, tokens)
    assert list(losses) == ["decoder.feed_forward.0.router_z", "decoder.feed_forward.1.router_z"]
    for name, (value, count) in losses.items():
        assert count == 16
        parts = [model(source[rows], target[rows], None, tokens[rows])[1][name] for rows in (slice(0, 1), slice(1, 4))]
        assert_close(sum(v for v, _ in parts), value)
        assert sum(int(c) for _, c in parts) == 16


def test_mixture_chooses_in_float32() -> None:
    """Two experts that bfloat16 can't tell apart."""
    module: Any = part("mixture_of_experts", n_experts=2, n_active=1).float()
    with torch.no_grad():
        module.router.weight.copy_(torch.tensor([1.0, 1.001])[:, None].expand(2, D))
        module.inner.weight.fill_(1.0)
        module.output.weight[:D], module.output.weight[D:] = -1.0, 1.0
    x = torch.ones(1, 1, D)
    with torch.autocast("cpu", torch.bfloat16):
        assert bool((module(x, whole(x)) > 0).all())


@pytest.mark.parametrize("load", [[3, 0, 5, 2], [0, 0, 10, 0], [2, 2, 2, 2], [0, 0, 0, 0]])
@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
        ),
    ],
)
def test_grouped_product_is_one_product_a_group(load: list[int], device: str) -> None:
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    rows = torch.randn(10, 16, device=device).to(dtype).requires_grad_()
    weights = torch.randn(4, 24, 16, device=device).to(dtype).requires_grad_()
    y = grouped(rows, weights, torch.tensor(load, device=device))
    groups = [g for g, n in enumerate(load) for _ in range(n)]
    groups += [3] * (10 - len(groups))  # padding goes with the last
    expected = torch.stack([weights[g] @ row for g, row in zip(groups, rows, strict=True)])
    tolerance = {"rtol": 2e-2, "atol": 5e-2} if device == "cuda" else {}
    assert_close(y, expected, **tolerance)  # type: ignore[arg-type]
    upstream = torch.randn_like(y)
    for ours, theirs in zip(
        torch.autograd.grad(y, (rows, weights), upstream),
        torch.autograd.grad(expected, (rows, weights), upstream),
        strict=True,
    ):
        assert_close(ours, theirs, **tolerance)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ none


def test_none_adds_nothing_yet_passes_a_gradient() -> None:
    norm = nn.LayerNorm(D).double()
    x = torch.randn(2, 5, D, dtype=torch.float64)
    y = part("none")(norm(x), whole(x))
    assert_close(y, torch.zeros_like(x))
    y.sum().backward()
    assert norm.weight.grad is not None and not bool(norm.weight.grad.any())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("conv", {"kernel_size": 0}, "`kernel_size` must be at least 1, but is 0"),
        ("mixture_of_experts", {"n_active": 9}, r"`n_active` must be from 1 to `n_experts` \(8\), but is 9"),
        ("mixture_of_experts", {"n_active": 0}, "`n_active` must be from 1"),
        ("mixture_of_experts", {"n_shared": -1}, "`n_shared` must not be negative"),
        ("mixture_of_experts", {"d_expert": 0}, "`d_expert` must be at least 1"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        part(name, **options)
