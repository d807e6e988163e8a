"""Masks and bias of a pass, built once per stack. True = may attend."""

from __future__ import annotations

import torch
from torch import Tensor

from recambio.components.context import AttentionContext
from recambio.components.positions.base import PositionalEncoding

_NO_POSITIONS = PositionalEncoding()


def arange_positions(length: int, device: torch.device, start: int = 0) -> Tensor:
    """(1, length): start, start + 1, ..."""
    return torch.arange(start, start + length, device=device)[None]


def merge(mask: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """One tensor for `scaled_dot_product_attention`: the bool mask, or the bias with -inf where the mask forbids."""
    if bias is None or mask is None:
        return mask if bias is None else bias
    return bias.masked_fill(~mask, float("-inf"))


def self_context(
    positions: PositionalEncoding,
    query_positions: Tensor,
    key_positions: Tensor,
    *,
    is_causal: bool,
    key_tokens: Tensor | None = None,
    query_tokens: Tensor | None = None,
) -> AttentionContext:
    """The context of self-attention in one stack.

    Args:
        positions: The stack's positional hooks.
        query_positions: (1|B, T).
        key_positions: (1|B, S).
        is_causal: The stack is a decoder. With T = S and right padding the kernel's own causal mask serves: a real query never
            sees the padding to its right. Otherwise the mask is written out.
        key_tokens: (B, S) bool, True = real; None if all are.
        query_tokens: (B, T) likewise.
    """
    bias = positions.attention_bias(query_positions, key_positions)
    n_queries, n_keys = query_positions.shape[1], key_positions.shape[1]
    same = is_causal and n_queries == n_keys
    if same and bias is None:
        return AttentionContext(
            positions, query_positions, key_positions, is_causal=True, query_tokens=query_tokens, key_tokens=key_tokens
        )
    mask = None if key_tokens is None or same else key_tokens[:, None, None, :]
    if is_causal:
        causal = key_positions[:, None, None, :] <= query_positions[:, None, :, None]
        mask = causal if mask is None else causal & mask
    return AttentionContext(
        positions,
        query_positions,
        key_positions,
        mask=mask,
        bias=bias,
        merged=merge(mask, bias),
        query_tokens=query_tokens,
        key_tokens=key_tokens,
    )


def cross_context(query_positions: Tensor, memory_positions: Tensor, memory_tokens: Tensor | None) -> AttentionContext:
    """The context of cross-attention: no positions, for the two axes are unrelated.

    Args:
        query_positions: (1|B, T).
        memory_positions: (1, S).
        memory_tokens: (B, S) bool, True = real; None if all are.
    """
    mask = None if memory_tokens is None else memory_tokens[:, None, None, :]
    return AttentionContext(
        _NO_POSITIONS, query_positions, memory_positions, mask=mask, merged=mask, key_tokens=memory_tokens
    )


def without_positions(context: AttentionContext) -> AttentionContext:
    """The same pass for a layer that the positional scheme leaves out."""
    return AttentionContext(
        _NO_POSITIONS,
        context.query_positions,
        context.key_positions,
        mask=context.mask,
        is_causal=context.is_causal,
        merged=context.mask,
        query_tokens=context.query_tokens,
        key_tokens=context.key_tokens,
    )
