"""Which devices ``--devices`` means."""

from __future__ import annotations

import re

import torch

from recambio.errors import InputError

_DEVICE = re.compile(r"cpu|cuda:\d+")


def chosen(devices: str) -> list[str]:
    """The devices that translate, one worker each.

    Args:
        devices: A number: so many GPUs, or without a GPU so many processes that share the processor. ``auto``: every GPU, or
            one process. Or their names, as ``cuda:0,cuda:1``; one may come several times.

    Raises:
        InputError: It is none of these, or there is no such device.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = f"there {'is 1 GPU' if n_gpus == 1 else f'are {n_gpus} GPUs' if n_gpus else 'is no GPU'}"
    if devices == "auto":
        return [f"cuda:{i}" for i in range(n_gpus)] or ["cpu"]
    if devices.isascii() and devices.isdigit() and int(devices) > 0:
        if n_gpus and int(devices) > n_gpus:
            raise InputError(f"--devices {devices}: {there}; name cpu or cuda:0 several times for more processes")
        return [f"cuda:{i}" if n_gpus else "cpu" for i in range(int(devices))]
    names = devices.split(",")
    for name in names:
        if not _DEVICE.fullmatch(name):
            raise InputError(
                f"--devices {devices}: must be a number from 1, auto, or devices such as cuda:0,cuda:1 or cpu, but holds {name!r}"
            )
        if name != "cpu" and int(name[5:]) >= n_gpus:
            raise InputError(f"--devices {devices}: no device {name}; {there}")
    return names
