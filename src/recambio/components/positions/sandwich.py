"""The sinusoidal encodings' inner product as a bias."""

from __future__ import annotations

import torch
from torch import Tensor

from recambio.components.positions.base import PositionalEncoding
from recambio.components.tracing import is_traced
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "sandwich",
    Card(
        claim="Lowers each score by how far apart the sinusoidal encodings of query and key are, which grows like the "
        "logarithm of their distance; each head weighs it differently, and nothing is learned.",
        formula="score[h, t, s] += (sum_{i=1}^{W/2} cos((t - s) / 10000^(2i/W)) - W/2) / (8 (h+1) / H), h = 0 ... H-1, W = width",
        paper='Chi et al. 2022, "Dissecting Transformer Length Extrapolation via the Lens of Receptive Field Analysis", '
        "https://arxiv.org/abs/2212.10356",
        departures="The sum is even in t - s, which serves the encoder as it is; the paper trains causal models only.",
        flops="0; W/2 cosines a distance, once a pass",
        fast_path="A bias added to the mask once a pass; on CPU its cosines are made once for each distance.",
    ),
)
class Sandwich(PositionalEncoding):
    """The sinusoidal encodings' inner product as a bias.

    ``score[h, t, s] += (sum_{i=1}^{W/2} cos((t - s) / 10000^(2i/W)) - W/2) / (8 (h+1) / H)``, at most 0

    Paper: Chi et al. 2022, "Dissecting Transformer Length Extrapolation via the Lens of Receptive Field Analysis",
    https://arxiv.org/abs/2212.10356.

    Args:
        width: W, the width of the sinusoidal encodings; the bias grows with it.
    """

    def __init__(self, n_heads: int, width: int = 128) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"`width` must be even and at least 2, but is {width}")
        self.n_heads, self.width = n_heads, width

    def attention_bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.attention_bias`."""
        distance = (query_positions[:, None, :, None] - key_positions[:, None, None, :]).abs()
        if distance.device.type == "cpu" and distance.numel() and not is_traced():
            fall = self._fall(torch.arange(int(distance.max()) + 1))[distance]
        else:
            fall = self._fall(distance)
        head = torch.arange(1, self.n_heads + 1, device=distance.device, dtype=fall.dtype)
        return fall / (head * (8.0 / self.n_heads))[:, None, None]

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"width={self.width}"

    def _fall(self, distance: Tensor) -> Tensor:
        """The sum over the waves, less its value at distance 0; any shape, float32."""
        half = self.width // 2
        pair = torch.arange(1, half + 1, device=distance.device, dtype=torch.float32)
        return (distance[..., None] * 10000.0 ** (-pair / half)).cos().sum(-1) - half
