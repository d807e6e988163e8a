"""A checkpoint of Hugging Face's `MarianMTModel`, as OPUS-MT publishes them, as a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recambio import registry
from recambio.config import Config
from recambio.config.build import from_dict
from recambio.data.tokenizers import Marian
from recambio.data.tokenizers.marian import IDS_FILE, SPM_FILES, TABLE_FILE, TARGET_TABLE_FILE, description
from recambio.errors import InputError
from recambio.experiment import run_folder
from recambio.experiment.build import build_model
from recambio.experiment.run_folder import Manifest
from recambio.interop.marian_export import EPS
from recambio.model import Transformer
from recambio.model.weights import read_weights, save_weights

ACTIVATIONS: dict[str, Any] = {
    "relu": "relu",
    "swish": "silu",
    "silu": "silu",
    "gelu": "gelu",
    "gelu_new": {"name": "gelu", "approximate": "tanh"},
    "gelu_pytorch_tanh": {"name": "gelu", "approximate": "tanh"},
    "tanh": "tanh",
    "mish": "mish",
    "relu2": "relu_squared",
}

_SAME = {
    "n_heads": ("encoder_attention_heads", "decoder_attention_heads"),
    "d_ff": ("encoder_ffn_dim", "decoder_ffn_dim"),
}
_NEVER = ("normalize_before", "normalize_embedding", "add_final_layer_norm")
_SINUSOID_ERROR = 1e-3


def run(path: Path, out: Path | None = None) -> Path:
    """Make a run folder of a checkpoint.

    Args:
        path: A folder with ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``, ``source.spm``, ``target.spm``, ``vocab.json``
            (and ``target_vocab.json`` where the sides have a table each).
        out: The run folder; must not exist. By default ``runs/<name of path>``, with a number where that is taken.

    Returns:
        The run folder.

    Raises:
        InputError: A file is missing or can't be read, or the checkpoint has a part that this package lacks.
    """
    registry.load_builtins()
    if out is not None and out.exists():
        raise InputError(f"--out {out}: exists already; name a new folder")
    marian = _read_json(path / "config.json")
    generation = _read_json(path / "generation_config.json", must_exist=False)
    _refuse(marian, path)
    tokenizer = read_tokenizer(path, marian)
    state, weights = _read_state(path)
    name = (out or path.resolve()).name
    config = from_dict(_config(name, marian, generation, tokenizer, "final_logits_bias" in state), check_hardware=False)
    model = build_model(config, tokenizer)
    fill(model, state, path)
    manifest = _manifest(config, model, tokenizer, weights)
    if out is None:
        folder = run_folder.create(manifest)
    else:
        out.mkdir(parents=True)
        folder = out
    config.save(folder / "config.yaml")
    tokenizer.save(folder)
    save_weights(model, folder / "weights.safetensors")
    run_folder.write_manifest(folder, manifest)
    return folder


def read_tokenizer(path: Path, marian: Mapping[str, Any]) -> Marian:
    """The checkpoint's vocabulary.

    Args:
        path: The checkpoint.
        marian: Its ``config.json``.

    Raises:
        InputError: A file is missing, or the table and the config disagree.
    """
    settings = _read_json(path / "tokenizer_config.json", must_exist=False)
    is_joint = not settings.get("separate_vocabs", False)
    files = [*SPM_FILES.values(), TABLE_FILE, *([] if is_joint else [TARGET_TABLE_FILE])]
    missing = [f for f in files if not (path / f).is_file()]
    if missing:
        raise InputError(f"{path / f}: no such file; a Marian checkpoint has {', '.join(files)}" for f in missing)
    models = {f: (path / f).read_bytes() for f in files}
    table = _read_json(path / TABLE_FILE)
    unknown = settings.get("unk_token", "<unk>")
    unknown = unknown["content"] if isinstance(unknown, Mapping) else unknown
    if unknown not in table:
        raise InputError(
            f"{path / TABLE_FILE}: has no piece {unknown!r} for the unknown; restore it from the publisher"
        )
    pad, eos = (_one_id(marian, f"{name}_token_id", path) for name in ("pad", "eos"))
    source_size = int(marian["vocab_size"])
    target_size = int(marian.get("decoder_vocab_size") or source_size)
    models[IDS_FILE] = description(
        source_size,
        target_size,
        pad_id=pad,
        unk_id=int(table[unknown]),
        sos_id=_one_id(marian, "decoder_start_token_id", path),
        eos_id=eos,
    )
    tokenizer = Marian(joint=is_joint)
    try:
        tokenizer.restore(models)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: its vocabulary can't be read ({error}); restore it from the publisher") from error
    return tokenizer


def fill(model: Transformer, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy Marian's tensors into a model of this package.

    Args:
        model: Built from the checkpoint's config.
        state: Tensors under Marian's names.
        path: Of the checkpoint, for the error.

    Raises:
        InputError: A tensor is missing or of another shape, or the positions are no sinusoids.
    """
    problems: list[str] = []

    def get(*names: str) -> Tensor:
        """A tensor, under the first of the names that tied ones may be stored under."""
        name = next((n for n in names if n in state), None)
        if name is None:
            problems.append(f"{path}: has no tensor {names[0]}; its config is of another model")
            return torch.empty(0)
        return state[name].float()

    def joined(to: Any, names: list[str]) -> None:
        for kind in ("weight", "bias"):
            _put(
                getattr(to, kind),
                torch.cat([get(f"{n}.{kind}") for n in names]),
                f"{path}: {names[0]}.{kind}",
                problems,
            )

    for name in ("encoder", "decoder"):
        stack: Any = getattr(model, name)
        for i, layer in enumerate(stack.layers):
            at, norms = f"model.{name}.layers.{i}", list(stack.block.norms[i])
            joined(layer.self_attention.input, [f"{at}.self_attn.{role}_proj" for role in "qkv"])
            joined(layer.self_attention.output, [f"{at}.self_attn.out_proj"])
            joined(norms[0], [f"{at}.self_attn_layer_norm"])
            if layer.cross_attention is not None:
                joined(layer.cross_attention.query, [f"{at}.encoder_attn.q_proj"])
                joined(layer.cross_attention.memory, [f"{at}.encoder_attn.{role}_proj" for role in "kv"])
                joined(layer.cross_attention.output, [f"{at}.encoder_attn.out_proj"])
                joined(norms[1], [f"{at}.encoder_attn_layer_norm"])
            joined(layer.feed_forward.inner, [f"{at}.fc1"])
            joined(layer.feed_forward.output, [f"{at}.fc2"])
            joined(norms[-1], [f"{at}.final_layer_norm"])
        _check_sinusoids(stack.positions, state.get(f"model.{name}.embed_positions.weight"), name, path, problems)
    embedding: Any = model.embedding
    source, target, output = _names(embedding.tie)
    _put(embedding.source.weight, get(*source), f"{path}: {source[0]}", problems)
    _put(embedding.target.weight, get(*target), f"{path}: {target[0]}", problems)
    weight, bias = embedding.output()
    if embedding.tie == "none":
        _put(weight, get(*output), f"{path}: {output[0]}", problems)
    if bias is not None:
        _put(bias, get("final_logits_bias").flatten(), f"{path}: final_logits_bias", problems)
    if problems:
        raise InputError(dict.fromkeys(problems))


def _names(tie: str) -> tuple[list[str], list[str], list[str]]:
    """The names of the source's, the target's and the output's matrix; of tied ones a file may hold any."""
    source, target, output = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"
    if tie == "all":
        every = ["model.shared.weight", source, target, output]
        return every, every, every
    return [source], [target, output] if tie == "decoder" else [target], [output]


@torch.no_grad()
def _put(to: Tensor, value: Tensor, what: str, problems: list[str]) -> None:
    if to.shape != value.shape:
        if value.numel():
            problems.append(f"{what}: has shape {tuple(value.shape)}, but the config asks for {tuple(to.shape)}")
        return
    to.copy_(value)


def _check_sinusoids(positions: Any, table: Tensor | None, name: str, path: Path, problems: list[str]) -> None:
    """A checkpoint may hold its table of positions; one that was learnt is another part."""
    if table is None:
        return
    own = positions.add_to_embeddings(
        torch.zeros_like(table, dtype=torch.float32)[None], torch.arange(len(table))[None]
    )[0]
    if (own - table.float()).abs().max() > _SINUSOID_ERROR:
        problems.append(
            f"{path}: model.{name}.embed_positions.weight are no sinusoids; only sinusoidal positions can be imported"
        )


def _refuse(marian: Mapping[str, Any], path: Path) -> None:
    """Refuse what this package would compute otherwise.

    Raises:
        InputError: A line for each.
    """
    where = path / "config.json"
    problems = []
    if marian.get("model_type") != "marian":
        raise InputError(f"{where}: has model_type {marian.get('model_type')!r}; only 'marian' can be imported")
    wanted = [
        "d_model",
        "vocab_size",
        "encoder_layers",
        "decoder_layers",
        *(k for keys in _SAME.values() for k in keys),
    ]
    if missing := [key for key in wanted if key not in marian]:
        raise InputError(f"{where}: has no {', '.join(missing)}; restore it from the publisher")
    for a, b in _SAME.values():
        if marian[a] != marian[b]:
            problems.append(f"{where}: {a} is {marian[a]}, but {b} is {marian[b]}; only equal ones can be imported")
    problems += [f"{where}: {key} is true; only false can be imported" for key in _NEVER if marian.get(key)]
    function = marian.get("activation_function", "gelu")
    if function not in ACTIVATIONS:
        problems.append(f"{where}: activation_function is {function!r}; there is {', '.join(ACTIVATIONS)}")
    if problems:
        raise InputError(problems)


def _config(
    name: str, marian: Mapping[str, Any], generation: Mapping[str, Any], tokenizer: Marian, has_bias: bool
) -> dict[str, Any]:
    is_shared = marian.get("share_encoder_decoder_embeddings", True)
    tie = "all" if is_shared else "decoder" if marian.get("tie_word_embeddings", True) else "none"
    said = {**marian, **generation}
    width = int(said.get("num_beams") or 1)
    beam = {"name": "beam", "width": width, "length_penalty": float(said.get("length_penalty") or 1.0)}
    function = ACTIVATIONS[marian.get("activation_function", "gelu")]
    return {
        "name": name,
        "data": {"tokenizer": {"name": "marian", "joint": tokenizer.is_joint}},
        "model": {
            "d_model": marian["d_model"],
            "n_heads": marian["encoder_attention_heads"],
            "d_ff": marian["encoder_ffn_dim"],
            "dropout": marian.get("dropout", 0.1),
            "attention": "multi_head",
            "normalization": {"name": "layer_norm", "eps": EPS},
            "positions": {"name": "sinusoidal", "layout": "half"},
            "feed_forward": "mlp",
            "activation": function,
            "block": "post_norm",
            "embedding": {
                "name": "standard",
                "tie": tie,
                "scale": bool(marian.get("scale_embedding", False)),
                "output_bias": has_bias,
            },
            "encoder": {"n_layers": marian["encoder_layers"]},
            "decoder": {"n_layers": marian["decoder_layers"]},
        },
        # Every config names a limit; one that extends this one names its own.
        "training": {"max_epochs": 1},
        "decoding": {"search": beam if width > 1 else "greedy"},
    }


def _manifest(config: Config, model: Transformer, tokenizer: Marian, weights: Path) -> Manifest:
    """A run that is finished: there is nothing to resume."""
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = Manifest(config.values.name, config.values.seed)
    manifest.data = {"vocabulary": [tokenizer.source_vocabulary_size, tokenizer.target_vocabulary_size]}
    manifest.weights = {"holds": "imported", "from": str(weights), "sha256": digest}
    manifest.origins = dict(config.origins)
    manifest.parameters = sum(p.numel() for p in model.parameters())
    manifest.trained = manifest.finished = True
    manifest.ended = run_folder.now()
    return manifest


def _one_id(marian: Mapping[str, Any], key: str, path: Path) -> int:
    value = marian.get(key)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise InputError(f"{path / 'config.json'}: {key} is {value!r}; one number is needed")
    return value


def _read_state(path: Path) -> tuple[dict[str, Tensor], Path]:
    """The tensors and the file that they are from. Nothing is unpickled but tensors."""
    safe, torch_file = path / "model.safetensors", path / "pytorch_model.bin"
    if safe.is_file():
        return read_weights(safe), safe
    if not torch_file.is_file():
        raise InputError(f"{path}: has neither model.safetensors nor pytorch_model.bin; name the checkpoint's folder")
    return read_weights(torch_file), torch_file


def _read_json(path: Path, must_exist: bool = True) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if not must_exist:
            return {}
        raise InputError(f"{path}: no such file; name the folder of a Marian checkpoint") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({error}); restore it from the publisher") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no mapping; restore it from the publisher")
    return value
