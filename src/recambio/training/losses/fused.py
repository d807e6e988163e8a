"""Projection to the vocabulary, softmax and cross-entropy in one pass over pieces of the batch.

The logits of a batch are its largest tensor by far. Here they exist for a few hundred tokens at a time: each piece is
projected, scored, and, where gradients are wanted, turned into the gradients of the hidden vectors and of the output matrix at once.
Nothing of size N x V is kept for the backward pass, and no softmax is computed twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PIECE = 512
"""Tokens whose logits exist at a time."""


def smoothed_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float = 0.0,
    excluded: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy against ``(1 - e) * one-hot + e * uniform``, and the plain one beside it.

    ``loss = sum_n (1 - e) (-log p[y_n]) + e / |U| * sum_{v in U} (-log p[v])``, U the vocabulary without ``excluded``.

    Args:
        hidden: (N, D).
        weight: (V, D) output matrix.
        bias: (V,) or None.
        targets: (N,) token ids.
        smoothing: e.
        excluded: A token that gets none of the uniform mass (PAD, which is never a target).

    Returns:
        (loss, nll), scalar sums over N; float64 for float64 input, else float32. Only the loss carries gradients.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden = hidden.to(dtype)
    needs_grad = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    loss, nll = _Fused.apply(hidden, weight, bias, targets, smoothing, excluded, needs_grad)  # type: ignore[no-untyped-call]
    return loss, nll


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        smoothing: float,
        excluded: int | None,
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            return _walk(ctx, hidden, weight, bias, targets, smoothing, excluded, needs_grad)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        scale = grad_outputs[0]
        if grad_hidden.dtype in (torch.float32, torch.float64):
            grad_hidden = grad_hidden * scale
        else:
            grad_hidden = (grad_hidden.float() * scale).to(grad_hidden.dtype)
        grad_bias = grad_bias * scale if grad_bias is not None else None
        return grad_hidden, grad_weight * scale, grad_bias, None, None, None, None


def _walk(
    ctx: Any,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float,
    excluded: int | None,
    needs_grad: bool,
) -> tuple[Tensor, Tensor]:
    statistics = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    matrix = weight.to(hidden.dtype)
    offset = bias.to(hidden.dtype) if bias is not None else None
    vocabulary = weight.shape[0]
    n_smooth = vocabulary - (excluded is not None)
    loss = hidden.new_zeros((), dtype=statistics)
    nll = hidden.new_zeros((), dtype=statistics)
    grad_hidden = torch.empty_like(hidden) if needs_grad else None
    grad_weight = torch.zeros_like(weight, dtype=statistics) if needs_grad else None
    grad_bias = torch.zeros_like(bias, dtype=statistics) if needs_grad and bias is not None else None
    for start in range(0, len(hidden), PIECE):
        h, y = hidden[start : start + PIECE], targets[start : start + PIECE, None]
        log_p = torch.log_softmax(torch.nn.functional.linear(h, matrix, offset), dim=-1, dtype=statistics)
        piece_nll = -log_p.gather(1, y).sum()
        nll += piece_nll
        if smoothing:
            spread = log_p.sum() if excluded is None else log_p.sum() - log_p[:, excluded].sum()
            loss += (1 - smoothing) * piece_nll - smoothing / n_smooth * spread
        else:
            loss += piece_nll
        if grad_hidden is None or grad_weight is None:
            continue
        # d loss / d logits = p - q
        grad = log_p.exp_()
        if smoothing:
            grad -= smoothing / n_smooth
            if excluded is not None:
                grad[:, excluded] += smoothing / n_smooth
        grad.scatter_add_(1, y, grad.new_full(y.shape, smoothing - 1.0))
        if grad_bias is not None:
            grad_bias += grad.sum(0)
        low = grad.to(hidden.dtype)
        torch.mm(low, matrix, out=grad_hidden[start : start + PIECE])
        if low.dtype == statistics:
            grad_weight.addmm_(low.T, h)
        else:
            grad_weight += low.T @ h
    if needs_grad:
        ctx.save_for_backward(grad_hidden, grad_weight.to(weight.dtype), grad_bias)  # type: ignore[union-attr]
    ctx.mark_non_differentiable(nll)
    return loss, nll
