"""Projection to the vocabulary, softmax and loss in one pass over pieces of the batch.

The logits of a batch are its largest tensor by far. Here they exist for a few hundred tokens at a time: each piece is
projected, scored, and, where gradients are wanted, turned into the gradients of the hidden vectors and of the output matrix at once.
Nothing of size N x V is kept for the backward pass, and no softmax is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recambio.components.product import linear

PIECE = 512
"""Tokens whose logits exist at a time."""

Score = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor | None]]
"""(logits, targets, whether gradients are wanted) -> (loss, nll, gradient of the loss by the logits, or None).

Logits (P, n, V) are those of n tokens in P passes, float32 at least, and may be overwritten; targets (n,)."""


def smoothed_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    smoothing: float = 0.0,
    excluded: int | None = None,
    z_loss: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy against ``(1 - e) * one-hot + e * uniform``, and the plain one beside it.

    ``loss = sum_n (1 - e) (-log p[y_n]) + e / |U| * sum_{v in U} (-log p[v]) + z_loss log^2 Z_n``, U the vocabulary without
    ``excluded``, Z the softmax's denominator.

    Args:
        hidden: (N, D).
        weight: (V, D) output matrix.
        bias: (V,) or None.
        targets: (N,) token ids.
        smoothing: e.
        excluded: A token that gets none of the uniform mass (PAD, which is never a target).
        z_loss: Weight of the squared log-denominator.

    Returns:
        (loss, nll), scalar sums over N; float64 for float64 input, else float32. Only the loss carries gradients.
    """

    def score(logits: Tensor, targets: Tensor, needs_grad: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        y = targets[None, :, None]
        of_target, highest = logits.gather(-1, y), logits.amax(-1, keepdim=True)
        p = torch.softmax(logits, -1, out=logits if logits.is_cpu else None)
        # The highest probability is at least 1 / V: its logarithm is exact where the target's may underflow.
        log_z = highest - p.amax(-1, keepdim=True).log()
        nll = (log_z - of_target).sum()
        loss = (1 - smoothing) * nll + smoothing * log_z.sum()
        if z_loss:
            loss = loss + z_loss * log_z.square().sum()
        if not needs_grad:
            return loss, nll, None
        # d log^2 Z / d logits = 2 log(Z) p
        tilted = p.mul_(1 + 2 * z_loss * log_z) if z_loss else p
        return loss, nll, subtract_target(tilted, targets, 1 - smoothing)

    return walk(hidden, weight, bias, targets, score, Uniform(smoothing, excluded))


@dataclass(frozen=True)
class Uniform:
    """The uniform part of smoothed targets, which needs no logits of its own.

    With e the smoothing, Z the softmax's denominator and z the logits, smoothed cross-entropy is
    ``log Z - (1 - e) z[y] - e / |U| * sum_{v in U} z[v]``. The last term is linear: its sum over all tokens takes one product of
    vectors, and its gradient is the same for all tokens, and for all rows of the matrix. So a :data:`Score` leaves it out.

    Attributes:
        smoothing: e.
        excluded: A token outside U.
        share: What the loss of a token in one pass is multiplied by.
    """

    smoothing: float = 0.0
    excluded: int | None = None
    share: float = 1.0

    def weight(self, vocabulary: int) -> float:
        """Of each logit in U."""
        return self.share * self.smoothing / (vocabulary - (self.excluded is not None))

    def over(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """rows: (V, ...). Returns: their sum over U."""
        total = rows.sum(0, dtype=dtype)
        return total if self.excluded is None else total - rows[self.excluded]

    def subtract(self, rows: Tensor, amount: Tensor) -> None:
        """Subtract an amount from each row of U in place; rows: (V, ...)."""
        kept = None if self.excluded is None else rows[self.excluded].clone()
        rows -= amount
        if kept is not None:
            rows[self.excluded] = kept


def walk(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, score: Score, uniform: Uniform
) -> tuple[Tensor, Tensor]:
    """Sum a score over pieces of the batch.

    Args:
        hidden: (P * N, D), one pass of the batch after another.
        weight: (V, D) output matrix.
        bias: (V,) or None.
        targets: (N,) token ids.
        score: What is summed.
        uniform: And this.

    Returns:
        (loss, nll), scalar sums; float64 for float64 input, else float32. Only the loss carries gradients.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden = hidden.to(dtype)
    needs_grad = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    loss, nll = _Fused.apply(hidden, weight, bias, targets, score, uniform, needs_grad)  # type: ignore[no-untyped-call]
    return loss, nll


def subtract_target(p: Tensor, targets: Tensor, share: float) -> Tensor:
    """p (P, n, V) less a share at the target of each token; p is overwritten and returned."""
    y = targets.expand(p.shape[:-1])[..., None]
    return p.scatter_add_(-1, y, p.new_full(y.shape, -share))


def check_smoothing(smoothing: float) -> None:
    """Refuse a share outside [0, 1)."""
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"`smoothing` must be in [0, 1), but is {smoothing}")


def check_z_loss(z_loss: float) -> None:
    """Refuse a negative weight."""
    if z_loss < 0.0:
        raise ValueError(f"`z_loss` must not be negative, but is {z_loss}")


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        score: Score,
        uniform: Uniform,
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(hidden.device.type, enabled=False):
            return _walk(ctx, hidden, weight, bias, targets, score, uniform, needs_grad)

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
    score: Score,
    uniform: Uniform,
    needs_grad: bool,
) -> tuple[Tensor, Tensor]:
    statistics = torch.float64 if hidden.dtype == torch.float64 else torch.float32
    matrix = weight.to(hidden.dtype)
    offset = bias.to(hidden.dtype) if bias is not None else None
    loss = hidden.new_zeros((), dtype=statistics)
    nll = hidden.new_zeros((), dtype=statistics)
    # (P * N, D) -> (P, N, D)
    passes = hidden.view(-1, len(targets), hidden.shape[-1])
    piece = max(1, PIECE // len(passes))
    grad_hidden = torch.empty_like(passes) if needs_grad else None
    grad_weight = torch.zeros_like(weight, dtype=statistics) if needs_grad else None
    grad_bias = torch.zeros_like(bias, dtype=statistics) if needs_grad and bias is not None else None
    project = _Projection(matrix, offset, statistics)
    for start in range(0, len(targets), piece):
        # (P, n, D) -> (P * n, D)
        h = passes[:, start : start + piece].flatten(0, 1)
        logits = project(h).view(len(passes), -1, weight.shape[0])
        piece_loss, piece_nll, grad = score(logits, targets[start : start + piece], needs_grad)
        loss += piece_loss
        nll += piece_nll
        if grad is None or grad_hidden is None or grad_weight is None:
            continue
        # (P, n, V) -> (P * n, V)
        grad = grad.flatten(0, 1)
        if grad_bias is not None:
            grad_bias += grad.sum(0)
        low = project.narrowed(grad)
        grad_hidden[:, start : start + piece] = (low @ matrix).view(len(passes), -1, hidden.shape[-1])
        if low.dtype == statistics:
            grad_weight.addmm_(low.T, h)
        else:
            grad_weight += low.T @ h
    if uniform.smoothing:
        share, n_tokens = uniform.weight(len(weight)), len(hidden)
        column, total = uniform.over(matrix, statistics), hidden.sum(0, dtype=statistics)
        loss -= share * (total @ column)
        if offset is not None:
            loss -= share * n_tokens * uniform.over(offset, statistics)
        if grad_hidden is not None and grad_weight is not None:
            grad_hidden -= (share * column).to(hidden.dtype)
            uniform.subtract(grad_weight, share * total)
        if grad_bias is not None:
            uniform.subtract(grad_bias, grad_bias.new_tensor(share * n_tokens))
    if needs_grad:
        ctx.save_for_backward(grad_hidden.view_as(hidden), grad_weight.to(weight.dtype), grad_bias)  # type: ignore[union-attr]
    ctx.mark_non_differentiable(nll)
    return loss, nll


class _Projection:
    """Logits of one piece after another. In half precision they live in storage that all pieces share.

    Args:
        matrix: (V, D).
        offset: (V,) or None.
        dtype: Of the logits; float32 at least.
    """

    def __init__(self, matrix: Tensor, offset: Tensor | None, dtype: torch.dtype) -> None:
        self.matrix, self.offset, self.dtype = matrix, offset, dtype
        self._narrow: Tensor | None = None
        self._wide: Tensor | None = None

    def __call__(self, h: Tensor) -> Tensor:
        """h: (n, D), no more rows than at the first call. Returns: (n, V), which the next call overwrites."""
        if h.dtype == self.dtype:
            return linear(h, self.matrix, self.offset)
        if self._narrow is None or self._wide is None:
            # A page of fresh memory costs as much as what is computed on it.
            self._narrow = h.new_empty(len(h), len(self.matrix))
            self._wide = torch.empty_like(self._narrow, dtype=self.dtype)
        narrow = torch.mm(h, self.matrix.T, out=self._narrow[: len(h)])
        if self.offset is not None:
            narrow += self.offset
        return self._wide[: len(h)].copy_(narrow)

    def narrowed(self, grad: Tensor) -> Tensor:
        """grad: (n, V) of the last call's logits. Returns: it in the matrix's dtype."""
        return grad if self._narrow is None else self._narrow[: len(grad)].copy_(grad)
