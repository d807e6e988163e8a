"""Activations, normalizations, feed-forwards, blocks and embeddings against closed forms and torch's own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recambio.components.activation import GELU, ReLU, SiLU
from recambio.components.block import PostNorm, PreNorm
from recambio.components.context import TokenContext
from recambio.components.embedding import StandardEmbedding
from recambio.components.feed_forward import GLU, MLP
from recambio.components.normalization import LayerNorm, RMSNorm
from recambio.errors import InputError
from recambio.registry import EMBEDDING, FEED_FORWARD

TOKENS = TokenContext(torch.arange(5)[None])

# ------------------------------------------------------------------------------------------------ activations


@pytest.mark.parametrize(
    ("part", "formula"),
    [
        (ReLU(), lambda x: max(0.0, x)),
        (GELU(), lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
        (GELU("tanh"), lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        (SiLU(), lambda x: x / (1 + math.exp(-x))),
    ],
    ids=["relu", "gelu", "gelu-tanh", "silu"],
)
def test_activations_are_their_formulas(part: nn.Module, formula: Callable[[float], float]) -> None:
    x = torch.linspace(-6, 6, 101)
    torch.testing.assert_close(part(x), torch.tensor([formula(float(v)) for v in x]), rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------ normalizations


def test_layer_norm_is_the_formula_and_torchs() -> None:
    part = LayerNorm(6)
    with torch.no_grad():
        part.weight.normal_()
        part.bias.normal_()  # type: ignore[union-attr]
    x = torch.randn(4, 3, 6) * 3 + 1
    mean = x.mean(-1, keepdim=True)
    deviation = ((x - mean) ** 2).mean(-1, keepdim=True).add(1e-5).sqrt()
    torch.testing.assert_close(part(x), part.weight * (x - mean) / deviation + part.bias, rtol=1e-4, atol=1e-5)
    reference = nn.LayerNorm(6)
    reference.load_state_dict(part.state_dict())
    torch.testing.assert_close(part(x), reference(x))
    y = LayerNorm(6, bias=False)(x)
    torch.testing.assert_close(y.mean(-1), torch.zeros(4, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var(-1, correction=0), torch.ones(4, 3), rtol=1e-3, atol=1e-3)
    assert list(LayerNorm(6, bias=False).state_dict()) == ["weight"]
    assert LayerNorm(6, eps=0.5).eps == 0.5


@pytest.mark.parametrize("shape", [(6,), (5, 6), (4, 3, 6)])
def test_rms_norm_is_the_formula(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    part = RMSNorm(6, eps=0.01).double()
    with torch.no_grad():
        part.weight.normal_()
    x = torch.randn(shape, dtype=torch.float64)
    expected = part.weight * x / ((x**2).mean(-1, keepdim=True) + 0.01).sqrt()
    torch.testing.assert_close(part(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(part(x), expected.detach())
    torch.testing.assert_close(nn.functional.rms_norm(x, (6,), part.weight, 0.01), expected)


def test_rms_norms_own_backward_is_the_gradient() -> None:
    torch.manual_seed(0)
    part = RMSNorm(5, eps=0.1).double()
    with torch.no_grad():
        part.weight.normal_()
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, w: torch.func.functional_call(part, {"weight": w}, (x,)), (x, part.weight)
    )
    far = (torch.randn(64, 32) * 5).requires_grad_()
    ours, theirs = RMSNorm(32), RMSNorm(32)
    grad = torch.randn(64, 32)
    (ours(far) * grad).sum().backward()
    mine, far.grad = far.grad, None
    (nn.functional.rms_norm(far, (32,), theirs.weight, 1e-6) * grad).sum().backward()
    torch.testing.assert_close(mine, far.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-5)


def test_rms_norm_ignores_the_scale_and_keeps_the_mean() -> None:
    x = torch.randn(3, 8) + 2
    torch.testing.assert_close(RMSNorm(8)(x * 7), RMSNorm(8)(x), rtol=1e-4, atol=1e-5)
    assert RMSNorm(8)(x).mean().item() > 0.5


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_norms_keep_half_precision_outside_and_float32_inside(norm: type[nn.Module]) -> None:
    part: Any = norm(64)
    x = (torch.randn(4, 64) * 30 + 1000).bfloat16()
    y = part(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), part(x.float()), rtol=0.005, atol=0.005)
    low, y = part.bfloat16(), part(x)
    with torch.no_grad():
        low_y = low(x)
    assert y.dtype == low_y.dtype == torch.bfloat16
    exact = norm(64)(x.float())  # gains of one and biases of zero are exact in half precision
    for rounded in (y, low_y):
        torch.testing.assert_close(rounded.float(), exact, rtol=2**-8, atol=1e-6)


# ------------------------------------------------------------------------------------------------ feed-forwards


def test_mlp_is_its_formula() -> None:
    part = MLP(6, 10, GELU())
    x = torch.randn(2, 5, 6)
    hidden = nn.functional.gelu(x @ part.inner.weight.T + part.inner.bias)
    torch.testing.assert_close(part(x, TOKENS), hidden @ part.output.weight.T + part.output.bias)


@pytest.mark.parametrize(
    ("name", "gate"), [("swiglu", nn.functional.silu), ("geglu", nn.functional.gelu), ("reglu", nn.functional.relu)]
)
def test_glu_is_its_formula(name: str, gate: Callable[[Tensor], Tensor]) -> None:
    part = FEED_FORWARD.create(name, d_model=6, d_ff=10, activation="relu")
    assert isinstance(part, GLU)
    x = torch.randn(2, 5, 6)
    w1, v = part.inner.weight.split(10)
    torch.testing.assert_close(part(x, TOKENS), (gate(x @ w1.T) * (x @ v.T)) @ part.output.weight.T)
    assert part.inner.bias is None
    assert part.output.bias is None


def test_the_activation_is_the_models_unless_given() -> None:
    part = FEED_FORWARD.create("mlp", d_model=6, d_ff=10, activation="gelu")
    assert isinstance(part.activation, GELU)
    part = FEED_FORWARD.create({"name": "mlp", "activation": "silu"}, d_model=6, d_ff=10, activation="gelu")
    assert isinstance(part.activation, SiLU)
    with pytest.raises(InputError, match="needs 'activation'"):
        FEED_FORWARD.create("mlp", d_model=6, d_ff=10)
    with pytest.raises(InputError, match="'d_ff' comes from the model"):
        FEED_FORWARD.create({"name": "mlp", "d_ff": 3}, d_model=6, d_ff=10, activation="gelu")


@pytest.mark.parametrize("cls", [MLP, GLU])
def test_inner_dropout_acts_in_training_only(cls: Any) -> None:
    part, x = cls(6, 10, ReLU(), inner_dropout=0.5), torch.randn(2, 5, 6)
    assert not torch.equal(part(x, TOKENS), part(x, TOKENS))
    part.eval()
    assert torch.equal(part(x, TOKENS), part(x, TOKENS))
    assert torch.equal(part(x, TOKENS), copy.deepcopy(part)(x, TOKENS))


# ------------------------------------------------------------------------------------------------ blocks

LAYERS: list[list[Callable[[Tensor], Tensor]]] = [[torch.tanh, lambda x: x.flip(-1)], [torch.sin, lambda x: 2 * x]]


def run(block: Any, x: Tensor) -> Tensor:
    state = block.enter(x)
    for index, sublayers in enumerate(LAYERS):
        state = block.layer(index, state, sublayers)
    y: Tensor = block.exit(state)
    return y


def random_norm(layer_index: int | None = None) -> LayerNorm:
    norm = LayerNorm(6)
    nn.init.normal_(norm.weight)
    return norm


def test_post_norm_is_its_formula() -> None:
    block = PostNorm(2, 2, 0.0, random_norm)
    x = torch.randn(2, 5, 6)
    y = x
    for norms, sublayers in zip(block.norms, LAYERS, strict=True):
        for norm, sublayer in zip(norms, sublayers, strict=True):  # type: ignore[call-overload]
            y = norm(y + sublayer(y))
    torch.testing.assert_close(run(block, x), y)
    assert len(list(block.parameters())) == 2 * 4


def test_pre_norm_is_its_formula_with_a_final_norm() -> None:
    block = PreNorm(2, 2, 0.0, random_norm)
    x = torch.randn(2, 5, 6)
    y = x
    for norms, sublayers in zip(block.norms, LAYERS, strict=True):
        for norm, sublayer in zip(norms, sublayers, strict=True):  # type: ignore[call-overload]
            y = y + sublayer(norm(y))
    torch.testing.assert_close(run(block, x), block.final_norm(y))
    assert len(list(block.parameters())) == 2 * 5


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_layer_is_torchs_encoder_layer(norm_first: bool) -> None:
    torch.manual_seed(0)
    reference = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm_first)
    cls = PreNorm if norm_first else PostNorm
    block = cls(1, 2, 0.0, lambda index: LayerNorm(8))
    block.norms[0][0].load_state_dict(reference.norm1.state_dict())  # type: ignore[index]
    block.norms[0][1].load_state_dict(reference.norm2.state_dict())  # type: ignore[index]
    x = torch.randn(2, 5, 8)
    sublayers = [
        lambda x: reference.self_attn(x, x, x, need_weights=False)[0],
        lambda x: reference.linear2(torch.relu(reference.linear1(x))),
    ]
    torch.testing.assert_close(block.layer(0, x, sublayers), reference(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cls", [PreNorm, PostNorm])
def test_blocks_ask_for_their_norms_by_layer(cls: Any) -> None:
    asked: list[int | None] = []

    def normalization(layer_index: int | None) -> LayerNorm:
        asked.append(layer_index)
        return LayerNorm(6)

    cls(2, 3, 0.1, normalization)
    assert asked == [0, 0, 0, 1, 1, 1] + [None] * (cls is PreNorm)


@pytest.mark.parametrize("cls", [PreNorm, PostNorm])
def test_blocks_drop_what_sublayers_add(cls: Any) -> None:
    torch.manual_seed(0)
    block = cls(1, 1, 0.5, lambda index: nn.Identity())
    y = block.layer(0, torch.zeros(1, 1, 20000), [torch.ones_like])
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert y.mean().item() == pytest.approx(1.0, abs=0.03)
    assert bool((block.eval().layer(0, torch.zeros(1, 1, 5), [torch.ones_like]) == 1).all())


# ------------------------------------------------------------------------------------------------ embeddings


def embedding(tie: str, **options: Any) -> StandardEmbedding:
    node = {"name": "standard", "tie": tie, **options}
    part = EMBEDDING.create(node, d_model=16, source_vocabulary=7, target_vocabulary=7, is_joint=True)
    assert isinstance(part, StandardEmbedding)
    return part


def shared(part: StandardEmbedding) -> int:
    """How many matrices there are; all three if it is 3."""
    return len({id(p) for p in (part.source.weight, part.target.weight, part.output()[0])})


@pytest.mark.parametrize(("tie", "count"), [("none", 3), ("decoder", 2), ("all", 1)])
def test_tied_matrices_are_one_parameter_for_good(tie: str, count: int) -> None:
    part = embedding(tie)
    assert shared(part) == count
    assert sum(p.numel() for p in part.parameters()) == count * 7 * 16
    assert shared(part.to(torch.float64)) == count
    assert shared(copy.deepcopy(part)) == count
    state = {k: v.clone() for k, v in part.state_dict().items()}
    assert list(state) == ["source.weight", "target.weight", "projection.weight"]
    part.load_state_dict(state)
    assert shared(part) == count
    part.load_state_dict(state, assign=True)
    assert shared(part) == count
    holder = nn.ModuleDict({"embedding": part})
    holder.load_state_dict({f"embedding.{k}": v for k, v in state.items()}, assign=True)
    assert shared(part) == count
    before = part.output()[0].clone()
    optimizer = torch.optim.SGD(part.parameters(), 1.0)
    part.embed_target(torch.tensor([[3]])).sum().backward()
    optimizer.step()
    assert torch.equal(part.output()[0], before) == (tie == "none")


def test_presets_name_the_ties() -> None:
    for tie, count in (("none", 3), ("decoder", 2), ("all", 1)):
        part = EMBEDDING.create(tie, d_model=4, source_vocabulary=5, target_vocabulary=5, is_joint=True)
        assert shared(part) == count


def test_vectors_are_scaled_on_the_way_in_only() -> None:
    part, tokens = embedding("all"), torch.tensor([[1, 6], [0, 1]])
    for x in (part.embed_source(tokens), part.embed_target(tokens)):
        torch.testing.assert_close(x, 4.0 * part.source.weight[tokens])
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(part.project(x), x @ part.source.weight.T)
    plain = embedding("decoder", scale=False)
    torch.testing.assert_close(plain.embed_source(tokens), plain.source.weight[tokens])
    torch.testing.assert_close(plain.embed_target(tokens), plain.projection.weight[tokens])


def test_output_bias_is_an_option() -> None:
    part = embedding("all", output_bias=True)
    weight, bias = part.output()
    assert bias is not None
    assert bias.tolist() == [0.0] * 7
    with torch.no_grad():
        bias[2] = 5.0
    x = torch.randn(1, 16)
    torch.testing.assert_close(part.project(x)[0, 2], (x @ weight.T)[0, 2] + 5.0)
    assert embedding("all").output()[1] is None


def test_vocabularies_of_two_tokenizers() -> None:
    part = StandardEmbedding(4, 5, 9, is_joint=False, tie="decoder")
    assert part.embed_source(torch.tensor([[4]])).shape == (1, 1, 4)
    assert part.project(part.embed_target(torch.tensor([[8]]))).shape == (1, 1, 9)
    with pytest.raises(ValueError, match=r"`tie` 'all' needs a joint tokenizer.*tie: decoder"):
        StandardEmbedding(4, 5, 9, is_joint=False)
    with pytest.raises(InputError, match="tie: must be one of"):
        EMBEDDING.create({"name": "standard", "tie": "decodr"}, d_model=4)


def test_an_untied_output_is_drawn_and_a_tied_one_left() -> None:
    for tie in ("none", "all"):
        part = embedding(tie)
        before = part.output()[0].clone()
        part.projection.draw(lambda name: torch.Generator().manual_seed(3))
        assert torch.equal(before, part.output()[0]) == (tie == "all")
    torch.manual_seed(0)
    big = StandardEmbedding(64, 500, 500, True, tie="none")
    for weight in (big.source.weight, big.target.weight, big.projection.weight):
        assert weight.std().item() == pytest.approx(1 / 8, rel=0.03)
