"""Layer normalization."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recambio.components.normalization.base import Normalization
from recambio.registry import NORMALIZATION, Card


@NORMALIZATION.register(
    "layer_norm",
    Card(
        claim="Centres each token and scales it to unit variance, then applies a learned gain and bias: "
        "the original Transformer's norm.",
        formula="y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias, var without Bessel's correction",
        paper='Ba et al. 2016, "Layer Normalization", https://arxiv.org/abs/1607.06450, section 3.1',
        departures="eps inside the root, as in every implementation; the paper has none.",
        parameters="D * (1 + bias)",
        flops="0; elementwise work and two reductions",
        fast_path="torch.nn.functional.layer_norm",
    ),
)
class LayerNorm(Normalization):
    """Centres each token and scales it to unit variance, then applies a learned gain and bias.

    ``y = weight * (x - mean(x)) / sqrt(var(x) + eps) + bias``

    Paper: Ba et al. 2016, "Layer Normalization", https://arxiv.org/abs/1607.06450, section 3.1.
    Differs from the paper: eps inside the root, as in every implementation.

    Args:
        eps: Added to the variance.
        bias: Whether the learned bias exists.
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """See :meth:`Normalization.forward`."""
        # On CPU the kernel takes half precision in and out and computes in float32; its gradients it sums in half precision.
        is_exact = x.dtype not in (torch.float16, torch.bfloat16) or (
            x.device.type == "cpu" and not torch.is_grad_enabled()
        )
        if x.dtype == self.weight.dtype and is_exact:
            return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)
        bias = None if self.bias is None else self.bias.float()
        return nn.functional.layer_norm(x.float(), self.weight.shape, self.weight.float(), bias, self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"{len(self.weight)}, eps={self.eps}, bias={self.bias is not None}"
