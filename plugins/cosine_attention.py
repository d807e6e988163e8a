"""An attention by cosine similarity, in one file.

recambio plugin check plugins/cosine_attention.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recambio.components.attention import Attention, KeyValueCache, MemoryCache, attend, merge_heads, split_heads
from recambio.components.context import AttentionContext, Cache
from recambio.components.linear import Linear
from recambio.registry import ATTENTION, Card


@ATTENTION.register(
    "cosine_attention",
    Card(
        claim="Scores are cosines of query and key, times a learned temperature per head: no score can run away.",
        formula="softmax(g_h cos(q_h, k_h)) v_h",
        paper='Henry et al. 2020, "Query-Key Normalization for Transformers", https://arxiv.org/abs/2010.04245, section 3',
        departures="One temperature per head rather than one a layer; it starts at a fixed number.",
        parameters="4 * D * D + H",
        flops="(4 + 4 * S / T) * D * D + 4 * S * D; the norms and the softmax are not counted",
    ),
)
class CosineAttention(Attention):
    """Softmax attention over cosines of queries and keys."""

    def __init__(self, d_model: int, n_heads: int, site: str, temperature: float = 8.0) -> None:
        super().__init__()
        self.n_heads, self.is_cross = n_heads, site == "cross"
        self.query = Linear(d_model, d_model, bias=False, role="q")
        self.memory = Linear(d_model, {"k": d_model, "v": d_model}, bias=False)
        self.output = Linear(d_model, d_model, bias=False, role="o")
        self.temperature = nn.Parameter(torch.full((n_heads, 1, 1), temperature))

    def forward(
        self, x: Tensor, memory: Tensor | None, context: AttentionContext, cache: Cache | None = None
    ) -> Tensor:
        q = nn.functional.normalize(split_heads(self.query(x), self.n_heads), dim=-1)
        if self.is_cross:
            k, v = (cache.k, cache.v) if isinstance(cache, MemoryCache) else self._project(memory)
        else:
            k, v = self._project(x)
            q = context.positions.rotate_queries(q, context.query_positions)
            k = context.positions.rotate_keys(k, context.query_positions)
            if isinstance(cache, KeyValueCache):
                k, v = cache.append(k, v)
        return self.output(merge_heads(attend(q * self.temperature.to(q.dtype), k, v, context, scale=1.0)))

    def new_cache(self, rows: int, max_length: int, memory: Tensor | None = None) -> Cache:
        return MemoryCache(*self._project(memory)) if self.is_cross else KeyValueCache(rows, max_length)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        k, v = (split_heads(part, self.n_heads) for part in self.memory.apart(x))
        return nn.functional.normalize(k, dim=-1), v
