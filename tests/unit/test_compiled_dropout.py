"""Dropout in compiled layers draws other numbers than in eager ones: as many are dropped, and the backward pass drops the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recambio.components.dropout import Dropout
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.compilation import compile_layers

V, DRAWS = 20, 300
G = torch.Generator().manual_seed(3)
SOURCE, TARGET = torch.randint(4, V, (6, 9), generator=G), torch.randint(4, V, (6, 8), generator=G)
WEIGHTS = torch.randn(6, 8, 16, dtype=torch.float64, generator=G)


def drawn(model: Transformer, seed: int) -> Tensor:
    """The decoder's output after that seed, as :meth:`TranslationModule.training_step` sets it."""
    torch.manual_seed(seed)
    hidden: Tensor = model(SOURCE, TARGET)[0]
    return hidden


def many(model: Transformer) -> Tensor:
    return torch.stack([drawn(model, seed).detach() for seed in range(DRAWS)])


def compare(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Mean squared z score of the elements' means, which is 1 for draws from one distribution, and the ratio of the variances."""
    z2 = (one.mean(0) - other.mean(0)).square() / ((one.var(0) + other.var(0)) / DRAWS)
    return float(z2.mean()), float(one.var(0).mean() / other.var(0).mean())


@pytest.mark.slow  # two layers are compiled
def test_compiled_dropout_has_the_share_the_scale_and_the_gradient_of_dropout() -> None:
    encoder, decoder = StackSpec.uniform(1), StackSpec.uniform(1, cross_attention="multi_head")
    made = Transformer(ModelSpec(encoder, decoder, V, V, d_model=16, n_heads=2, d_ff=32, dropout=0.3)).double().train()
    # What stands before the layers isn't compiled, and would drown their part.
    made.encoder.dropout.p = made.decoder.dropout.p = 0.0
    eager = many(made)
    inside = [m for m in made.modules() if isinstance(m, Dropout) and m.p]
    for module in inside:
        module.p = 0.27
    _, ratio = compare(many(made), eager)
    assert ratio < 0.93, "else what follows couldn't tell 0.3 from 0.27"
    for module in inside:
        module.p = 0.3
    torch._dynamo.reset()
    compile_layers(made)
    compiled = many(made)
    z2, ratio = compare(compiled, eager)
    assert 0.7 < z2 < 1.4 and 0.95 < ratio < 1.05
    assert len({float(x[0, 0, 0]) for x in compiled}) == DRAWS, "each seed drops others"
    assert torch.equal(drawn(made, 5), compiled[5]), "and the same ones again"

    parameters = [p for p in made.parameters() if p.requires_grad]
    gradients = torch.autograd.grad((drawn(made, 5) * WEIGHTS).sum(), parameters, allow_unused=True)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=G) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True) if g is not None)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=sign * 1e-6)
        ends.append((drawn(made, 5).detach() * WEIGHTS).sum())
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.sub_(d, alpha=sign * 1e-6)
    assert_close(torch.as_tensor(slope).detach(), (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-6)
