"""A run as a CTranslate2 model, through that package's own model specification."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recambio.components.activation import GELU, ReLU, SiLU, Tanh
from recambio.components.attention import RelativePositions
from recambio.components.block import PostNorm, PreNorm
from recambio.components.feed_forward import GLU, MLP
from recambio.components.normalization import LayerNorm, RMSNorm
from recambio.components.positions import ALiBi, Learned, NoPositions, PositionalEncoding, RoPE, Sinusoidal, T5Bias
from recambio.data.tokenizers import SIDES, Tokenizer
from recambio.experiment.translator import Translator
from recambio.interop.ctranslate2_import import ctranslate2
from recambio.interop.inventory import (
    STACKS,
    Map,
    Refusals,
    attention_maps,
    layers_of,
    norm_map,
    norms_of,
    part_name,
    refuse_attentions,
    refuse_embedding,
    refuse_partial_positions,
    split,
)
from recambio.model import Transformer

LONGEST = 1024
"""Rows of a table of sinusoids, and so the longest sentence with them."""

ORIGIN = "recambio.json"
"""What the model was made from."""

_ACTIVATIONS: dict[type[nn.Module], str] = {ReLU: "RELU", SiLU: "SWISH", GELU: "GELU", Tanh: "Tanh"}
_ADDED = (Sinusoidal, Learned, NoPositions)


def export(run: Translator, weights: Path, out: Path, quantization: str = "float32") -> None:
    """Write ``model.bin``, ``config.json`` and the vocabularies.

    Args:
        run: The run.
        weights: The file that its weights are from.
        out: An empty folder.
        quantization: ``float32``, ``float16`` or ``int8`` (weights; activations are quantised as they come).

    Raises:
        InputError: A part that CTranslate2 can't express, a line each; or the package is missing.
    """
    package = ctranslate2()
    refusals = Refusals("CTranslate2")
    check(run.model, refusals)
    refusals.raise_if_any()
    spec = build_spec(package, run.model, run.tokenizer)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(out))
    origin = {
        "weights": os.path.relpath(weights, run.run_dir),
        "sha256": file_digest(weights),
        "quantization": quantization,
        "longest": longest(run.model),
    }
    (out / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")


def check(model: Transformer, refusals: Refusals) -> None:
    """Note every part that CTranslate2 doesn't have."""
    refuse_attentions(model, refusals, known_in_self_attention=(RelativePositions,))
    refuse_embedding(model, refusals)
    refuse_partial_positions(model, refusals, _ADDED)
    for name in STACKS:
        stack: Any = getattr(model, name)
        refusals.refuse_unless(
            type(stack.block) in (PreNorm, PostNorm),
            f"model.{name}.block",
            part_name(stack.block),
            "'pre_norm' or 'post_norm'",
        )
        _check_positions(name, stack.positions, model.spec.d_model // model.spec.n_heads, refusals)
        _check_relative(name, stack, refusals)
        _check_feed_forwards(name, stack.layers, refusals)
    if all(type(getattr(model, name).block) in (PreNorm, PostNorm) for name in STACKS):
        _check_norms(model, refusals)


def _check_positions(name: str, positions: PositionalEncoding, width: int, refusals: Refusals) -> None:
    place = f"model.{name}.positions"
    if type(positions) is RoPE:
        refusals.refuse_unless(
            positions.scaling != "yarn", place, "positions 'rope' with scaling 'yarn'", "scaling 'linear' or 'ntk'"
        )
        # A width of nothing means all columns there.
        turns = rotated_columns(positions, width) > 0
        refusals.refuse_unless(turns, place, "positions 'rope' with a fraction that turns no column", "'none'")
    elif name == "encoder" and type(positions) is ALiBi:
        refusals.refuse(place, "positions 'alibi' in an encoder", "'t5' or 'rope'; a decoder may have 'alibi'")
    else:
        known = type(positions) in (*_ADDED, ALiBi, T5Bias)
        refusals.refuse_unless(known, place, part_name(positions), "'t5', 'rope' or 'sinusoidal'")


def _check_relative(name: str, stack: Any, refusals: Refusals) -> None:
    """An attention that knows relative positions stands in all layers of a stack there, and takes the place of its positions."""
    have = [i for i, layer in enumerate(stack.layers) if type(layer.self_attention) is RelativePositions]
    if not have:
        return
    for i in have if len(have) < len(stack.layers) else ():
        refusals.refuse(f"model.{name}.attention", "attention 'shaw' beside others", "'shaw' in all layers", i)
    what = f"{part_name(stack.positions)} beside attention 'shaw'"
    refusals.refuse_unless(type(stack.positions) is NoPositions, f"model.{name}.positions", what, "'none'")


def rotated_columns(positions: RoPE, width: int) -> int:
    """How many columns of a head are turned."""
    return int(width * positions.fraction) // 2 * 2


def _check_feed_forwards(name: str, layers: Any, refusals: Refusals) -> None:
    kinds, functions = set(), set()
    for i, layer in enumerate(layers):
        feed_forward = layer.feed_forward
        known = type(feed_forward) in (MLP, GLU)
        if refusals.refuse_unless(
            known, f"model.{name}.feed_forward", part_name(feed_forward), "'mlp', or 'glu' and its presets", i
        ):
            kinds.add(type(feed_forward))
            function = _activation(feed_forward.activation)
            functions.add(function)
            refusals.refuse_unless(
                function is not None, f"model.{name}.activation", part_name(feed_forward.activation), "'silu'", i
            )
    refusals.refuse_unless(
        len(kinds) < 2, f"model.{name}.feed_forward", "more than one kind in a stack", "the same one in all layers"
    )
    refusals.refuse_unless(
        len(functions) < 2,
        f"model.{name}.activation",
        "more than one function in a stack",
        "the same one in all layers",
    )


def _check_norms(model: Transformer, refusals: Refusals) -> None:
    kinds: dict[str, set[type]] = {}
    eps = set()
    for place, i, norm in norms_of(model):
        if refusals.refuse_unless(
            type(norm) in (LayerNorm, RMSNorm), place, part_name(norm), "'layer_norm' or 'rms_norm'", i
        ):
            kinds.setdefault(place, set()).add(type(norm))
            eps.add(norm.eps)
    for place, found in kinds.items():
        refusals.refuse_unless(
            len(found) < 2, place, "more than one kind in a stack", "'layer_norm' or 'rms_norm' in all its layers"
        )
    refusals.refuse_unless(
        len(eps) < 2, "model.normalization", "more than one eps in a model", "the same eps everywhere"
    )


def build_spec(package: Any, model: Transformer, tokenizer: Tokenizer) -> Any:
    """The model as a ``TransformerSpec``, not yet validated.

    Keys and values that a group of heads shares are written once for each head: the function is the same, the cache is larger.
    """
    specs, size = package.specs, model.spec
    shared = [_shared(specs, model, name) for name in STACKS]
    spec = specs.TransformerSpec(
        specs.TransformerEncoderSpec(size.encoder.n_layers, size.n_heads, **shared[0]),
        specs.TransformerDecoderSpec(
            size.decoder.n_layers, size.n_heads, **shared[1], alibi=type(model.decoder.positions) is ALiBi
        ),
    )
    embedding: Any = model.embedding
    for name, table in (("encoder", embedding.source), ("decoder", embedding.target)):
        stack, to = getattr(model, name), getattr(spec, name)
        to.scale_embeddings = float(embedding.scale)
        (to.embeddings[0] if name == "encoder" else to.embeddings).weight = _array(table.weight)
        if _is_relative(stack):
            continue
        if type(stack.positions) in _ADDED:
            to.position_encodings.encodings = _array(_table(stack.positions, size.d_model))
        elif hasattr(to, "position_encodings"):  # the encoder's specification has it beside rotations
            del to.position_encodings
    for name in STACKS:
        block: Any = getattr(model, name).block
        if isinstance(block, PreNorm):
            _set_norm(getattr(spec, name).layer_norm, block.final_norm)
    for name, i, layer in layers_of(model):
        norms: Any = getattr(model, name).block.norms[i]
        to = getattr(spec, name).layer[i]
        *maps, output = attention_maps(layer.self_attention)
        _set_linear(to.self_attention.linear[0], _fused(maps))
        _set_linear(to.self_attention.linear[1], output)
        _set_norm(to.self_attention.layer_norm, norms[0])
        _set_relative(to.self_attention, layer.self_attention, getattr(model, name).positions)
        if layer.cross_attention is not None:
            query, key, value, output = attention_maps(layer.cross_attention)
            for linear, m in zip(to.attention.linear, (query, _fused([key, value]), output), strict=True):
                _set_linear(linear, m)
            _set_norm(to.attention.layer_norm, norms[1])
        inner, outer = split(layer.feed_forward.inner), layer.feed_forward.output
        _set_linear(to.ffn.linear_0, inner[0])
        if len(inner) > 1:
            _set_linear(to.ffn.linear_0_noact, inner[1])
        _set_linear(to.ffn.linear_1, Map(outer.weight, outer.bias))
        _set_norm(to.ffn.layer_norm, norms[-1])
    _set_linear(spec.decoder.projection, _projection(model, tokenizer))
    sizes = {"source": size.source_vocabulary, "target": size.target_vocabulary}
    pieces = {side: tokenizer.pieces(range(sizes[side]), side) for side in SIDES}
    spec.register_source_vocabulary(pieces["source"])
    spec.register_target_vocabulary(pieces["target"])
    target = pieces["target"]
    spec.config.unk_token, spec.config.eos_token = target[tokenizer.unk_id], target[tokenizer.eos_id]
    spec.config.bos_token = spec.config.decoder_start_token = target[tokenizer.sos_id]
    spec.config.layer_norm_epsilon = next(norm.eps for _, _, norm in norms_of(model))  # type: ignore[union-attr]
    return spec


def longest(model: Transformer) -> int | None:
    """The most tokens of a sentence, EOS included; None if the positions know no limit."""
    limits = [
        stack.positions.table.num_embeddings if isinstance(stack.positions, Learned) else LONGEST
        for stack in (model.encoder, model.decoder)
        if type(stack.positions) in _ADDED
    ]
    return min(limits, default=None)


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shared(specs: Any, model: Transformer, name: str) -> dict[str, Any]:
    """What the specifications of both stacks are told alike."""
    stack: Any = getattr(model, name)
    feed_forward = stack.layers[0].feed_forward
    found: dict[str, Any] = {
        "pre_norm": isinstance(stack.block, PreNorm),
        "activation": specs.Activation[_activation(feed_forward.activation) or ""],
        "ffn_glu": isinstance(feed_forward, GLU),
        "rms_norm": isinstance(stack.block.norms[0][0], RMSNorm),
    }
    if _is_relative(stack):
        found["relative_position"] = True
    if isinstance(stack.positions, T5Bias):
        found["relative_attention_bias"] = True
    positions, width = stack.positions, model.spec.d_model // model.spec.n_heads
    if isinstance(positions, RoPE):
        rotated, base = rotated_columns(positions, width), positions.base
        if positions.scaling == "ntk" and rotated > 2:
            base *= positions.factor ** (rotated / (rotated - 2))
        found |= {"rotary_dim": rotated, "rotary_interleave": True, "rotary_base": base}
        if positions.scaling == "linear":
            linear = specs.attention_spec.RotaryScalingType.Linear
            found |= {"rotary_scaling_type": linear, "rotary_scaling_factor": positions.factor}
    return found


def _activation(activation: nn.Module) -> str | None:
    if isinstance(activation, GELU) and activation.approximate == "tanh":
        return "GELUTanh"
    return _ACTIVATIONS.get(type(activation))


def _table(positions: PositionalEncoding, width: int) -> Tensor:
    """What is added at each position, (length, D)."""
    if isinstance(positions, Learned):
        return positions.table.weight
    return positions.add_to_embeddings(torch.zeros(1, LONGEST, width), torch.arange(LONGEST)[None])[0]


def _is_relative(stack: Any) -> bool:
    return type(stack.layers[0].self_attention) is RelativePositions


def _set_relative(to: Any, attention: nn.Module, positions: PositionalEncoding) -> None:
    """The tables of positions relative to the query: the attention's own, or the stack's, which each layer has there."""
    if isinstance(positions, T5Bias):
        to.relative_attention_bias = _array(positions.weight)
        to.relative_attention_max_distance = np.int32(len(positions.buckets) - 1)
    if isinstance(attention, RelativePositions):
        keys: Tensor = attention.relative_keys
        values = torch.zeros_like(keys) if attention.relative_values is None else attention.relative_values
        # A decoder's has no rows for keys to the right; there it has, and reads none.
        missing = 2 * attention.left + 1 - len(keys)
        keys, values = (nn.functional.pad(table, (0, 0, 0, missing)) for table in (keys, values))
        to.relative_position_keys, to.relative_position_values = _array(keys), _array(values)


def _projection(model: Transformer, tokenizer: Tokenizer) -> Map:
    """The output's map; the start and the padding are never written, as in a search."""
    weight, bias = model.embedding.output()
    bias = torch.zeros(len(weight)) if bias is None else bias.detach().clone()
    bias[[tokenizer.sos_id, tokenizer.pad_id]] = float("-inf")
    return Map(weight, bias)


def _fused(maps: list[Map]) -> Map:
    biases = [m.bias for m in maps]
    has_bias = all(b is not None for b in biases)
    return Map(
        torch.cat([m.weight for m in maps]), torch.cat([b for b in biases if b is not None]) if has_bias else None
    )


def _set_linear(to: Any, m: Map) -> None:
    to.weight = _array(m.weight)
    if m.bias is not None:
        to.bias = _array(m.bias)


def _set_norm(to: Any, norm: nn.Module) -> None:
    m = norm_map(norm)
    to.gamma = _array(m.weight)
    if isinstance(norm, LayerNorm):
        to.beta = _array(torch.zeros_like(m.weight) if m.bias is None else m.bias)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().cpu().contiguous().numpy()
