"""``recambio export``: a run in the format of another engine."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from recambio.errors import InputError
from recambio.experiment.checkpoint import weights_path
from recambio.experiment.translator import Translator, load

Format = Literal["safetensors", "marian", "ctranslate2"]
FORMATS: tuple[Format, ...] = ("safetensors", "marian", "ctranslate2")
QUANTIZATIONS = ("float32", "float16", "int8")

log = logging.getLogger("recambio")


def default_place(run: Path, to: str) -> Path:
    """Where an export goes that names no place."""
    return run / "export" / ("model.safetensors" if to == "safetensors" else to)


def run(
    run: Path,
    to: str,
    out: Path | None = None,
    *,
    quantization: str | None = None,
    checkpoint: str | None = None,
    plugins: Sequence[str] = (),
) -> Path:
    """Write a run in another format.

    Args:
        run: The run folder.
        to: One of `FORMATS`.
        out: A file for ``safetensors``, a folder for the others; by default under ``export/`` of the run. Must not exist.
        quantization: Of ``ctranslate2``: one of `QUANTIZATIONS`.
        checkpoint: ``best``, ``last``, ``average`` or a file.
        plugins: What the run needs from outside the project.

    Returns:
        What was written.

    Raises:
        InputError: The format can't express a part, the place is taken, or an optional package is missing.
    """
    problems = []
    if to not in FORMATS:
        problems.append(
            f"--to {to}: no such format; there is {', '.join(FORMATS)}"
            if to
            else f"--to: say which format: {', '.join(FORMATS)}"
        )
    if quantization is not None and to in FORMATS and to != "ctranslate2":
        problems.append(f"--quantization: {to} has none; leave it out, or export --to ctranslate2")
    elif quantization is not None and quantization not in QUANTIZATIONS:
        problems.append(f"--quantization {quantization}: no such precision; there is {', '.join(QUANTIZATIONS)}")
    place = out or default_place(run, to)
    if place.exists():
        problems.append(f"{place}: exists already; remove it, or name another place")
    if problems:
        raise InputError(problems)
    write = _writer(to, weights_path(run, checkpoint), quantization)
    translator = load(run, checkpoint=checkpoint, plugins=plugins, device="cpu")
    place.parent.mkdir(parents=True, exist_ok=True)
    if to == "safetensors":
        write(translator, place)
        return place
    aside = place.with_name(f".{place.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        for note in write(translator, aside) or ():
            log.warning(note)
        aside.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place


def _writer(to: str, weights: Path, quantization: str | None) -> Callable[[Translator, Path], list[str] | None]:
    if to == "safetensors":
        from recambio.interop import safetensors

        return safetensors.export
    if to == "marian":
        from recambio.interop import marian_export

        return marian_export.export
    from recambio.interop import ctranslate2_export, ctranslate2_import

    ctranslate2_import.ctranslate2()
    return lambda run, out: ctranslate2_export.export(run, weights, out, quantization or "float32")
