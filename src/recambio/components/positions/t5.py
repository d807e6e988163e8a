"""T5's relative position bias."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from recambio.components.positions.base import PositionalEncoding
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "t5",
    Card(
        claim="Adds a learned number to each score, by head and by bucket of the relative position; near buckets hold one "
        "distance, far ones exponentially many. All layers of a stack share the table.",
        formula="score[h, t, s] += weight[bucket(s - t), h]",
        paper='Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", '
        "https://arxiv.org/abs/1910.10683, section 2.1",
        departures="Scores keep their 1/sqrt(Dh), which T5 folds into its initialisation. Cross-attention gets no bias.",
        parameters="n_buckets * H",
        flops="0; a table lookup once a pass",
        fast_path="A bias added to the mask once a pass. It needs a gradient, so on CPU training takes "
        "scaled_dot_product_attention's math path.",
    ),
)
class T5Bias(PositionalEncoding):
    """Learned bias per head and bucket of relative position, shared by the layers of a stack.

    ``score[h, t, s] += weight[bucket(s - t), h]``

    Half of a direction's buckets hold one distance each, the other half logarithmically growing ranges up to
    `max_distance`; everything farther shares the last. The encoder gives half of the buckets to keys on the right; the causal
    decoder gives all of them to keys on the left.

    Paper: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
    https://arxiv.org/abs/1910.10683, section 2.1.

    Args:
        n_buckets: Buckets of both directions together.
        max_distance: Distance from which on all share one bucket.
    """

    buckets: Tensor

    def __init__(
        self, n_heads: int, d_model: int, is_causal: bool, n_buckets: int = 32, max_distance: int = 128
    ) -> None:
        super().__init__()
        per_direction = n_buckets if is_causal else n_buckets // 2
        if n_buckets % 2 or per_direction < 2:
            raise ValueError(f"`n_buckets` must be even and give each direction two at least, but is {n_buckets}")
        if max_distance <= per_direction // 2:
            raise ValueError(f"`max_distance` must exceed {per_direction // 2}, but is {max_distance}")
        self.is_causal = is_causal
        self.weight = nn.Parameter(torch.empty(n_buckets, n_heads))
        self.scale = d_model**-0.5
        nn.init.normal_(self.weight, std=self.scale)
        table = [bucket(distance, per_direction, max_distance) for distance in range(max_distance + 1)]
        self.register_buffer("buckets", torch.tensor(table), persistent=False)

    def draw(self, stream: Callable[[str], torch.Generator]) -> None:
        """Fill the table from N(0, 1/D), as T5 does."""
        with torch.no_grad():
            self.weight.copy_(torch.empty(self.weight.shape).normal_(std=self.scale, generator=stream("weight")))

    def no_weight_decay(self) -> set[str]:
        """The table is a bias."""
        return {"weight"}

    def attention_bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.attention_bias`."""
        offset = key_positions[:, None, :] - query_positions[:, :, None]
        if self.is_causal:
            index = self.buckets[(-offset).clamp(0, len(self.buckets) - 1)]
        else:
            index = self.buckets[offset.abs().clamp(max=len(self.buckets) - 1)]
            index = index + (offset > 0) * (self.weight.shape[0] // 2)
        # (1|B, T, S, H) -> (1|B, H, T, S)
        bias = nn.functional.embedding(index, self.weight)
        return bias.to(torch.promote_types(bias.dtype, torch.float32)).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"n_buckets={self.weight.shape[0]}, max_distance={len(self.buckets) - 1}, is_causal={self.is_causal}"


def bucket(distance: int, n_buckets: int, max_distance: int) -> int:
    """The bucket of a distance in one direction of ``n_buckets``."""
    exact = n_buckets // 2
    if distance < exact:
        return distance
    growth = math.log(distance / exact) / math.log(max_distance / exact)
    # The nudge keeps a distance that stands exactly on an edge (16, 32, 64 of 128) from rounding below it.
    return min(exact + int(growth * (n_buckets - exact) + 1e-9), n_buckets - 1)
