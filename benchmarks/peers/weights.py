"""The same weights in every contender: ours are copied into the others' layouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.marian import Marian
from benchmarks.peers.ours import Ours
from benchmarks.peers.torch_loop import TorchLoop


@torch.no_grad()
def copy_to_torch(ours: Ours, theirs: TorchLoop) -> None:
    """`torch.nn.MultiheadAttention` stacks q, k and v as we do; in cross-attention we keep q apart."""
    model, other = ours.model, theirs.model
    other.embedding.weight.copy_(embedding(ours))
    for name, i, layer in layers(ours):
        stack: Any = getattr(other.transformer, name)
        peer = stack.layers[i]
        norms: Any = getattr(model, name).block.norms[i]
        self_attention = layer.self_attention
        _copy(peer.self_attn.in_proj_weight, self_attention.input.weight)
        _copy(peer.self_attn.in_proj_bias, self_attention.input.bias)
        copy_map(peer.self_attn.out_proj, self_attention.output)
        pairs = [(peer.norm1, norms[0]), (peer.norm2, norms[-1])]
        if name == "decoder":
            cross = layer.cross_attention
            _copy(peer.multihead_attn.in_proj_weight, torch.cat([cross.query.weight, cross.memory.weight]))
            _copy(peer.multihead_attn.in_proj_bias, torch.cat([cross.query.bias, cross.memory.bias]))
            copy_map(peer.multihead_attn.out_proj, cross.output)
            pairs = [(peer.norm1, norms[0]), (peer.norm2, norms[1]), (peer.norm3, norms[2])]
        copy_map(peer.linear1, layer.feed_forward.inner)
        copy_map(peer.linear2, layer.feed_forward.output)
        for to, source in pairs:
            copy_map(to, source)


@torch.no_grad()
def copy_to_marian(ours: Ours, theirs: Marian) -> None:
    """Marian writes all sines before all cosines where we interleave them, so the residual stream's axis is permuted.

    Permuting that axis in every matrix that reads or writes it, and in the norms, leaves the function as it is.
    """
    width = ours.size.d_model
    order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    inner: Any = theirs.model.model
    inner.shared.weight.copy_(embedding(ours)[:, order])
    for name, i, layer in layers(ours):
        peer = getattr(inner, name).layers[i]
        norms: Any = getattr(ours.model, name).block.norms[i]
        attention = layer.self_attention
        _copy_reading((peer.self_attn.q_proj, peer.self_attn.k_proj, peer.self_attn.v_proj), [attention.input], order)
        _copy_writing(peer.self_attn.out_proj, attention.output, order)
        _copy_norm(peer.self_attn_layer_norm, norms[0], order)
        if name == "decoder":
            cross = layer.cross_attention
            _copy_reading(
                (peer.encoder_attn.q_proj, peer.encoder_attn.k_proj, peer.encoder_attn.v_proj),
                [cross.query, cross.memory],
                order,
            )
            _copy_writing(peer.encoder_attn.out_proj, cross.output, order)
            _copy_norm(peer.encoder_attn_layer_norm, norms[1], order)
        _copy_reading((peer.fc1,), [layer.feed_forward.inner], order)
        _copy_writing(peer.fc2, layer.feed_forward.output, order)
        _copy_norm(peer.final_layer_norm, norms[-1], order)


@torch.no_grad()
def stir(model: nn.Module) -> None:
    """Change fresh weights so that what is decoded varies.

    A fresh model repeats one token for ever: the residual stream carries the token's own vector to the output, and what the
    feed-forward networks add is the same for all tokens. Equal outputs would prove nothing, and beams would never reorder.
    Few and strong inner units make the next token depend on the last ones; noise on biases and norms makes each of them
    matter.
    """
    stream = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            parameter.add_(torch.empty(parameter.shape).normal_(std=0.1, generator=stream))
        if name.endswith("feed_forward.inner.bias"):
            parameter.sub_(2.0)
        elif name.endswith("feed_forward.output.weight"):
            parameter.mul_(16.0)
        elif parameter.ndim == 2 and not name.startswith("embedding"):
            parameter.mul_(2.0)


def layers(ours: Ours) -> Iterator[tuple[str, int, Any]]:
    """Of both our stacks: the stack's name, the layer's number and its parts."""
    for name in ("encoder", "decoder"):
        for i, layer in enumerate(getattr(ours.model, name).layers):
            yield name, i, layer


def embedding(ours: Ours) -> Tensor:
    """Our one table of vectors, (V, D)."""
    weight, _ = ours.model.embedding.output()
    return weight


def _copy(to: Tensor, source: Tensor) -> None:
    if to.shape != source.shape:
        raise ValueError(f"a weight of shape {tuple(source.shape)} can't fill one of shape {tuple(to.shape)}")
    to.copy_(source)


def copy_map(to: Any, source: Any) -> None:
    """Weight and bias of a linear map or a norm."""
    _copy(to.weight, source.weight)
    _copy(to.bias, source.bias)


def _copy_reading(to: tuple[nn.Linear, ...], sources: list[nn.Linear], order: Tensor) -> None:
    """Maps from the residual stream: their input axis is permuted, and stacked maps are taken apart."""
    weight = torch.cat([s.weight for s in sources])[:, order]
    bias = torch.cat([s.bias for s in sources])
    for linear, rows, offset in zip(to, weight.chunk(len(to)), bias.chunk(len(to)), strict=True):
        _copy(linear.weight, rows)
        _copy(linear.bias, offset)


def _copy_writing(to: nn.Linear, source: nn.Linear, order: Tensor) -> None:
    """A map into the residual stream: its output axis is permuted."""
    _copy(to.weight, source.weight[order])
    _copy(to.bias, source.bias[order])


def _copy_norm(to: Any, source: Any, order: Tensor) -> None:
    _copy(to.weight, source.weight[order])
    _copy(to.bias, source.bias[order])
