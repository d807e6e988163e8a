"""Attention parts against torch's own module and against each other, and the caches they use."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recambio.components.attention import GroupedQuery, KeyValueCache, MemoryCache, MultiHead
from recambio.components.context import AttentionContext
from recambio.components.positions.base import PositionalEncoding
from recambio.errors import InputError
from recambio.registry import ATTENTION


def around(n_queries: int, n_keys: int, mask: Tensor | None = None, is_causal: bool = False) -> AttentionContext:
    return AttentionContext(
        PositionalEncoding(),
        torch.arange(n_queries)[None],
        torch.arange(n_keys)[None],
        mask=mask,
        is_causal=is_causal,
        merged=mask,
    )


def of_torch(part: MultiHead) -> nn.MultiheadAttention:
    """torch's module with the same weights."""
    reference = nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        if part.is_cross:
            reference.in_proj_weight.copy_(torch.cat([part.query.weight, part.memory.weight]))
            reference.in_proj_bias.copy_(torch.cat([part.query.bias, part.memory.bias]))
        else:
            reference.in_proj_weight.copy_(part.input.weight)
            reference.in_proj_bias.copy_(part.input.bias)
        reference.out_proj.weight.copy_(part.output.weight)
        reference.out_proj.bias.copy_(part.output.bias)
    return reference.eval()


@pytest.mark.parametrize("site", ["encoder_self", "decoder_self", "cross"])
def test_multi_head_is_torchs_multi_head(site: str) -> None:
    torch.manual_seed(0)
    part = MultiHead(16, 4, site)
    reference = of_torch(part)
    x = torch.randn(3, 5, 16)
    memory = torch.randn(3, 7, 16) if site == "cross" else x
    real = torch.arange(memory.shape[1])[None] < torch.tensor([memory.shape[1], 4, 2])[:, None]
    if site == "decoder_self":
        ahead = torch.ones(5, 5, dtype=torch.bool).triu(1)
        expected, _ = reference(x, memory, memory, attn_mask=ahead, need_weights=False)
        y = part(x, None, around(5, 5, is_causal=True))
    else:
        expected, _ = reference(x, memory, memory, key_padding_mask=~real, need_weights=False)
        given = memory if site == "cross" else None
        y = part(x, given, around(5, memory.shape[1], real[:, None, None, :]))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("site", ["encoder_self", "decoder_self", "cross"])
def test_as_many_groups_as_heads_is_multi_head(site: str) -> None:
    torch.manual_seed(0)
    grouped, plain = GroupedQuery(16, 4, site, n_groups=4), MultiHead(16, 4, site)
    plain.load_state_dict(grouped.state_dict())
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16) if site == "cross" else None
    context = around(5, 7 if site == "cross" else 5, is_causal=site == "decoder_self")
    torch.testing.assert_close(grouped(x, memory, context), plain(x, memory, context))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("site", ["encoder_self", "decoder_self", "cross"])
def test_groups_are_multi_head_with_repeated_keys(site: str, groups: int) -> None:
    torch.manual_seed(0)
    grouped, plain = GroupedQuery(16, 4, site, n_groups=groups), MultiHead(16, 4, site)

    def repeated(rows: Tensor) -> Tensor:
        """The rows of keys or of values, each group's for every one of its heads."""
        return rows.view(groups, 4, *rows.shape[1:]).repeat_interleave(4 // groups, 0).flatten(0, 1)

    width = 4 * groups
    with torch.no_grad():
        for name in ("weight", "bias"):
            if site == "cross":
                ours = getattr(grouped.memory, name)
                getattr(plain.query, name).copy_(getattr(grouped.query, name))
                getattr(plain.memory, name).copy_(torch.cat([repeated(ours[:width]), repeated(ours[width:])]))
            else:
                ours = getattr(grouped.input, name)
                parts = ours[:16], repeated(ours[16 : 16 + width]), repeated(ours[16 + width :])
                getattr(plain.input, name).copy_(torch.cat(parts))
    plain.output.load_state_dict(grouped.output.state_dict())
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16) if site == "cross" else None
    context = around(5, 7 if site == "cross" else 5, is_causal=site == "decoder_self")
    torch.testing.assert_close(grouped(x, memory, context), plain(x, memory, context), rtol=1e-4, atol=1e-5)


def test_the_cache_holds_the_groups_only() -> None:
    part = ATTENTION.create("multi_query", d_model=16, n_heads=4, site="decoder_self")
    cache = part.new_cache(3, 10)
    part(torch.randn(3, 2, 16), None, around(2, 2, is_causal=True), cache)
    keys, values = cache.append(torch.zeros(3, 1, 1, 4), torch.zeros(3, 1, 1, 4))
    assert keys.shape == values.shape == (3, 1, 3, 4)
    cross = ATTENTION.create("multi_query", d_model=16, n_heads=4, site="cross")
    assert cross.new_cache(3, 5, torch.randn(3, 5, 16)).k.shape == (3, 1, 5, 4)


def test_attention_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    for part in (
        MultiHead(16, 4, "encoder_self", attention_dropout=0.5),
        GroupedQuery(16, 4, "encoder_self", 2, attention_dropout=0.5),
    ):
        x, context = torch.randn(2, 5, 16), around(5, 5)
        assert not torch.equal(part(x, None, context), part(x, None, context))
        part.eval()
        assert torch.equal(part(x, None, context), part(x, None, context))


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^`d_model` must be divisible by `n_heads` \(8\), but is 510$"):
        MultiHead(510, 8, "cross")
    with pytest.raises(ValueError, match=r"^`d_model` must be divisible by `n_heads` \(8\), but is 510$"):
        GroupedQuery(510, 8, "cross", 2)
    with pytest.raises(ValueError, match=r"^`n_heads` must be divisible by `n_groups` \(3\), but is 8$"):
        GroupedQuery(512, 8, "cross", 3)
    with pytest.raises(ValueError, match=r"`n_groups` \(0\)"):
        GroupedQuery(512, 8, "cross", 0)
    with pytest.raises(ValueError, match=r"`attention_dropout` must be in \[0, 1\), but is 1.0"):
        MultiHead(512, 8, "cross", attention_dropout=1.0)
    with pytest.raises(InputError, match="n_groups: attention 'grouped_query' needs it"):
        ATTENTION.create("grouped_query", d_model=16, n_heads=4, site="cross")
    with pytest.raises(ValueError, match="cross-attention needs the encoder's output"):
        MultiHead(16, 4, "cross")(torch.randn(1, 2, 16), None, around(2, 2))


def test_the_preset_is_shown_as_one() -> None:
    shown = ATTENTION.describe("multi_query")
    assert shown["preset_of"] == "grouped_query"
    assert shown["preset_options"] == {"n_groups": 1}


# ------------------------------------------------------------------------------------------------ caches


class _Lists:
    """What a cache means: a list of tokens per row."""

    def __init__(self, rows: int) -> None:
        self.rows: list[list[Tensor]] = [[] for _ in range(rows)]

    def append(self, k: Tensor) -> None:
        for row, new in zip(self.rows, k, strict=True):
            row.extend(new.unbind(1))


@settings(max_examples=40)
@given(st.data())
def test_a_cache_is_a_list_of_tokens_per_row(data: st.DataObject) -> None:
    def fresh(rows: int) -> tuple[KeyValueCache, _Lists]:
        return KeyValueCache(rows, data.draw(st.integers(1, 4))), _Lists(rows)

    def grow(cache: KeyValueCache, truth: _Lists) -> None:
        k = torch.randn(len(truth.rows), 2, data.draw(st.integers(1, 3)), 3)
        truth.append(k)
        keys, values = cache.append(k, -k)
        assert cache.lengths.tolist() == [len(row) for row in truth.rows]
        assert keys.shape[2] == values.shape[2] == max(len(row) for row in truth.rows)
        assert bool(torch.isfinite(keys).all()), "storage that was never written is handed out"
        for i, row in enumerate(truth.rows):
            torch.testing.assert_close(keys[i, :, : len(row)], torch.stack(row, 1))
            torch.testing.assert_close(values[i, :, : len(row)], -torch.stack(row, 1))

    torch.use_deterministic_algorithms(True, warn_only=True)  # storage that is not written holds NaN
    try:
        cache, truth = fresh(data.draw(st.integers(1, 3)))
        for step in data.draw(st.lists(st.sampled_from(["grow", "select", "join"]), max_size=8)):
            if step == "grow":
                grow(cache, truth)
            elif step == "select":
                rows = data.draw(st.lists(st.integers(0, len(truth.rows) - 1), min_size=1, max_size=4))
                cache = cache.select(torch.tensor(rows))
                truth.rows = [list(truth.rows[r]) for r in rows]
            else:
                other, others = fresh(data.draw(st.integers(1, 2)))
                if data.draw(st.booleans()):
                    grow(other, others)
                cache = cache.join(other)
                truth.rows += others.rows
        grow(cache, truth)
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_row_that_holds_nothing_joins_as_zeros() -> None:
    """Its storage was never written; beside a longer row it is read, under the mask."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # storage that is not written holds NaN
    try:
        cache = KeyValueCache(1, 4)
        cache.append(torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3))
        joined = cache.join(KeyValueCache(1, 4))
        empty = joined.select(torch.tensor([1]))
        other = KeyValueCache(1, 4)
        other.append(torch.randn(1, 2, 2, 3), torch.randn(1, 2, 2, 3))
        keys, values = empty.join(other).append(torch.randn(2, 2, 1, 3), torch.randn(2, 2, 1, 3))
    finally:
        torch.use_deterministic_algorithms(False)
    assert bool(torch.isfinite(keys).all()) and bool(torch.isfinite(values).all())
    assert bool((keys[0, :, 1:] == 0).all())


def test_memories_of_different_lengths_join() -> None:
    a, b = torch.randn(2, 4, 3, 5), torch.randn(1, 4, 6, 5)
    joined = MemoryCache(a, -a).join(MemoryCache(b, -b))
    assert joined.k.shape == (3, 4, 6, 5)
    torch.testing.assert_close(joined.k[:2, :, :3], a)
    torch.testing.assert_close(joined.v[2], -b[0])
    assert bool((joined.k[:2, :, 3:] == 0).all())
    chosen = joined.select(torch.tensor([2, 0, 0]))
    torch.testing.assert_close(chosen.k[0], b[0])
    torch.testing.assert_close(chosen.k[2, :, :3], a[0])
