"""The product under every linear map."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# What oneDNN's call costs more than MKL's, about 20 us, is won back from here on (measured on two cores, AMD EPYC).
_LEAST_WEIGHTS, _LEAST_PRODUCTS, _ALWAYS = 1 << 18, 1 << 20, 1 << 24


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x W^T + b``, by `torch.nn.functional.linear` or, on AMD processors with AVX-512, by oneDNN.

    There torch hands float32 products to MKL, which falls behind on other makers' processors: the projection of 64 rows to 8,000
    tokens takes twice as long, a training step's forward products 1.2 to 1.7 times. The results differ by rounding.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,) or None.

    Returns:
        (..., out)
    """
    if not _suits(x, weight):
        return nn.functional.linear(x, weight, bias)
    if torch.is_grad_enabled():
        return _Product.apply(x, weight, bias)  # type: ignore[no-any-return, no-untyped-call]
    return _by_onednn(x, weight, bias)


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")  # type: ignore[no-any-return]


class _Product(torch.autograd.Function):
    """The product with its gradients: that of the input by oneDNN, that of the weight, where oneDNN is slower, as torch does it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        # (..., out) -> (N, out)
        rows = grad.flatten(0, -2) if grad.ndim > 1 else grad[None]
        return (
            linear(grad, weight.T) if wants_x else None,
            rows.T @ x.reshape(len(rows), -1) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def _suits(x: Tensor, weight: Tensor) -> bool:
    # First of all: a compiler may not know the sizes.
    if torch.compiler.is_compiling():
        return False
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or x.device.type != "cpu":
        return False
    products = x.numel() * weight.shape[0]
    if products < _ALWAYS and (weight.numel() < _LEAST_WEIGHTS or products < _LEAST_PRODUCTS):
        return False
    # Autocast has a say in the dtype, a counter of operations in the operation.
    if torch.is_autocast_enabled("cpu") or torch._C._len_torch_dispatch_stack():
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
