"""Which weights of a run folder are meant."""

from __future__ import annotations

from pathlib import Path

from recambio.errors import InputError

CHECKPOINTS = ("best", "last", "average")


def weights_path(folder: Path, checkpoint: str | None) -> Path:
    """The weights file that ``--checkpoint`` names.

    Raises:
        InputError: There is none.
    """
    if checkpoint is None:
        path = folder / "weights.safetensors"
        if not path.is_file():
            raise InputError(
                f"{folder}: has no weights.safetensors; the run didn't finish: resume it, or pick --checkpoint best or last"
            )
        return path
    if checkpoint in CHECKPOINTS:
        path = folder / "checkpoints" / ("last.ckpt" if checkpoint == "last" else f"{checkpoint}.safetensors")
        if not path.is_file():
            raise InputError(f"--checkpoint {checkpoint}: {path} doesn't exist; the run has {_available(folder)}")
        return path
    return Path(checkpoint)


def _available(folder: Path) -> str:
    names = [p.name for p in sorted((folder / "checkpoints").glob("*.*"))] if (folder / "checkpoints").is_dir() else []
    return ", ".join(names) or "none"
