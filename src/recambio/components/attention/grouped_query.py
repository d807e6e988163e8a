"""Grouped-query attention; with one group, multi-query attention."""

from __future__ import annotations

from torch import Tensor

from recambio.components.attention.base import Attention
from recambio.components.attention.cache import KeyValueCache, MemoryCache
from recambio.components.attention.kernels import attend, merge_heads, split_heads
from recambio.components.context import AttentionContext, Cache
from recambio.components.linear import Linear
from recambio.registry import ATTENTION, Card


@ATTENTION.register(
    "grouped_query",
    Card(
        claim="Query heads share keys and values in groups, which shrinks the cache that decoding reads at every step.",
        formula="head_h = softmax(q_h k_g^T / sqrt(Dh)) v_g with g = floor(h n_groups / H); "
        "y = concat(head_1 ... head_H) W_o",
        paper='Ainslie et al. 2023, "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints", '
        'https://arxiv.org/abs/2305.13245, section 2.2; one group: Shazeer 2019, "Fast Transformer Decoding: One '
        'Write-Head is All You Need", https://arxiv.org/abs/1911.02150, section 3',
        departures="Trained from the start rather than from a multi-head checkpoint. The projections have biases unless "
        "bias is false.",
        parameters="2 * D * D + 2 * D * n_groups * Dh + bias * (2 * D + 2 * n_groups * Dh)",
        flops="4 * D * D + 4 * S / T * D * n_groups * Dh + 4 * S * D; the softmax is not counted, and a causal mask saves "
        "nothing",
        fast_path="scaled_dot_product_attention; the heads of a group are its queries, so no key is copied. The cache holds "
        "the groups only.",
    ),
)
class GroupedQuery(Attention):
    """Query heads share keys and values in groups, which shrinks the cache that decoding reads at every step.

    ``head_h = softmax(q_h k_g^T / sqrt(Dh)) v_g`` with ``g = floor(h * n_groups / H)``

    Paper: Ainslie et al. 2023, "GQA: Training Generalized Multi-Query Transformer Models from Multi-Head Checkpoints",
    https://arxiv.org/abs/2305.13245, section 2.2. One group: Shazeer 2019, https://arxiv.org/abs/1911.02150, section 3.
    Differs from the paper: trained from the start; the projections have biases unless `bias` is false.

    Args:
        n_groups: Heads of keys and values; 1 is multi-query attention, `n_heads` is multi-head attention.
        bias: Whether the four projections have biases.
        attention_dropout: Dropout on the attention weights.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        site: str,
        n_groups: int,
        bias: bool = True,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"`d_model` must be divisible by `n_heads` ({n_heads}), but is {d_model}")
        if n_groups < 1 or n_heads % n_groups:
            raise ValueError(f"`n_heads` must be divisible by `n_groups` ({n_groups}), but is {n_heads}")
        if not 0.0 <= attention_dropout < 1.0:
            raise ValueError(f"`attention_dropout` must be in [0, 1), but is {attention_dropout}")
        self.n_heads, self.n_groups = n_heads, n_groups
        self.attention_dropout = attention_dropout
        self.is_cross = site == "cross"
        width = d_model // n_heads * n_groups
        if self.is_cross:
            self.query = Linear(d_model, d_model, bias=bias, role="q")
            self.memory = Linear(d_model, {"k": width, "v": width}, bias=bias)
        else:
            self.input = Linear(d_model, {"q": d_model, "k": width, "v": width}, bias=bias)
        self.output = Linear(d_model, d_model, bias=bias, role="o")

    def forward(
        self, x: Tensor, memory: Tensor | None, context: AttentionContext, cache: Cache | None = None
    ) -> Tensor:
        """See :meth:`Attention.forward`."""
        if self.is_cross:
            q = split_heads(self.query(x), self.n_heads)
            k, v = (cache.k, cache.v) if isinstance(cache, MemoryCache) else self._project(memory)
        else:
            q, k, v = self.input.apart(x)
            # (B, T, H * Dh) -> (B, H, T, Dh), and (B, T, G * Dh) -> (B, G, T, Dh)
            q, k, v = split_heads(q, self.n_heads), split_heads(k, self.n_groups), split_heads(v, self.n_groups)
            q = context.positions.rotate_queries(q, context.query_positions)
            k = context.positions.rotate_keys(k, context.query_positions)
            if isinstance(cache, KeyValueCache):
                k, v = cache.append(k, v)
        y = attend(q, k, v, context, dropout=self.attention_dropout if self.training else 0.0)
        z: Tensor = self.output(merge_heads(y))
        return z

    def new_cache(self, rows: int, max_length: int, memory: Tensor | None = None) -> Cache:
        """See :meth:`Attention.new_cache`."""
        return MemoryCache(*self._project(memory)) if self.is_cross else KeyValueCache(rows, max_length)

    def _project(self, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        if memory is None:
            raise ValueError("cross-attention needs the encoder's output, or a cache made from it")
        k, v = self.memory.apart(memory)
        return split_heads(k, self.n_groups), split_heads(v, self.n_groups)
