"""The original multi-head attention."""

from __future__ import annotations

from recambio.components.attention.projected import ProjectedAttention
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
class MultiHead(ProjectedAttention):
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
        super().__init__(d_model, n_heads, n_heads, site, bias, attention_dropout)
