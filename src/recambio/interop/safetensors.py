"""A run as one safetensors file that says what it is."""

from __future__ import annotations

import json
from pathlib import Path

from recambio.experiment.translator import Translator
from recambio.model.weights import save_weights


def export(run: Translator, out: Path) -> None:
    """Write weights, config and vocabulary sizes into one file.

    Tied tensors are stored once; the metadata entry ``tied`` names what stands for each of the others. ``config`` is the resolved
    config, ``vocabulary`` the sizes of both sides and whether they share one: with a `ModelSpec` they build the model again.
    """
    model = run.model
    stored: dict[tuple[int, tuple[int, ...]], str] = {}
    tied = {}
    for name, tensor in model.state_dict().items():
        first = stored.setdefault((tensor.data_ptr(), tuple(tensor.shape)), name)
        if tensor.numel() and first != name:
            tied[name] = first
    spec = model.spec
    vocabulary = {"source": spec.source_vocabulary, "target": spec.target_vocabulary, "joint": spec.is_joint}
    metadata = {
        "format": "pt",
        "config": json.dumps(run.config.to_dict()),
        "vocabulary": json.dumps(vocabulary),
        "tied": json.dumps(tied),
    }
    save_weights(model, out, metadata)
