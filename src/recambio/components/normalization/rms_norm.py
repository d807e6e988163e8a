"""Root mean square layer normalization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recambio.components.normalization.base import Normalization
from recambio.registry import NORMALIZATION, Card


@NORMALIZATION.register(
    "rms_norm",
    Card(
        claim="Scales each token to unit root mean square, without centring it and without a bias: layer norm's cheaper half.",
        formula="y = weight * x / sqrt(mean(x^2) + eps)",
        paper='Zhang & Sennrich 2019, "Root Mean Square Layer Normalization", https://arxiv.org/abs/1910.07467, section 4',
        departures="eps inside the root, as in the authors' later uses; equation 4 has none.",
        parameters="D",
        flops="0; elementwise work and one reduction",
        fast_path="On CPU an own backward in six passes (torch composes some twice as many); elsewhere and under "
        "torch.compile torch.nn.functional.rms_norm.",
        effect="Quality comparable to layer norm's in the paper's experiments, translation among them (abstract).",
    ),
)
class RMSNorm(Normalization):
    """Scales each token to unit root mean square, without centring it and without a bias.

    ``y = weight * x / sqrt(mean(x^2) + eps)``

    Paper: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization", https://arxiv.org/abs/1910.07467, section 4.
    Differs from the paper: eps inside the root.

    Args:
        eps: Added to the mean square.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """See :meth:`Normalization.forward`."""
        if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            y: Tensor = _RMSNormOnCPU.apply(_wide(x), _wide(self.weight), self.eps)  # type: ignore[no-untyped-call]
        else:
            y = nn.functional.rms_norm(_wide(x), self.weight.shape, _wide(self.weight), self.eps)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"{len(self.weight)}, eps={self.eps}"


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _RMSNormOnCPU(torch.autograd.Function):
    """The same function with the gradient written out: torch composes it on CPU, and saves every intermediate result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # which would take the dot products in half precision
            scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
            y: Tensor = (x * scale).mul_(weight)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            # dx = scale (w g) - x scale^3 mean(w g x): the second term is how the scale itself follows x.
            grad_x = grad * weight
            pull = torch.linalg.vecdot(grad_x, x).unsqueeze(-1) * (scale**3 / x.shape[-1])
            grad_x.mul_(scale).addcmul_(x, pull, value=-1)
            grad_weight = torch.mv((grad * x).reshape(-1, x.shape[-1]).t(), scale.flatten())
        return grad_x, grad_weight, None
