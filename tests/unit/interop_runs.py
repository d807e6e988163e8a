"""Small runs to export: never trained, their weights stirred."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from recambio import registry
from recambio.config.build import from_dict
from recambio.data.tokenizers import Tokenizer
from recambio.experiment import run_folder
from recambio.experiment.build import build_model
from recambio.experiment.run_folder import Manifest
from recambio.model.weights import save_weights

registry.load_builtins()

ENGLISH = [f"{who} {what} {how}." for who in ("The cat", "A dog", "My sister") for what in ("eats", "sees", "has eaten")
           for how in ("fish", "the red house", "3.50 apples", "what I said")]  # fmt: skip
SPANISH = [f"{who} {what} {how}." for who in ("El gato", "Un perro", "¡Nadie") for what in ("come", "ve", "ha comido")
           for how in ("pescado", "la casa roja", "3,50 manzanas", "lo que dije")]  # fmt: skip

MODEL: dict[str, Any] = {
    "d_model": 16,
    "n_heads": 4,
    "d_ff": 24,
    "block": "post_norm",
    "encoder": {"n_layers": 2},
    "decoder": {"n_layers": 1},
}


def make_run(folder: Path, joint: bool = True, search: Any = None, **model: Any) -> Path:
    """A run that was never trained, its weights stirred so that biases and norms count and translations vary."""
    config = from_dict(
        {
            "data": {"tokenizer": {"name": "unigram", "vocabulary_size": 330, "joint": joint}},
            "model": {**MODEL, "embedding": {"name": "standard", "tie": "all" if joint else "decoder"}, **model},
            "training": {"max_steps": 1},
            "decoding": {"search": search or {"name": "beam", "width": 3}},
        },
        check_hardware=False,
    )
    tokenizer: Tokenizer = registry.TOKENIZER.create(config.values.data.tokenizer, seed=1)
    tokenizer.train(ENGLISH, SPANISH, len(ENGLISH))
    network = build_model(config, tokenizer)
    stir(network)
    folder.mkdir()
    run_folder.write_manifest(folder, Manifest("made", 1, versions={}, git=None))
    config.save(folder / "config.yaml")
    tokenizer.save(folder)
    save_weights(network, folder / "weights.safetensors")
    return folder


@torch.no_grad()
def stir(network: torch.nn.Module) -> None:
    """Change fresh weights so that biases and norms count, and sentences are told apart."""
    stream = torch.Generator().manual_seed(5)
    for name, parameter in network.named_parameters():
        if "embed_positions" in name:  # sinusoids, which Marian keeps as a frozen parameter
            continue
        size = 0.1 if parameter.ndim < 2 else 0.3
        parameter.add_(torch.empty(parameter.shape).normal_(std=size, generator=stream))
