"""The product under every linear map."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, nn

# What oneDNN's call costs more than MKL's, about 20 us, is won back from here on (measured on two cores, AMD EPYC).
_LEAST_WEIGHTS, _LEAST_PRODUCTS, _ALWAYS = 1 << 18, 1 << 20, 1 << 24


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b``, by `torch.nn.functional.linear` or, without gradients on AMD processors with AVX-512, by oneDNN.

    There torch hands float32 products to MKL, which falls behind on other makers' processors: the projection of 64 rows to 8,000
    tokens takes twice as long. The results differ by rounding.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,) or None.

    Returns:
        (..., out)
    """
    if torch.is_grad_enabled() or not _suits(x, weight):
        return nn.functional.linear(x, weight, bias)
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y


def _suits(x: Tensor, weight: Tensor) -> bool:
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or x.device.type != "cpu":
        return False
    products = x.numel() * weight.shape[0]
    if products < _ALWAYS and (weight.numel() < _LEAST_WEIGHTS or products < _LEAST_PRODUCTS):
        return False
    # Autocast has a say in the dtype, a compiler and a counter of operations in the operation.
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
        return False
    return _is_there()


@functools.cache
def _is_there() -> bool:
    try:
        processor = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False
    return (
        "AuthenticAMD" in processor
        and "avx512f" in processor
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
