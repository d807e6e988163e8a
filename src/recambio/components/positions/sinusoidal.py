"""The original sinusoidal encoding."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from recambio.components.positions.base import PositionalEncoding
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "sinusoidal",
    Card(
        claim="Adds fixed sines and cosines of the position, of geometrically growing wavelengths: the original Transformer's.",
        formula="x[p, 2i] += sin(p / 10000^(2i/D)); x[p, 2i+1] += cos(p / 10000^(2i/D)); layout half: the sines stand in the "
        "first half of the columns, the cosines in the second",
        paper='Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.5',
        flops="0; sines and cosines once a pass",
        fast_path="Elementwise, once a pass; no table, so no longest position.",
    ),
)
class Sinusoidal(PositionalEncoding):
    """Adds fixed sines and cosines of the position, of geometrically growing wavelengths.

    ``x[p, 2i] += sin(p / 10000^(2i/D))``, ``x[p, 2i+1] += cos(p / 10000^(2i/D))``

    Paper: Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.5.

    Args:
        layout: "interleaved" is the paper's order of columns; "half" has all sines before all cosines, as Marian and tensor2tensor
            have it. To a model that learns from scratch the order means nothing; weights that were trained with one need it.
    """

    def __init__(self, layout: Literal["interleaved", "half"] = "interleaved") -> None:
        super().__init__()
        self.layout = layout

    def add_to_embeddings(self, x: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.add_to_embeddings`."""
        d_model = x.shape[-1]
        dtype = torch.promote_types(x.dtype, torch.float32)
        even = torch.arange(0, d_model, 2, device=x.device, dtype=dtype)
        angles = positions[..., None] * torch.exp(even * (-math.log(10000.0) / d_model))
        # An odd width drops the last cosine.
        if self.layout == "half":
            waves = torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :d_model]
        else:  # (B, T, D/2, 2) -> (B, T, D): sines in the even columns
            waves = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :d_model]
        return (x + waves).to(x.dtype)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"layout={self.layout!r}"
