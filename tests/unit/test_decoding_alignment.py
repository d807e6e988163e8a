"""Attention weights that are shown against the formula, and what can't be shown."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import recambio.components  # noqa: F401
from recambio.decoding.alignment import alignment_problem, cross_attention_weights
from recambio.errors import InputError
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.registry import Node

SOS, EOS, V, H = 2, 3, 19, 4


def model(cross: Node) -> Transformer:
    spec = ModelSpec(
        encoder=StackSpec.uniform(1, positions="rope"),
        decoder=StackSpec.uniform(2, positions="rope", cross_attention=cross),
        source_vocabulary=V,
        target_vocabulary=V,
        d_model=32,
        n_heads=H,
        d_ff=64,
    )
    return Transformer(spec).double().eval()


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("cross", ["multi_head", {"name": "grouped_query", "n_groups": 2}], ids=str)
def test_weights_are_the_softmax_of_scaled_products(cross: Node, layer: int) -> None:
    transformer = model(cross)
    source, target = [5, 6, 7, 8, EOS], [9, 10, 11, EOS]
    part = transformer.decoder.layers[layer].cross_attention
    seen: list[Tensor] = []
    hook = part.register_forward_pre_hook(lambda _, arguments: seen.extend(arguments[:2]))
    with torch.no_grad():
        hidden, _ = transformer(torch.tensor([source]), torch.tensor([[SOS, *target[:-1]]]))
        hook.remove()
        x, memory = seen
        q = part.query(x)[0].view(4, H, 8).transpose(0, 1)
        k = part.memory.apart(memory)[0][0].view(5, -1, 8).transpose(0, 1)
        k = k.repeat_interleave(H // len(k), dim=0)
        wanted = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), dim=-1).mean(0)
        again, _ = transformer(torch.tensor([source]), torch.tensor([[SOS, *target[:-1]]]))
    (weights,) = cross_attention_weights(transformer, source, [target], SOS, layer)
    assert weights.shape == (4, 5)
    assert_close(weights, wanted.float())
    assert_close(again, hidden, rtol=0, atol=0, msg="looking changes nothing afterwards")


@pytest.mark.parametrize("cross", ["entmax", "talking_heads", "qk_norm", "gated", "sparse_topk"])
def test_parts_that_weigh_in_their_own_way_are_shown(cross: str) -> None:
    transformer = model(cross)
    weights, _ = cross_attention_weights(transformer, [5, 6, 7, EOS], [[9, EOS], [9, 8, 7, EOS]], SOS)
    assert weights.shape == (2, 4) and bool(weights.isfinite().all())
    if cross != "talking_heads":
        assert_close(weights.sum(-1), torch.ones(2))


@pytest.mark.parametrize("cross", ["linear", "latent"])
def test_what_has_no_weights_is_refused_by_name(cross: str) -> None:
    transformer = model(cross)
    assert f"cross-attention '{cross}' doesn't compute weights" in str(alignment_problem(transformer))
    with pytest.raises(InputError, match="multi_head and grouped_query do"):
        cross_attention_weights(transformer, [5, EOS], [[6, EOS]], SOS)


def test_there_is_no_such_layer() -> None:
    assert alignment_problem(model("multi_head"), 2) == "there is no decoder layer 2; layers are 0 to 1"
