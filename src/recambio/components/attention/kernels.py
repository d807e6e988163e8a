"""The kernel under every softmax attention: one function that chooses, one that spells the formula out.

`scaled_dot_product_attention` is the fast path everywhere. Its inputs are best left as the transposed views that
``split_heads`` gives: copying them into one block first costs more than it saves at every shape that translation meets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recambio.components.context import AttentionContext
from recambio.components.tracing import is_traced

_FEW_QUERIES = 8
"""Up to so many queries a row, attention in half precision on CPU is done in float32."""

_MANY_HEADS = 64
"""From so many heads of all rows together, few queries each, two batched products are faster on CPU than the fused kernel."""


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """x: (B, T, H * Dh). Returns: (B, H, T, Dh), a view."""
    return x.view(*x.shape[:-1], n_heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """x: (B, H, T, Dh). Returns: (B, T, H * Dh)."""
    return x.transpose(1, 2).flatten(2)


def attend(
    q: Tensor, k: Tensor, v: Tensor, context: AttentionContext, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """``softmax(scale * q k^T + bias) v`` under the context's mask, by the fastest kernel that computes exactly that.

    A query that may attend to nothing gets exactly zero, and sends zero gradients.

    Args:
        q: (B, H, T, Dh)
        k: (B, G, S, Dh), where G divides H: each key head serves H / G neighbouring query heads.
        v: (B, G, S, Dv)
        context: Its ``merged`` (or ``is_causal``) is the mask and bias.
        scale: Factor on the scores; 1 / sqrt(Dh) if None.
        dropout: Probability of dropping a weight. The caller passes 0 in evaluation.

    Returns:
        (B, H, T, Dv)

    Raises:
        ValueError: A causal context without a mask tensor whose queries and keys are not the same tokens: the kernel would
            align the first query with the first key.
    """
    n_queries, n_keys = q.shape[2], k.shape[2]
    mask = context.merged
    is_causal = context.is_causal and mask is None
    if is_causal and n_queries != n_keys:
        raise ValueError(
            f"`is_causal` needs as many queries as keys, but they are {n_queries} and {n_keys}; give a mask"
        )
    if q.device.type == "cpu" and q.dtype in (torch.bfloat16, torch.float16):
        # Gradients first: a compiler that is asked for the length makes a graph for each answer.
        if torch.is_grad_enabled() or n_queries > _FEW_QUERIES:
            return _attend_products(q, k, v, context, scale, dropout)
        # A decoding step: products of a few rows each take longer in half precision than the casts and float32 together.
        with torch.autocast("cpu", enabled=False):
            return _attend_fused(q.float(), k.float(), v.float(), mask, is_causal, scale, dropout).to(v.dtype)
    if q.dtype == torch.float32 and _is_large_step(q, dropout):
        return _attend_products(q, k, v, context, scale, dropout)
    return _attend_fused(q, k, v, mask, is_causal, scale, dropout)


def _is_large_step(q: Tensor, dropout: float) -> bool:
    """Whether this is a decoding step of many rows on CPU; the fused kernel has too little to do for each of their heads."""
    # The sizes last: a compiler that is asked for them makes a graph for each answer.
    return (
        q.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and not dropout
        and q.shape[2] <= _FEW_QUERIES
        and q.shape[0] * q.shape[1] >= _MANY_HEADS
    )


def _attend_fused(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None, dropout: float
) -> Tensor:
    batch, n_heads, n_queries, _ = q.shape
    n_groups = k.shape[1]
    if mask is not None and mask.is_floating_point() and mask.dtype != q.dtype:
        mask = mask.to(q.dtype)
    if n_groups == n_heads or is_causal:
        return nn.functional.scaled_dot_product_attention(
            q, k, v, mask, dropout, is_causal, scale=scale, enable_gqa=n_groups != n_heads
        )
    # The heads of a group become queries of one head: no key is copied, and kernels that don't know groups serve too.
    # (B, G * H/G, T, Dh) -> (B, G, H/G * T, Dh)
    per_group = n_heads // n_groups
    q = q.reshape(batch, n_groups, per_group * n_queries, -1)
    if mask is not None:
        mask = _fold(mask, n_groups, per_group, n_queries)
    y = nn.functional.scaled_dot_product_attention(q, k, v, mask, dropout, scale=scale)
    return y.reshape(batch, n_heads, n_queries, -1)


def _attend_products(
    q: Tensor, k: Tensor, v: Tensor, context: AttentionContext, scale: float | None, dropout: float
) -> Tensor:
    """Two batched matrix products and a softmax: in training on CPU in half precision several times faster than the fused kernel.

    The fused kernel's backward pass takes 5-11 ms where this takes 1.2 (bfloat16, 1,024 tokens, 4 heads of 64). The scores
    are rounded to the inputs' dtype, as autocast rounds any product; the softmax is taken in float32.
    """
    batch, n_heads, n_queries, width = q.shape
    n_groups, n_keys = k.shape[1], k.shape[2]
    rows = batch * n_groups
    queries = q.reshape(rows, n_heads // n_groups * n_queries, width)
    keys, values = k.reshape(rows, n_keys, width), v.reshape(rows, n_keys, v.shape[-1])
    added, empty = _terms(q, k, context)
    scale = width**-0.5 if scale is None else scale
    if added is None:
        scores = torch.bmm(queries, keys.transpose(1, 2)) * scale
    else:
        scores = torch.baddbmm(added, queries, keys.transpose(1, 2), alpha=scale)
    weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
    if empty is not None:
        weights = weights.masked_fill(empty, 0.0)
    if dropout:
        weights = nn.functional.dropout(weights, dropout)
    return torch.bmm(weights, values).view(batch, n_heads, n_queries, -1)


def _terms(q: Tensor, k: Tensor, context: AttentionContext) -> tuple[Tensor | None, Tensor | None]:
    """Mask and bias as a term of the scores, (B * G, 1 | H/G * T, S), and which queries may attend to nothing; None where there is none.

    In decoding, layers of the same shape share what the first of them has computed.
    """
    if torch.is_grad_enabled() or is_traced():
        return _new_terms(q, k, context)
    key = (q.dtype, q.shape[:3], k.shape[1:3])
    if key not in context.derived:
        context.derived[key] = _new_terms(q, k, context)
    return context.derived[key]  # type: ignore[no-any-return]


def _new_terms(q: Tensor, k: Tensor, context: AttentionContext) -> tuple[Tensor | None, Tensor | None]:
    batch, n_heads, n_queries, _ = q.shape
    n_groups, n_keys = k.shape[1], k.shape[2]
    per_group = n_heads // n_groups
    if context.merged is None:
        if not context.is_causal:
            return None, None
        added = torch.full((n_queries, n_keys), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
        return added.repeat(per_group, 1), None
    added = _fold(_additive(context.merged, q.dtype), n_groups, per_group, n_queries)
    # (1|B, 1|G, 1 | H/G * T, S) -> (B * G, 1 | H/G * T, S)
    added = added.expand(batch, n_groups, -1, -1).reshape(batch * n_groups, -1, n_keys)
    empty = added.amax(-1, keepdim=True) == -torch.inf
    # On CPU asking costs nothing, but who traces the code can't answer.
    if is_traced() or bool(empty.any()):
        return added.masked_fill(empty, 0.0), empty
    return added, None


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask as a term of the scores: 0 where it allows, -inf where it forbids; a bias as it is."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


def _fold(mask: Tensor, n_groups: int, per_group: int, n_queries: int) -> Tensor:
    """mask: (1|B, 1|H, 1|T, S). Returns: (1|B, 1|G, 1 | H/G * T, S)."""
    batch, heads, queries, n_keys = mask.shape
    if heads == 1 and queries == 1:
        return mask
    groups = 1 if heads == 1 else n_groups
    # (1|B, 1|G, 1|H/G, 1|T, S) -> (1|B, 1|G, H/G, T, S)
    mask = mask.reshape(batch, groups, heads // groups, queries, n_keys)
    return mask.expand(-1, -1, per_group, n_queries, -1).flatten(2, 3)


def attend_plain(
    q: Tensor, k: Tensor, v: Tensor, context: AttentionContext, scale: float | None = None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """What :func:`attend` computes, spelled out, with the weights; for explanations and as the fast path's reference.

    Scores and softmax are float32 at least. The mask is taken from ``context.full_mask()`` and ``context.bias`` rather than
    from ``merged``, so that comparing the two also proves the merging.

    Returns:
        (B, H, T, Dv) of the dtype of ``v``, and the weights (B, H, T, S) before dropout, whose rows sum to 1, or to 0
        where a query may attend to nothing.
    """
    per_group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(per_group, dim=1) if per_group > 1 else x for x in (k, v))
    dtype = torch.promote_types(q.dtype, torch.float32)
    weights = masked_softmax(plain_scores(q.to(dtype), k.to(dtype), context, scale), context.full_mask())
    kept = nn.functional.dropout(weights, dropout) if dropout else weights
    return torch.matmul(kept, v.to(kept.dtype)).to(v.dtype), weights


def plain_scores(q: Tensor, k: Tensor, context: AttentionContext, scale: float | None = None) -> Tensor:
    """``scale * q k^T + bias``, without the mask; q: (B, H, T, Dh), k: (B, H, S, Dh). Returns: (B, H, T, S), float32 at least."""
    scores = torch.matmul(q, k.transpose(-1, -2)) * (q.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return scores if context.bias is None else scores + context.bias


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over what the mask allows; a row that may attend to nothing is all zeros. scores: (B, H, T, S)."""
    if mask is None:
        return scores.softmax(-1)
    # The lowest number instead of -inf: a row without any key becomes uniform, not NaN, and then zero. (`torch.where` and a product
    # take a third of the time that `masked_fill` takes.)
    weights = torch.where(mask, scores, torch.finfo(scores.dtype).min).softmax(-1)
    return weights * mask.any(-1, keepdim=True)
