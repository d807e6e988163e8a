"""The original multi-head attention."""

from __future__ import annotations

from torch import Tensor

from recambio.components.attention.base import Attention
from recambio.components.attention.cache import KeyValueCache, MemoryCache
from recambio.components.attention.kernels import attend, merge_heads, split_heads
from recambio.components.context import AttentionContext, Cache
from recambio.components.linear import Linear
from recambio.registry import ATTENTION, Card


@ATTENTION.register(
    "multi_head",
    Card(
        claim="Several softmax attentions side by side, each in a subspace of its own: the original Transformer's.",
        formula="head_h = softmax(q_h k_h^T / sqrt(Dh)) v_h; y = concat(head_1 ... head_H) W_o",
        paper='Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.2.2',
        departures="The projections have biases unless bias is false; the paper's formula has none.",
        parameters="4 * D * D + bias * 4 * D",
        flops="(4 + 4 * S / T) * D * D + 4 * S * D; the softmax is not counted, and a causal mask saves nothing",
        fast_path="One projection for q, k, v (k, v in cross-attention); scaled_dot_product_attention, with its causal "
        "flag instead of a mask where nothing is padded on the left.",
    ),
)
class MultiHead(Attention):
    """Several softmax attentions side by side, each in a subspace of its own.

    ``head_h = softmax(q_h k_h^T / sqrt(Dh)) v_h``, ``y = concat(head_1 ... head_H) W_o``

    Paper: Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.2.2.
    Differs from the paper: the projections have biases unless `bias` is false.

    Args:
        bias: Whether the four projections have biases.
        attention_dropout: Dropout on the attention weights; the paper has none there.
    """

    def __init__(
        self, d_model: int, n_heads: int, site: str, bias: bool = True, attention_dropout: float = 0.0
    ) -> None:
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"`d_model` must be divisible by `n_heads` ({n_heads}), but is {d_model}")
        if not 0.0 <= attention_dropout < 1.0:
            raise ValueError(f"`attention_dropout` must be in [0, 1), but is {attention_dropout}")
        self.n_heads = n_heads
        self.attention_dropout = attention_dropout
        self.is_cross = site == "cross"
        if self.is_cross:
            self.query = Linear(d_model, d_model, bias=bias, role="q")
            self.memory = Linear(d_model, {"k": d_model, "v": d_model}, bias=bias)
        else:
            self.input = Linear(d_model, {"q": d_model, "k": d_model, "v": d_model}, bias=bias)
        self.output = Linear(d_model, d_model, bias=bias, role="o")

    def forward(
        self, x: Tensor, memory: Tensor | None, context: AttentionContext, cache: Cache | None = None
    ) -> Tensor:
        """See :meth:`Attention.forward`."""
        if self.is_cross:
            q = split_heads(self.query(x), self.n_heads)
            k, v = (cache.k, cache.v) if isinstance(cache, MemoryCache) else self._project(memory)
        else:
            # (B, T, H * Dh) -> (B, H, T, Dh)
            q, k, v = (split_heads(part, self.n_heads) for part in self.input.apart(x))
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
        return split_heads(k, self.n_heads), split_heads(v, self.n_heads)
