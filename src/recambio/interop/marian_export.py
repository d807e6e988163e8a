"""A run as a folder of Hugging Face's `MarianMTModel`. Only the weights' and the vocabulary's formats are needed to write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recambio.components.activation import GELU, Mish, ReLU, ReLUSquared, SiLU, Tanh
from recambio.components.block import PostNorm
from recambio.components.feed_forward import MLP
from recambio.components.normalization import LayerNorm
from recambio.components.positions import Sinusoidal
from recambio.data.tokenizers import SIDES, Marian, SentencePiece
from recambio.data.tokenizers.marian import SPM_FILES, TABLE_FILE, TARGET_TABLE_FILE
from recambio.decoding.searches.beam import Beam
from recambio.experiment.translator import Translator
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
)
from recambio.model import Transformer
from recambio.model.weights import write_tensors

EPS = 1e-5
"""Of Marian's layer norms, which its config can't change."""

LONGEST = 512
"""Rows of the table of sinusoids, and so the longest sentence."""

ACTIVATIONS: dict[type[nn.Module], str] = {
    ReLU: "relu",
    SiLU: "swish",
    GELU: "gelu",
    Tanh: "tanh",
    Mish: "mish",
    ReLUSquared: "relu2",
}


def export(run: Translator, out: Path) -> list[str]:
    """Write ``config.json``, ``generation_config.json``, ``model.safetensors`` and the tokenizer's files.

    Args:
        run: The run.
        out: An empty folder.

    Returns:
        What `generate` will do otherwise than the run's own search, a line each.

    Raises:
        InputError: A part that Marian can't express; a line each.
    """
    refusals = Refusals("Marian")
    tokenizer = run.tokenizer
    known = isinstance(tokenizer, SentencePiece | Marian)
    refusals.refuse_unless(known, "data.tokenizer", f"tokenizer {type(tokenizer).__name__}", "'unigram'")
    check(run.model, refusals)
    refusals.raise_if_any()
    config = _config(run)
    _write_json(out / "config.json", config)
    generation, notes = _generation(run)
    _write_json(out / "generation_config.json", generation)
    _write_vocabulary(run, out)
    write_tensors(tensors(run.model), out / "model.safetensors", {"format": "pt"})
    return notes


def check(model: Transformer, refusals: Refusals) -> None:
    """Note every part that Marian doesn't have."""
    refuse_attentions(model, refusals)
    refuse_embedding(model, refusals)
    layouts = set()
    for name in STACKS:
        stack: Any = getattr(model, name)
        if refusals.refuse_unless(
            type(stack.positions) is Sinusoidal, f"model.{name}.positions", part_name(stack.positions), "'sinusoidal'"
        ):
            layouts.add(stack.positions.layout)
        refusals.refuse_unless(
            type(stack.block) is PostNorm, f"model.{name}.block", part_name(stack.block), "'post_norm'"
        )
    refusals.refuse_unless(
        len(layouts) < 2,
        "model.decoder.positions",
        "a `layout` of sinusoids unlike the encoder's",
        "the same `layout` in both stacks",
    )
    if all(type(getattr(model, name).block) is PostNorm for name in STACKS):
        for place, i, norm in norms_of(model):
            if refusals.refuse_unless(type(norm) is LayerNorm, place, part_name(norm), "'layer_norm'", i):
                eps: Any = norm.eps
                refusals.refuse_unless(
                    eps == EPS, place, f"normalization 'layer_norm' with eps {eps:g}", f"eps {EPS:g}", i
                )
    functions = set()
    for name, i, layer in layers_of(model):
        place, feed_forward = f"model.{name}.feed_forward", layer.feed_forward
        if refusals.refuse_unless(type(feed_forward) is MLP, place, part_name(feed_forward), "'mlp'", i):
            function = activation_name(feed_forward.activation)
            functions.add(function)
            refusals.refuse_unless(
                function is not None, f"model.{name}.activation", part_name(feed_forward.activation), "'silu'", i
            )
    refusals.refuse_unless(
        len(functions) < 2, "model.activation", "more than one function in a model", "the same one in all layers"
    )


def activation_name(activation: nn.Module) -> str | None:
    """The name that Marian's config has for a function, or None."""
    if isinstance(activation, GELU) and activation.approximate == "tanh":
        return "gelu_pytorch_tanh"
    return ACTIVATIONS.get(type(activation))


def tensors(model: Transformer) -> dict[str, Tensor]:
    """The model's weights under Marian's names, in float32.

    Marian writes all sines before all cosines. Where ours are interleaved, the axis of the residual stream is permuted in every
    matrix that reads or writes it and in the norms, which leaves the function as it is.
    """
    width = model.spec.d_model
    positions: Any = model.encoder.positions
    order = torch.arange(width)
    if positions.layout == "interleaved":
        order = torch.cat([order[::2], order[1::2]])
    found: dict[str, Tensor] = {}

    def put(name: str, m: Map, reads: bool = False, writes: bool = False) -> None:
        weight = m.weight
        bias = torch.zeros(len(weight)) if m.bias is None else m.bias
        if reads:
            weight = weight[:, order]
        if writes:
            weight, bias = weight[order], bias[order]
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, bias

    for name, i, layer in layers_of(model):
        at = f"model.{name}.layers.{i}"
        norms: Any = getattr(model, name).block.norms[i]
        sites = [("self_attn", layer.self_attention)]
        if layer.cross_attention is not None:
            sites.append(("encoder_attn", layer.cross_attention))
        for (site, attention), norm in zip(sites, norms, strict=False):
            *maps, output = attention_maps(attention)
            for role, m in zip("qkv", maps, strict=True):
                put(f"{at}.{site}.{role}_proj", m, reads=True)
            put(f"{at}.{site}.out_proj", output, writes=True)
            put(f"{at}.{site}_layer_norm", norm_map(norm), writes=True)
        inner, outer = layer.feed_forward.inner, layer.feed_forward.output
        put(f"{at}.fc1", Map(inner.weight, inner.bias), reads=True)
        put(f"{at}.fc2", Map(outer.weight, outer.bias), writes=True)
        put(f"{at}.final_layer_norm", norm_map(norms[-1]), writes=True)
    embedding: Any = model.embedding
    if embedding.tie == "all":
        found["model.shared.weight"] = embedding.source.weight[:, order]
    else:
        found["model.encoder.embed_tokens.weight"] = embedding.source.weight[:, order]
        found["model.decoder.embed_tokens.weight"] = embedding.target.weight[:, order]
    weight, bias = embedding.output()
    if embedding.tie == "none":
        found["lm_head.weight"] = weight[:, order]
    found["final_logits_bias"] = (torch.zeros(len(weight)) if bias is None else bias)[None]
    return {name: t.detach().float().cpu().contiguous().clone() for name, t in found.items()}


def _config(run: Translator) -> dict[str, Any]:
    model, tokenizer = run.model, run.tokenizer
    spec, embedding = model.spec, model.embedding
    first: Any = model.encoder.layers[0]
    tie = getattr(embedding, "tie", "all")
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "dtype": "float32",
        "is_encoder_decoder": True,
        "d_model": spec.d_model,
        "encoder_layers": spec.encoder.n_layers,
        "decoder_layers": spec.decoder.n_layers,
        "encoder_attention_heads": spec.n_heads,
        "decoder_attention_heads": spec.n_heads,
        "encoder_ffn_dim": spec.d_ff,
        "decoder_ffn_dim": spec.d_ff,
        "activation_function": activation_name(first.feed_forward.activation),
        "dropout": spec.dropout,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "scale_embedding": getattr(embedding, "scale", 1.0) != 1.0,
        "static_position_embeddings": True,
        "normalize_before": False,
        "normalize_embedding": False,
        "add_final_layer_norm": False,
        "max_position_embeddings": LONGEST,
        "vocab_size": spec.source_vocabulary,
        "decoder_vocab_size": spec.target_vocabulary,
        "share_encoder_decoder_embeddings": tie == "all",
        "tie_word_embeddings": tie != "none",
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "bos_token_id": None,
        "decoder_start_token_id": tokenizer.sos_id,
        "forced_eos_token_id": None,
        "use_cache": True,
    }


def _generation(run: Translator) -> tuple[dict[str, Any], list[str]]:
    """`generate`'s defaults that come nearest to the run's search, and what is left of a difference."""
    search, tokenizer = run.search, run.tokenizer
    settings: dict[str, Any] = {
        "do_sample": False,
        "num_beams": search.width,
        "max_length": LONGEST,
        "pad_token_id": tokenizer.pad_id,
        "eos_token_id": tokenizer.eos_id,
        "decoder_start_token_id": tokenizer.sos_id,
        # A search gives the start and the padding no probability, and the rest sums to one without them.
        "suppress_tokens": sorted({tokenizer.pad_id, tokenizer.sos_id}),
        "renormalize_logits": True,
    }
    notes = []
    if isinstance(search, Beam):
        settings |= {"length_penalty": search.penalty.exponent, "early_stopping": True}
        if search.penalty.rule != "average":
            notes.append(
                "decoding.search: `generate` divides scores by |y|^a (normalize: average), not by the gnmt rule"
            )
        if search.stop != "width":
            notes.append("decoding.search: `generate` stops when `width` hypotheses have ended (stop: width)")
        if search.coverage:
            notes.append("decoding.search: `generate` knows no coverage (coverage: 0)")
    elif search.width > 1:
        notes.append(f"decoding.search: {type(search).__name__} is written as a plain beam of {search.width}")
    return settings, notes


def _write_vocabulary(run: Translator, out: Path) -> None:
    tokenizer = run.tokenizer
    models = tokenizer.models()
    for side, file in SPM_FILES.items():
        own = [file, f"tokenizer.{side}.model", "tokenizer.model"]
        (out / file).write_bytes(next(models[name] for name in own if name in models))
    sizes = {"source": tokenizer.source_vocabulary_size, "target": tokenizer.target_vocabulary_size}
    pieces = {side: tokenizer.pieces(range(sizes[side]), side) for side in SIDES}
    _write_json(out / TABLE_FILE, {piece: i for i, piece in enumerate(pieces["source"])})
    if not tokenizer.is_joint:
        _write_json(out / TARGET_TABLE_FILE, {piece: i for i, piece in enumerate(pieces["target"])})
    special = {f"{name}_token": pieces["target"][getattr(tokenizer, f"{name}_id")] for name in ("pad", "unk", "eos")}
    _write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "MarianTokenizer",
            "source_lang": "en",
            "target_lang": "es",
            **special,
            "model_max_length": LONGEST,
            "separate_vocabs": not tokenizer.is_joint,
            "clean_up_tokenization_spaces": False,
        },
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
