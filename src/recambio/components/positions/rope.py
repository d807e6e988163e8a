"""Rotary position embedding."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from recambio.components.positions.base import PositionalEncoding
from recambio.components.tracing import is_traced
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "rope",
    Card(
        claim="Rotates queries and keys by angles that grow with their positions, so that scores depend on relative "
        "positions only.",
        formula="(q[2i], q[2i+1]) turned by p w[i], w[i] = base^(-2i/R), likewise k; R = the largest even number up to "
        "fraction * Dh. Scaling linear: w[i] / factor; ntk: base * factor^(R/(R-2)) for base; yarn: "
        "r w[i] + (1 - r) w[i] / factor, r = (w[i] original_length / 2 pi - beta_slow) / (beta_fast - beta_slow) within 0 and 1, "
        "and q and k times 0.1 ln(factor) + 1",
        paper='Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding", '
        'https://arxiv.org/abs/2104.09864, section 3.2.2. Scaling: Chen et al. 2023, "Extending Context Window of Large '
        'Language Models via Positional Interpolation", https://arxiv.org/abs/2306.15595 (linear); Peng et al. 2023, "YaRN: '
        'Efficient Context Window Extension of Large Language Models", https://arxiv.org/abs/2309.00071, section 3 (ntk, yarn)',
        departures="fraction below 1 leaves the last columns alone, as Black et al. 2022 do "
        "(https://arxiv.org/abs/2204.06745, section 2.1). Neighbouring columns form pairs, as in the paper; checkpoints "
        "that pair the two halves of a head need their columns reordered. The factor is a constant: one that follows the "
        "current length (dynamic scaling) would turn the cached keys anew at every step. yarn's ramp is linear in the number "
        "of turns, as in the paper; common code has it linear in the column.",
        flops="0; six multiplications and additions per pair of q and k",
        fast_path="One complex product for q and one for k; real arithmetic under torch.compile. Angles are made once a pass.",
    ),
)
class RoPE(PositionalEncoding):
    """Rotates queries and keys by angles that grow with their positions.

    ``(q[2i] + j q[2i+1]) *= exp(j p base^(-2i/R))``, likewise k: the score of t and s depends on ``t - s`` only.

    Paper: Su et al. 2021, "RoFormer: Enhanced Transformer with Rotary Position Embedding",
    https://arxiv.org/abs/2104.09864, section 3.2.2. Pairs are neighbouring columns, as in the paper. Scaling to longer
    sentences than trained on: Peng et al. 2023, "YaRN", https://arxiv.org/abs/2309.00071, section 3.

    Args:
        base: Of the wavelengths, which run from 2 pi to nearly 2 pi base.
        fraction: Part of each head's width R / Dh that is rotated, rounded down to whole pairs.
        scaling: "linear" slows all pairs down by `factor`; "ntk" raises the base, so that the fastest pair keeps its speed
            and the slowest is slowed down by `factor`; "yarn" leaves pairs alone that turn `beta_fast` times over
            `original_length`, slows those down by `factor` that turn fewer than `beta_slow` times, and sharpens attention.
        factor: Longest sentence to serve over longest trained on.
        original_length: Longest sentence trained on without scaling, which yarn counts turns over; by default the longest
            training sentence. Over n tokens the fastest pair turns n / 2 pi times: 20 at 128 tokens.
        beta_fast: Turns from which yarn leaves a pair alone.
        beta_slow: Turns up to which yarn slows a pair down by the whole factor.
    """

    keys_differ = False
    """Whether queries and keys are multiplied by other numbers."""

    def __init__(
        self,
        base: float = 10000.0,
        fraction: float = 1.0,
        scaling: Literal["none", "linear", "ntk", "yarn"] = "none",
        factor: float = 1.0,
        original_length: int | None = None,
        beta_fast: float = 32.0,
        beta_slow: float = 1.0,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        if base <= 1.0:
            raise ValueError(f"`base` must be above 1, but is {base}")
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"`fraction` must be in (0, 1], but is {fraction}")
        if factor < 1.0 or (factor > 1.0 and scaling == "none"):
            raise ValueError(f"`factor` must be 1 without `scaling`, and at least 1 with it, but is {factor}")
        if scaling != "yarn" and (original_length, beta_fast, beta_slow) != (None, 32.0, 1.0):
            raise ValueError(
                "`original_length`, `beta_fast` and `beta_slow` must be left out unless `scaling` is 'yarn', "
                f"but it is {scaling!r}"
            )
        if not 0.0 <= beta_slow < beta_fast:
            raise ValueError(f"`beta_slow` must be in [0, `beta_fast` ({beta_fast})), but is {beta_slow}")
        length = max_length if original_length is None else original_length
        if scaling == "yarn" and (length is None or length < 1):
            raise ValueError(f"`original_length` must be at least 1, but is {length}")
        self.base, self.fraction = base, fraction
        self.scaling, self.factor = scaling, factor
        self.original_length, self.turns = length, (beta_slow, beta_fast)
        self._last: dict[bool, tuple[Tensor, tuple[int, torch.dtype, bool], Tensor]] = {}

    def rotate_queries(self, q: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.rotate_queries`."""
        return self._rotate(q, positions, is_key=False)

    def rotate_keys(self, k: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.rotate_keys`."""
        return self._rotate(k, positions, is_key=True)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        scaled = "" if self.scaling == "none" else f", scaling={self.scaling!r}, factor={self.factor}"
        return f"base={self.base}, fraction={self.fraction}{scaled}"

    def amplitude(self, positions: Tensor, frequencies: Tensor, is_key: bool) -> Tensor | float:
        """What the turned pairs are multiplied by.

        Args:
            positions: (1|B, T).
            frequencies: (width/2,), for their dtype and device.
            is_key: Keys, not queries.

        Returns:
            (1|B, 1, T, width/2), or one number for all.
        """
        return 0.1 * math.log(self.factor) + 1.0 if self.scaling == "yarn" else 1.0

    def _rotate(self, x: Tensor, positions: Tensor, is_key: bool) -> Tensor:
        """x: (B, H, T, width), positions: (1|B, T). Returns: the same shape and dtype as x."""
        width = x.shape[-1]
        if width % 2:
            raise ValueError(f"rotary positions turn pairs of columns: a head's width must be even, but is {width}")
        rotated = int(width * self.fraction) // 2 * 2
        if rotated == 0:
            return x
        if rotated == width:
            return self._turn(x, positions, is_key)
        turned, rest = self._turn(x[..., :rotated], positions, is_key), x[..., rotated:]
        if self.scaling == "yarn":  # which sharpens the whole score
            rest = rest * self.amplitude(positions, rest, is_key)
        return torch.cat([turned, rest], dim=-1)

    def _turn(self, x: Tensor, positions: Tensor, is_key: bool) -> Tensor:
        # (B, H, T, R) -> (B, H, T, R/2, 2)
        pairs = x.to(torch.promote_types(x.dtype, torch.float32)).reshape(*x.shape[:-1], -1, 2)
        if torch.compiler.is_compiling():  # which has no complex numbers
            cos, sin = self._waves(positions, x.shape[-1], pairs.dtype, is_key)
            a, b = pairs.unbind(-1)
            turned = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1)
        else:
            phases = self._phases(positions, x.shape[-1], pairs.dtype, is_key)
            if pairs.storage_offset() % 2 or any(n % 2 for n in pairs.stride()[:-1]):  # no row of complex numbers
                pairs = pairs.clone(memory_format=torch.contiguous_format)
            turned = torch.view_as_real(torch.view_as_complex(pairs) * phases)
        return turned.flatten(-2).to(x.dtype)

    def _frequencies(self, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Radians a position, (width/2,)."""
        even = torch.arange(0, width, 2, device=device, dtype=dtype)
        base = self.base
        if self.scaling == "ntk" and width > 2:
            base *= self.factor ** (width / (width - 2))
        frequencies = torch.exp(even * (-math.log(base) / width))
        if self.scaling == "linear":
            return frequencies / self.factor
        if self.scaling == "yarn":
            assert self.original_length is not None
            slow, fast = self.turns
            kept = (frequencies * (self.original_length / (2 * math.pi)) - slow) / (fast - slow)
            return torch.lerp(frequencies / self.factor, frequencies, kept.clamp(0.0, 1.0))
        return frequencies

    def _waves(self, positions: Tensor, width: int, dtype: torch.dtype, is_key: bool) -> tuple[Tensor, Tensor]:
        """positions: (1|B, T). Returns: cosines and sines, (1|B, 1, T, width/2)."""
        frequencies = self._frequencies(width, positions.device, dtype)
        angles = positions[:, None, :, None] * frequencies
        amplitude = self.amplitude(positions, frequencies, is_key)
        cos, sin = angles.cos(), angles.sin()
        return (cos, sin) if isinstance(amplitude, float) and amplitude == 1.0 else (cos * amplitude, sin * amplitude)

    def _phases(self, positions: Tensor, width: int, dtype: torch.dtype, is_key: bool) -> Tensor:
        """``exp(j angle)``. Every layer asks for the same ones, so on CPU, where comparing costs nothing, the last are kept."""
        if is_traced():
            return torch.complex(*self._waves(positions, width, dtype, is_key))
        key, slot = (width, dtype, torch.is_inference_mode_enabled()), is_key and self.keys_differ
        last = self._last.get(slot)
        if last is not None and last[1] == key and positions.device.type == "cpu" and torch.equal(last[0], positions):
            return last[2]
        phases = torch.complex(*self._waves(positions, width, dtype, is_key))
        if positions.device.type == "cpu":
            self._last[slot] = (positions.clone(), key, phases)
        return phases
