"""Rotary position embedding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recambio.components.positions.base import PositionalEncoding
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "rope",
    Card(
        claim="Rotates queries and keys by angles that grow with their positions, so that scores depend on relative "
        "positions only.",
        formula="(q[2i], q[2i+1]) turned by p * base^(-2i/R), likewise k; R = the largest even number up to fraction * Dh",
        paper='Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", '
        "https://arxiv.org/abs/2104.09864, section 3.2.2",
        departures="fraction below 1 leaves the last columns alone, as Black et al. 2022 do "
        "(https://arxiv.org/abs/2204.06745, section 2.1). Neighbouring columns form pairs, as in the paper; checkpoints "
        "that pair the two halves of a head need their columns reordered.",
        flops="0; six multiplications and additions per pair of q and k",
        fast_path="One complex product for q and one for k; real arithmetic under torch.compile. Angles are made once a pass.",
    ),
)
class RoPE(PositionalEncoding):
    """Rotates queries and keys by angles that grow with their positions.

    ``(q[2i] + j q[2i+1]) *= exp(j p base^(-2i/R))``, likewise k: the score of t and s depends on ``t - s`` only.

    Paper: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding",
    https://arxiv.org/abs/2104.09864, section 3.2.2. Pairs are neighbouring columns, as in the paper.

    Args:
        base: Of the wavelengths, which run from 2 pi to nearly 2 pi base.
        fraction: Part of each head's width R / Dh that is rotated, rounded down to whole pairs.
    """

    def __init__(self, base: float = 10000.0, fraction: float = 1.0) -> None:
        super().__init__()
        if base <= 1.0:
            raise ValueError(f"`base` must be above 1, but is {base}")
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"`fraction` must be in (0, 1], but is {fraction}")
        self.base, self.fraction = base, fraction
        self._last: tuple[Tensor, tuple[int, bool], Tensor] | None = None

    def rotate_queries(self, q: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.rotate_queries`."""
        return self._rotate(q, positions)

    def rotate_keys(self, k: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.rotate_keys`."""
        return self._rotate(k, positions)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"base={self.base}, fraction={self.fraction}"

    def _rotate(self, x: Tensor, positions: Tensor) -> Tensor:
        """x: (B, H, T, width), positions: (1|B, T). Returns: the same shape and dtype as x."""
        width = x.shape[-1]
        if width % 2:
            raise ValueError(f"positions 'rope' turns pairs of columns: a head's width must be even, but is {width}")
        rotated = int(width * self.fraction) // 2 * 2
        if rotated == 0:
            return x
        if rotated < width:
            turned = self._turn(x[..., :rotated], positions)
            return torch.cat([turned, x[..., rotated:]], dim=-1)
        return self._turn(x, positions)

    def _turn(self, x: Tensor, positions: Tensor) -> Tensor:
        # (B, H, T, R) -> (B, H, T, R/2, 2)
        pairs = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(*x.shape[:-1], -1, 2)
        if torch.compiler.is_compiling():  # which has no complex numbers
            angles = self._angles(positions, x.shape[-1])
            cos, sin = angles.cos(), angles.sin()
            a, b = pairs.unbind(-1)
            turned = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1)
        else:
            turned = torch.view_as_real(torch.view_as_complex(pairs) * self._phases(positions, x.shape[-1]))
        return turned.flatten(-2).to(x.dtype)

    def _angles(self, positions: Tensor, width: int) -> Tensor:
        """positions: (1|B, T). Returns: (1|B, 1, T, width/2) float32."""
        even = torch.arange(0, width, 2, device=positions.device, dtype=torch.float32)
        return positions[:, None, :, None] * torch.exp(even * (-math.log(self.base) / width))

    def _phases(self, positions: Tensor, width: int) -> Tensor:
        """``exp(j angle)``. Every layer asks for the same ones, so on CPU, where comparing costs nothing, the last are kept."""
        key = (width, torch.is_inference_mode_enabled())
        last = self._last
        if last is not None and last[1] == key and positions.device.type == "cpu" and torch.equal(last[0], positions):
            return last[2]
        angles = self._angles(positions, width)
        phases = torch.complex(angles.cos(), angles.sin())
        if positions.device.type == "cpu":
            self._last = (positions.clone(), key, phases)
        return phases
