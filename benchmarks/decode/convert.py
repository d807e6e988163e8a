"""The benchmark's model as CTranslate2 reads it, through that package's own specification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.ours import Ours
from benchmarks.peers.sizes import EOS, PAD, SOS, Size
from benchmarks.peers.weights import embedding, layers, stir

POSITIONS = 128


def convert(size: Size, out: Path) -> None:
    """Write the stirred model, float32; the engine quantises when it loads.

    PAD, SOS and EOS get a bias of -inf, so that every output is as long as it may be.
    """
    import ctranslate2

    ours = Ours(size)
    stir(ours.model)
    spec = ctranslate2.specs.TransformerSpec.from_config(
        (size.n_layers, size.n_layers), size.n_heads, pre_norm=False, activation=ctranslate2.specs.Activation.RELU
    )
    table = ours.model.decoder.positions.add_to_embeddings(
        torch.zeros(1, POSITIONS, size.d_model), torch.arange(POSITIONS)[None]
    )[0]
    for stack in (spec.encoder, spec.decoder):
        stack.scale_embeddings = float(size.d_model) ** 0.5
        stack.position_encodings.encodings = _array(table)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = _array(embedding(ours))
    bias = torch.zeros(size.vocabulary)
    bias[[PAD, SOS, EOS]] = -torch.inf
    spec.decoder.projection.weight, spec.decoder.projection.bias = _array(embedding(ours)), _array(bias)
    for name, i, layer in layers(ours):
        to, norms = getattr(spec, name).layer[i], getattr(ours.model, name).block.norms[i]
        _linear(to.self_attention.linear[0], layer.self_attention.input)
        _linear(to.self_attention.linear[1], layer.self_attention.output)
        _norm(to.self_attention.layer_norm, norms[0])
        if name == "decoder":
            cross = layer.cross_attention
            for linear, source in zip(to.attention.linear, (cross.query, cross.memory, cross.output), strict=True):
                _linear(linear, source)
            _norm(to.attention.layer_norm, norms[1])
        _linear(to.ffn.linear_0, layer.feed_forward.inner)
        _linear(to.ffn.linear_1, layer.feed_forward.output)
        _norm(to.ffn.layer_norm, norms[-1])
    pieces = [str(i) for i in range(size.vocabulary)]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.unk_token = spec.config.eos_token = str(EOS)
    spec.config.bos_token = spec.config.decoder_start_token = str(SOS)
    spec.validate()
    spec.optimize(quantization="float32")
    out.mkdir(parents=True)
    spec.save(str(out))


def _linear(to: Any, source: Any) -> None:
    to.weight, to.bias = _array(source.weight), _array(source.bias)


def _norm(to: Any, source: Any) -> None:
    to.gamma, to.beta = _array(source.weight), _array(source.bias)


def _array(x: Tensor) -> np.ndarray[Any, Any]:
    return x.detach().numpy()
