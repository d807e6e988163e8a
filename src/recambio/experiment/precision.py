"""The arithmetic of a training: what ``trainer.precision: auto`` means on this machine."""

from __future__ import annotations

from pathlib import Path

import torch

from recambio.config.schema import Trainer
from recambio.errors import InputError

_CPU_FLAGS = ("avx512_bf16", "amx_bf16")
_CPU_INFO = Path("/proc/cpuinfo")


def chosen_precision(trainer: Trainer, before: str | None) -> str:
    """What a run computes in.

    Args:
        trainer: The config's.
        before: What the run has computed in until now, as its manifest says; None for a new one.

    Raises:
        InputError: A run that chose by itself goes on where there is no such arithmetic.
    """
    if trainer.precision != "auto":
        return trainer.precision
    device = _device(trainer.accelerator)
    if before == "16-mixed" and device != "cuda":
        raise InputError("trainer.precision: this run has chosen 16-mixed, which needs a CUDA device; resume it on one")
    if before is not None:
        return before
    if device == "cuda":
        # Before Ampere bfloat16 is emulated.
        capable = all(torch.cuda.get_device_capability(i) >= (8, 0) for i in range(torch.cuda.device_count()))
        return "bf16-mixed" if capable else "16-mixed"
    return "bf16-mixed" if device == "cpu" and _cpu_has_bf16() else "32"


def is_slow(trainer: Trainer, precision: str) -> bool:
    """Whether this machine, as far as is known, emulates that arithmetic, which takes several times as long as float32."""
    return precision.startswith("bf16") and _device(trainer.accelerator) == "cpu" and not _cpu_has_bf16()


def _device(accelerator: str) -> str:
    """The kind of device that Lightning takes."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator == "mps" or (accelerator in ("auto", "gpu") and torch.backends.mps.is_available()):
        return "mps"
    return "cpu"


def _cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself."""
    if callable(capabilities := getattr(torch.cpu, "get_capabilities", None)):
        found = capabilities()
        return any(found.get(flag, False) for flag in _CPU_FLAGS)
    try:
        flags = _CPU_INFO.read_text(encoding="utf-8").split()
    except OSError:
        return False
    return any(flag in flags for flag in _CPU_FLAGS)
