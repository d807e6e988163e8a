"""Initial weights from a named random stream per parameter.

Each weight is drawn on CPU in float32 from a generator seeded by (seed, canonical path). So two models that differ in one
part share the initial weights of all the others, whatever the part drew and on whatever device the model lives.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from recambio.components.block.base import ROLES
from recambio.components.linear import Linear

Gain = Callable[[str, int], float]
"""(role, layer index) -> factor on what was drawn."""

_LAYER = re.compile(r"\.layers\.(\d+)\.")


def stable_seed(*words: object) -> int:
    """A 63-bit seed that depends on the words alone, on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, words)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def stream(seed: int, path: str) -> torch.Generator:
    """The random stream of one parameter."""
    return torch.Generator().manual_seed(stable_seed("init", seed, path))


@contextmanager
def seeded(seed: int, path: str) -> Iterator[None]:
    """Whatever a constructor draws from the global generator inside depends on (seed, path) alone."""
    with torch.random.fork_rng(devices=[]):
        seed_generators(stable_seed("construct", seed, path), torch.device("cpu"))
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that code on a device draws from by default: the host's, and the device's own.

    `torch.manual_seed` does so for every kind of device, and writes a stack trace for each that isn't there, a millisecond a call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)


@torch.no_grad()
def initialise(model: nn.Module, seed: int, gains: Mapping[str, Gain]) -> None:
    """Draw every weight of the model.

    Linear maps are Xavier-uniform by role (Glorot & Bengio 2010) with zero bias, embeddings normal with standard deviation
    d_model^-0.5, so that scaled by sqrt(d_model) they have unit variance and unscaled, as the output matrix, give
    logits of unit variance. A module with a method ``draw(stream)`` fills its own parameters; constants stay.

    Args:
        model: Parameters are replaced in place.
        seed: The run's seed.
        gains: Per stack name (``encoder``, ``decoder``) the block's ``init_gain``.
    """
    done: set[int] = set()
    for name, module in model.named_modules():
        path = canonical(name)
        if callable(draw := getattr(module, "draw", None)):
            draw(lambda parameter, path=path: stream(seed, f"{path}.{parameter}"))
            done |= {id(p) for p in module.parameters(recurse=False)}
            continue
        match = _LAYER.search(f".{path}.")
        layer = int(match[1]) if match else -1
        gain = gains.get(path.split(".", 1)[0])
        if isinstance(module, nn.Linear) and id(module.weight) not in done:
            splits = module.splits if isinstance(module, Linear) else {"": module.out_features}
            start = 0
            for role, rows in splits.items():
                owner = f"{path}.{role}" if role else path
                known = next((r for r in ROLES if role == r or role.startswith(f"{r}_")), None)
                factor = gain(known, layer) if gain and known and layer >= 0 else 1.0
                _xavier(module.weight[start : start + rows], stream(seed, f"{owner}.weight"), factor)
                start += rows
            if module.bias is not None:
                module.bias.zero_()
            done.add(id(module.weight))
        elif isinstance(module, nn.Embedding) and id(module.weight) not in done:
            std = module.embedding_dim**-0.5
            module.weight.copy_(
                torch.empty(module.weight.shape).normal_(0.0, std, generator=stream(seed, f"{path}.weight"))
            )
            if module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
            done.add(id(module.weight))
        elif isinstance(module, nn.Conv1d):
            _xavier(module.weight, stream(seed, f"{path}.weight"), 1.0)
            if module.bias is not None:
                module.bias.zero_()


def canonical(path: str) -> str:
    """A module's path without the names that wrappers add."""
    return ".".join(p for p in path.split(".") if p not in ("_orig_mod", "module", "_fsdp_wrapped_module"))


def _xavier(weight: Tensor, generator: torch.Generator, gain: float) -> None:
    receptive = math.prod(weight.shape[2:])
    bound = gain * math.sqrt(6.0 / ((weight.shape[0] + weight.shape[1]) * receptive))
    weight.copy_(torch.empty(weight.shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator))
