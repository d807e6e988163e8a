"""Encoder-decoder Transformers for English-Spanish translation, every part swapped by name.

import recambio
recambio.load("runs/tiny").translate(["The cat eats fish."])
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recambio.experiment.translator import Translator

__version__ = "0.1.0"


def load(run: str | Path, **options: Any) -> Translator:
    """Open a run folder to translate with; the options are those of `recambio.experiment.translator.load`.

    Raises:
        recambio.errors.InputError: The folder is no run, has no weights, or needs a plugin that is missing.
    """
    from recambio.experiment.translator import load as load_translator

    return load_translator(run, **options)


__all__ = ["__version__", "load"]
