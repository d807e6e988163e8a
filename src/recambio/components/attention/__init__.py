"""What mixes information between positions."""

from __future__ import annotations

from recambio.components.attention.base import Attention
from recambio.components.attention.cache import KeyValueCache, MemoryCache
from recambio.components.attention.grouped_query import GroupedQuery
from recambio.components.attention.kernels import attend, attend_plain, merge_heads, split_heads
from recambio.components.attention.multi_head import MultiHead
from recambio.components.attention.projected import ProjectedAttention
from recambio.registry import ATTENTION

ATTENTION.preset("multi_query", of="grouped_query", n_groups=1)

__all__ = [
    "Attention",
    "GroupedQuery",
    "KeyValueCache",
    "MemoryCache",
    "MultiHead",
    "ProjectedAttention",
    "attend",
    "attend_plain",
    "merge_heads",
    "split_heads",
]
