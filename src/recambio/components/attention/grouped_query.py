"""Grouped-query attention; with one group, multi-query attention."""

from __future__ import annotations

from recambio.components.attention.projected import ProjectedAttention
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
        example={"n_groups": 2},
    ),
)
class GroupedQuery(ProjectedAttention):
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
        super().__init__(d_model, n_heads, n_groups, site, bias, attention_dropout)
