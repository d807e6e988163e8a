"""Weights in files: safetensors, tied tensors stored once, written aside and then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recambio.errors import InputError


def save_weights(model: nn.Module, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a model's weights, with what the file is to say of itself; of tensors that are one in memory, one is stored."""
    seen: set[tuple[int, torch.Size]] = set()
    unique: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and key in seen:
            continue
        seen.add(key)
        unique[name] = tensor.detach().cpu().contiguous()
    write_tensors(unique, path, metadata)


def load_weights(model: nn.Module, path: Path, fresh: Sequence[str] = ()) -> None:
    """Read a model's weights.

    Args:
        model: Filled in place.
        path: The file.
        fresh: Paths of modules that are left as they are, whatever the file holds of them.

    Raises:
        InputError: The file is missing, torn, or of another model.
    """
    left = tuple(f"{name}." for name in fresh)
    state = {n: t for n, t in read_weights(path).items() if not n.startswith(left)}
    own = {n: t for n, t in model.state_dict().items() if not n.startswith(left)}
    stored = {own[name].data_ptr() for name in state if name in own}
    missing = [n for n, t in own.items() if n not in state and t.data_ptr() not in stored]
    unknown = [n for n in state if n not in own]
    wrong = [n for n in state if n in own and own[n].shape != state[n].shape]
    if missing or unknown or wrong:
        parts = [f"{label} {names[0]} ({len(names)} in all)" for label, names in
                 (("missing", missing), ("unknown", unknown), ("other shape", wrong)) if names]  # fmt: skip
        raise InputError(
            f"{path}: weights of another model: {'; '.join(parts)}; use the config that they were trained with"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a weights file, or of the model within a whole training state (``.ckpt``). Nothing else is unpickled.

    Raises:
        InputError: The file is missing or torn.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; train first, or pick another with --checkpoint")
    with _readable(path):
        if path.suffix == ".ckpt":
            state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
            prefix = "model."
            return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        if path.suffix == ".bin":  # other packages' tensors by name
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        return load_file(path)


def read_step(path: Path) -> int:
    """The optimiser step that a whole training state was saved after.

    Raises:
        InputError: The file is torn.
    """
    with _readable(path):
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, KeyError, OSError, ValueError) as error:
        # torch explains at length what a torn archive may come from.
        reason = str(error).split(". ")[0].split("\n")[0] or type(error).__name__
        raise InputError(
            f"{path}: not a readable checkpoint ({reason}); it may be truncated: use another one"
        ) from error


def average_weights(paths: Sequence[Path], out: Path) -> None:
    """The arithmetic mean of weights files, accumulated in float64, one tensor at a time.

    Paper: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 6.1.
    """
    handles = [safe_open(p, framework="pt") for p in paths]
    mean: dict[str, Tensor] = {}
    for name in handles[0].keys():  # type: ignore[no-untyped-call]  # noqa: SIM118 (a file handle, not a dict)
        first: Tensor = handles[0].get_tensor(name)  # type: ignore[no-untyped-call]
        total = first.double()
        for handle in handles[1:]:
            total += handle.get_tensor(name).double()  # type: ignore[no-untyped-call]
        mean[name] = (total / len(handles)).to(first.dtype)
    write_tensors(mean, out)


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file aside and rename it into place."""
    aside = path.with_name(f".{path.name}.part")
    save_file(tensors, aside, metadata)
    with open(aside, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(aside, path)
