"""Attention to the keys with the largest scores only."""

from __future__ import annotations

import torch
from torch import Tensor

from recambio.components.attention.kernels import masked_softmax
from recambio.components.attention.weighed import WeighedAttention
from recambio.components.context import AttentionContext
from recambio.registry import ATTENTION, Card


@ATTENTION.register(
    "sparse_topk",
    Card(
        claim="Each query attends to the k keys with the largest scores, and those that tie with the k-th, only; the "
        "others get exactly no weight.",
        formula="w = softmax(x where x_ts >= the k-th largest of x_t, else -inf), x = q k^T / sqrt(Dh)",
        paper='Zhao et al. 2019, "Explicit Sparse Transformer: Concentrated Attention Through Explicit Selection", '
        "https://arxiv.org/abs/1912.11637",
        departures="The projections have biases unless bias is false.",
        parameters="4 * D * D + bias * 4 * D",
        flops="(4 + 4 * S / T) * D * D + 4 * S * D; choosing and the softmax are not counted, and neither a causal "
        "mask nor the zeros save anything",
        fast_path="None: which keys stay is known after the scores only. Two products with the weights written out "
        "between them.",
        effect="The authors report results in translation comparable to or better than earlier sparse attentions', at "
        "less time (abstract).",
    ),
)
class ExplicitSparse(WeighedAttention):
    """Each query attends to the k keys with the largest scores only.

    ``w[t] = softmax(x[t, s] if x[t, s] >= top_k(x[t]) else -inf)`` with ``x = q k^T / sqrt(Dh)``

    Keys that tie with the k-th are kept too. With k keys or fewer it is multi-head attention.

    Paper: Zhao et al. 2019, "Explicit Sparse Transformer: Concentrated Attention Through Explicit Selection",
    https://arxiv.org/abs/1912.11637.

    Args:
        k: Keys that a query attends to.
        bias: Whether the four projections have biases.
        attention_dropout: Dropout on the attention weights.
    """

    def __init__(
        self, d_model: int, n_heads: int, site: str, k: int = 8, bias: bool = True, attention_dropout: float = 0.0
    ) -> None:
        super().__init__(d_model, n_heads, n_heads, site, bias, attention_dropout)
        if k < 1:
            raise ValueError(f"`k` must be at least 1, but is {k}")
        self.k = k

    def weigh(self, scores: Tensor, mask: Tensor | None, context: AttentionContext) -> Tensor:
        """See :meth:`WeighedAttention.weigh`."""
        is_compiling = torch.compiler.is_compiling()  # where a branch on the length would compile anew
        if not is_compiling and scores.shape[-1] <= self.k:
            return masked_softmax(scores, mask)
        k = torch.sym_min(self.k, scores.shape[-1]) if is_compiling else self.k  # type: ignore[no-untyped-call]
        with torch.no_grad():
            seen = scores if mask is None else torch.where(mask, scores, -torch.inf)
            kept = seen >= seen.topk(k, sorted=False).values.amin(-1, keepdim=True)
            if mask is not None:  # with fewer keys than k the k-th largest is -inf
                kept &= mask
        weights = torch.where(kept, scores, torch.finfo(scores.dtype).min).softmax(-1)
        return weights if mask is None else weights * mask.any(-1, keepdim=True)
