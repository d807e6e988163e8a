"""The product under every linear map with weights that were laid out, and perhaps rounded, once: what decoding multiplies by."""

from __future__ import annotations

import functools
import platform
import warnings
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

WeightPrecision = Literal["32", "bf16", "int8"]
"""Of the weights alone: whoever multiplies gets and gives float32."""

_LEVELS = 127
"""Of 8 bits with a sign."""

_FEWER_LEVELS = 63
"""So many that the sum of two products of 8-bit numbers fits into 16 bits."""


_LEAST_PACKED = 3 << 16
"""So many weights are worth oneDNN's call; by fewer, in float32, the plain product is 1.03 to 1.9 times as fast for any number of rows."""

_FEW_ROWS = 4
"""Up to so many rows of plain weights cost no more than of those that are laid out."""

_ROWS_SHARED = 64
"""Up to so many rows weights of 16 bits are faster than of 32."""

_ROWS_ALONE, _LEAST_SHARED = 8, 1 << 19
"""Up to so many rows by fewer weights of 16 bits than this are one thread's work: what a second one saves, its call costs."""

_LEAST_SHARE = 64
"""Outputs that are worth a thread of their own."""


class Product(ABC):
    """``x W^T + b`` without gradients, for weights that no longer change. A row's result doesn't depend on the rows beside it."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """x: (..., in), float32. Returns: (..., out), float32."""


def product(weight: Tensor, bias: Tensor | None, precision: WeightPrecision) -> Product | None:
    """The fastest product by these weights; None where the plain one is at least as good.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        precision: ``32`` changes nothing but rounding; ``bf16`` rounds weights and inputs to bfloat16; ``int8`` weights to 8 bits with a
            scale for each output, and inputs with a scale for each row, to 7 bits where the processor needs that.

    Raises:
        ValueError: This machine or this torch can't.
    """
    if precision == "int8" and (problem := int8_problem(weight.device)):
        raise ValueError(problem)
    if weight.dtype != torch.float32:
        return None
    weight, bias = weight.detach(), None if bias is None else bias.detach()
    if precision == "int8":
        return _Int8(weight, bias, _input_levels())
    can_pack = weight.device.type == "cpu" and _can_pack()
    if precision == "bf16" and can_pack and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return _Half(weight, bias, torch.get_num_threads()) if _fits_half(weight) else _Rounded(weight, bias)
    if precision == "bf16":
        return _Packed(weight, bias, torch.bfloat16) if can_pack else _BFloat16(weight, bias)
    return _Packed(weight, bias, torch.float32) if can_pack and weight.numel() >= _LEAST_PACKED else None


def int8_problem(device: torch.device) -> str | None:
    """Why there are no products of 8-bit numbers; None if there are."""
    if device.type != "cpu":
        return f"int8 is for CPUs, but the device is {device.type}; choose bf16"
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return "int8 needs torch's FBGEMM, which is for x86 processors; choose bf16"
    names = ("linear_prepack", "linear_with_input_q_dq_qweight_dq_output_fp32")
    if not all(hasattr(torch.ops.quantized, name) for name in names) or not hasattr(torch, "quantize_per_channel"):
        return f"int8 needs products that torch {torch.__version__} no longer has; choose bf16"
    return None


def _can_pack() -> bool:
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    )


class _Packed(Product):
    """Weights in oneDNN's own layout, which several rows read a quarter to a half faster than the plain one.

    Without AVX-512 the plain one is better for few, see :class:`_SingleRow` and :class:`_FewRows`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.is_narrow = dtype != weight.dtype
        self.n_inputs = weight.shape[1]
        has_own = not self.is_narrow and torch.backends.cpu.get_cpu_capability() != "AVX512"
        self.single_row = _SingleRow(weight, bias, torch.get_num_threads()) if has_own else None
        self.few_rows = _FewRows(weight, bias) if has_own else None
        # For no number of rows in particular: the layout made for one row is slow for several, this one is not slow for one.
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype))
        self.bias = None if bias is None else bias.to(dtype)
        self.run = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, x: Tensor) -> Tensor:
        if self.single_row is not None and x.numel() == self.n_inputs:
            return self.single_row(x)
        if self.few_rows is not None and x.numel() <= _FEW_ROWS * self.n_inputs:
            return self.few_rows(x)
        if not self.is_narrow:
            y: Tensor = self.run(x, self.weight, self.bias, "none", [], "")
            return y
        y = self.run(x.bfloat16(), self.weight, self.bias, "none", [], "")
        return y.float()


class _SingleRow(Product):
    """One row by plain weights whose longer axis is contiguous, a copy where that is the outputs' axis.

    oneDNN takes 1.6 to 1.8 times as long without AVX-512. MKL multiplies a matrix by a vector in one thread, so with several each gets
    its share of the outputs, as a product of its own in a batch: two threads take 0.55 to 0.95 of the time of one.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        n_threads: How many share the outputs.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, n_threads: int) -> None:
        n_outputs, n_inputs = weight.shape
        self.n_outputs, self.n_shares = n_outputs, max(1, min(n_threads, n_outputs // _LEAST_SHARE))
        missing = -n_outputs % self.n_shares
        self.is_padded = missing > 0
        if missing:
            weight = nn.functional.pad(weight, (0, 0, 0, missing))
            bias = None if bias is None else nn.functional.pad(bias, (0, missing))
        # (P, out / P, in) -> (P, in, out / P), contiguous in whichever of the two is longer
        shares = weight.view(self.n_shares, -1, n_inputs).transpose(1, 2)
        self.weight = shares.contiguous() if n_outputs > n_inputs else shares
        self.bias = None if bias is None else bias.view(self.n_shares, 1, -1)
        # What a vector is multiplied by where one thread does it all.
        self.matrix, self.vector = self.weight[0].T, bias

    def __call__(self, x: Tensor) -> Tensor:
        if self.n_shares == 1:
            row = x.reshape(-1)
            y = torch.mv(self.matrix, row) if self.vector is None else torch.addmv(self.vector, self.matrix, row)
            return y.view(*x.shape[:-1], -1)
        row = (x if x.ndim <= 3 else x.view(1, 1, -1)).expand(self.n_shares, 1, -1)
        y = torch.bmm(row, self.weight) if self.bias is None else torch.baddbmm(self.bias, row, self.weight)
        if self.is_padded:
            y = y.view(-1)[: self.n_outputs]
        return y.view(*x.shape[:-1], self.n_outputs)


class _FewRows(Product):
    """Some rows by plain weights, as ``(W x^T + b)^T``.

    BLAS is given the long side of the product where it divides work among its threads, and needn't lay out the weights first. Without
    AVX-512 a beam of four takes 0.9 to 0.95 of the time of oneDNN's product.

    Args:
        weight: (out, in).
        bias: (out,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, None if bias is None else bias[:, None]

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).t()
        y = torch.mm(self.weight, rows) if self.bias is None else torch.addmm(self.bias, self.weight, rows)
        return y.t().contiguous().view(*x.shape[:-1], -1)


class _BFloat16(Product):
    """The same rounding by torch's own product, for other devices."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.bfloat16(), None if bias is None else bias.bfloat16()

    def __call__(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x.bfloat16(), self.weight, self.bias).float()


class _Rounded(Product):
    """The same rounding where the processor has no products of bfloat16: torch's own are many times slower there than float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.run = _Packed(weight.bfloat16().float(), None if bias is None else bias.bfloat16().float(), torch.float32)

    def __call__(self, x: Tensor) -> Tensor:
        return self.run(x.bfloat16().float()).bfloat16().float()


class _Half(Product):
    """Weights that are rounded alike and read as 16 bits, but multiplied and added as float32; inputs are not rounded.

    FBGEMM's products read half the bytes: without AVX-512 1.05 to 2.2 times as fast as float32 for up to 64 rows. There are two: one for
    a single thread, and one that shares the outputs among all threads, whose call takes 25 us longer. Both give the same numbers. More
    rows are bound by arithmetic, of which oneDNN has more a second.

    Args:
        weight: (out, in), see :func:`_fits_half`.
        bias: (out,) or None.
        n_threads: How many may share the outputs.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, n_threads: int) -> None:
        self.bias = bias
        self.n_outputs, n_inputs = weight.shape
        weight = weight.bfloat16().float()
        self.most_alone = self.most_shared = _ROWS_SHARED * n_inputs
        """Numbers in the input up to which one thread makes shorter work, and weights of 16 bits do."""
        if n_threads > 1:
            self.most_alone = _ROWS_ALONE * n_inputs if weight.numel() < _LEAST_SHARED else 0
            self.shared_weight = torch.ops.quantized.linear_prepack_fp16(weight, bias)
        if self.most_alone:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="fbgemm_.* is deprecated")
                self.weight: Tensor = torch.fbgemm_pack_gemm_matrix_fp16(weight)
                # It warns once a process, in C++ if first called as below.
                torch.fbgemm_linear_fp16_weight_fp32_activation(weight[:1], self.weight, bias)
        self.wide_weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
        self.run = torch.ops._quantized.wrapped_fbgemm_linear_fp16_weight.default
        self.run_shared = torch.ops.quantized.linear_dynamic_fp16.default
        self.run_wide = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim == 1:
            return self(x[None])[0]
        y: Tensor
        if x.numel() <= self.most_alone:
            y = self.run(x, self.weight, self.bias, self.n_outputs)
        elif x.numel() <= self.most_shared:
            y = self.run_shared(x, self.shared_weight)
        else:
            y = self.run_wide(x, self.wide_weight, self.bias, "none", [], "")
        return y


def _fits_half(weight: Tensor) -> bool:
    """Whether a weight of bfloat16 is one of float16, but for what is too small beside the largest to matter."""
    return 2**-8 <= float(weight.abs().max()) <= torch.finfo(torch.float16).max and _has_half()


@functools.cache
def _has_half() -> bool:
    return (
        "fbgemm" in torch.backends.quantized.supported_engines
        and hasattr(torch, "fbgemm_pack_gemm_matrix_fp16")
        and hasattr(torch, "fbgemm_linear_fp16_weight_fp32_activation")
        and hasattr(torch.ops._quantized, "wrapped_fbgemm_linear_fp16_weight")
        and hasattr(torch.ops.quantized, "linear_prepack_fp16")
        and hasattr(torch.ops.quantized, "linear_dynamic_fp16")
    )


@functools.cache
def _input_levels() -> int:
    """How finely inputs can be rounded.

    Processors without VNNI add pairs of products in 16 bits, where twice 255 * 127 comes out as 32,767: no error is raised, numbers are
    just wrong. Whether this one does, a sum of the largest products says.
    """
    ones = torch.ones(1, 64)
    return (
        _LEVELS
        if torch.allclose(_Int8(ones.expand(16, -1), None, _LEVELS)(ones), torch.tensor(64.0))
        else _FEWER_LEVELS
    )


class _Int8(Product):
    """Sums of 8-bit products are exact integers, so that what a row gives can't depend on how many there are.

    ``y_ro = s_r t_o sum_i round(x_ri / s_r) round(w_oi / t_o) + b_o``, s the largest of a row over L, t the largest of an output's weights
    over 127.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        levels: L.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, levels: int) -> None:
        scales = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / _LEVELS
        engine = torch.backends.quantized.engine
        torch.backends.quantized.engine = "fbgemm"
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*quantize_per_channel.*deprecated")
                rounded = torch.quantize_per_channel(
                    weight, scales, torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8
                )
            self.weight = torch.ops.quantized.linear_prepack(rounded, None)
        finally:
            torch.backends.quantized.engine = engine
        self.bias, self.levels = bias, levels
        self.run = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(-1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny).mul_(1 / self.levels)
        y: Tensor = self.run(x / scale, 1.0, self.levels + 1, self.weight)
        y.mul_(scale)
        return y if self.bias is None else y.add_(self.bias)
