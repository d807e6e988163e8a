"""A stack of layers: encoder or decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recambio.components.attention.base import Attention
from recambio.components.block.base import Block, State, Sublayer
from recambio.components.compatible import attention_conflict, stack_conflict
from recambio.components.context import AttentionContext, Cache, TokenContext, WithLosses
from recambio.components.dropout import Dropout
from recambio.components.feed_forward.base import FeedForward
from recambio.components.normalization.base import Normalization
from recambio.components.positions.base import PositionalEncoding
from recambio.model.initialise import seeded
from recambio.model.masks import without_positions
from recambio.model.spec import ModelSpec, StackSpec
from recambio.registry import ATTENTION, BLOCK, FEED_FORWARD, NORMALIZATION, POSITIONS, Node

Losses = dict[str, tuple[Tensor, Tensor]]
"""Auxiliary losses by name: (sum, count). Those of a stack begin with its own name, ``encoder.`` or ``decoder.``."""


@dataclass
class LayerCaches:
    """One layer's caches while decoding."""

    self_attention: Cache
    cross_attention: Cache
    feed_forward: Cache | None


class Layer(nn.Module):
    """The sub-layers of one layer; the block wires them."""

    def __init__(
        self, index: int, self_attention: Attention, cross_attention: Attention | None, feed_forward: FeedForward
    ):
        super().__init__()
        self.index = index
        self.self_attention = self_attention
        self.cross_attention = cross_attention
        self.feed_forward = feed_forward

    def forward(
        self,
        block: Block,
        state: State,
        self_context: AttentionContext,
        token_context: TokenContext,
        memory: Tensor | None = None,
        cross_context: AttentionContext | None = None,
        caches: LayerCaches | None = None,
    ) -> tuple[State, Losses]:
        """Run the layer on the block's state. Returns: the new state and the layer's auxiliary losses."""
        losses: Losses = {}

        def attend(x: Tensor) -> Tensor:
            cache = caches.self_attention if caches else None
            return _collect(self.self_attention(x, None, self_context, cache), losses)

        def cross(x: Tensor) -> Tensor:
            assert self.cross_attention is not None and cross_context is not None
            if caches is None:
                return _collect(self.cross_attention(x, memory, cross_context), losses)
            # The g beam rows of a source become g * T queries on its one row of memory: (M * g, T, D) -> (M, g * T, D)
            folded = x.reshape(caches.cross_attention.lengths.shape[0], -1, x.shape[-1])
            return _collect(self.cross_attention(folded, None, cross_context, caches.cross_attention), losses).view(
                x.shape
            )

        def transform(x: Tensor) -> Tensor:
            return _collect(self.feed_forward(x, token_context, caches.feed_forward if caches else None), losses)

        sublayers: list[Sublayer] = [attend, transform] if self.cross_attention is None else [attend, cross, transform]
        return block.layer(self.index, state, sublayers), losses


class Stack(nn.Module):
    """N layers, their block and their positional encoding.

    Args:
        name: ``encoder`` or ``decoder``.
        spec: The stack's parts.
        model: The model's dimensions.
    """

    def __init__(self, name: str, spec: StackSpec, model: ModelSpec) -> None:
        super().__init__()
        self.name = name
        is_decoder = name == "decoder"
        shared: dict[str, Any] = {
            "d_model": model.d_model,
            "n_heads": model.n_heads,
            "dropout": model.dropout,
            "n_encoder": model.encoder.n_layers,
            "n_decoder": model.decoder.n_layers,
            "is_causal": is_decoder,
        }
        build = partial(_build, seed=model.seed)
        self.position_layers = frozenset(range(spec.n_layers) if spec.position_layers is None else spec.position_layers)
        _refuse_conflicts(name, spec, self.position_layers)
        self.positions: PositionalEncoding = build(
            POSITIONS,
            spec.positions,
            f"{name}.positions",
            stack=name,
            head_dim=model.d_model // model.n_heads,
            max_length=model.max_length,
            **shared,
        )
        layers: list[Layer] = []
        for i in range(spec.n_layers):
            here: dict[str, Any] = {**shared, "layer_index": i}
            at = f"{name}.layers.{i}"
            attending = {**here, "max_length": model.max_length}
            attention = build(
                ATTENTION, spec.self_attention[i], f"{at}.self_attention", site=f"{name}_self", **attending
            )
            cross = None
            if is_decoder:
                cross_here: dict[str, Any] = {**attending, "is_causal": False}
                cross = build(ATTENTION, spec.cross_attention[i], f"{at}.cross_attention", site="cross", **cross_here)
            feed_forward = build(
                FEED_FORWARD,
                spec.feed_forward[i],
                f"{at}.feed_forward",
                site=f"{name}_feed_forward",
                d_ff=model.d_ff,
                activation=spec.activation[i],
                **here,
            )
            layers.append(Layer(i, attention, cross, feed_forward))
        self.layers = nn.ModuleList(layers)

        def normalization(layer_index: int | None = None) -> Normalization:
            node = spec.normalization[-1 if layer_index is None else layer_index]
            return NORMALIZATION.create(node, dim=model.d_model)  # type: ignore[no-any-return]

        self.block: Block = build(
            BLOCK,
            spec.block,
            f"{name}.block",
            stack=name,
            n_layers=spec.n_layers,
            n_sublayers=3 if is_decoder else 2,
            normalization=normalization,
            **shared,
        )
        self.dropout = Dropout(model.dropout)
        self.is_checkpointed = False
        """Whether the backward pass computes each layer again instead of keeping what it needs of the forward pass."""

    def embed(self, x: Tensor, positions: Tensor) -> Tensor:
        """x: (B, T, D) token vectors, positions: (1|B, T). Returns: the stack's input (B, T, D)."""
        return self.dropout(self.positions.add_to_embeddings(x, positions))  # type: ignore[no-any-return]

    def forward(
        self,
        x: Tensor,
        self_context: AttentionContext,
        token_context: TokenContext,
        memory: Tensor | None = None,
        cross_context: AttentionContext | None = None,
        caches: Sequence[LayerCaches] | None = None,
    ) -> tuple[Tensor, Losses]:
        """x: (B, T, D). Returns: (B, T, D) and the auxiliary losses of all layers, summed by name."""
        state = self.block.enter(x)
        losses: Losses = {}
        plain = self_context if len(self.position_layers) == len(self.layers) else without_positions(self_context)
        for i, layer in enumerate(self.layers):
            context = self_context if i in self.position_layers else plain
            cache = caches[i] if caches is not None else None
            arguments = (self.block, state, context, token_context, memory, cross_context, cache)
            if self.is_checkpointed and cache is None and torch.is_grad_enabled():
                # The state of the random generators is kept and set again, so that the same elements are dropped.
                state, more = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                state, more = layer(*arguments)
            add_losses(losses, more)
        return self.block.exit(state), {f"{self.name}.{name}": pair for name, pair in losses.items()}

    def new_caches(self, max_length: int, memory: Tensor) -> list[LayerCaches]:
        """Empty caches for one row per source; memory (M, S, D) is projected by every cross-attention here, once."""
        rows = memory.shape[0]
        caches = []
        for layer in self.layers:
            assert isinstance(layer, Layer) and layer.cross_attention is not None
            caches.append(
                LayerCaches(
                    layer.self_attention.new_cache(rows, max_length),
                    layer.cross_attention.new_cache(rows, memory.shape[1], memory),
                    layer.feed_forward.new_cache(rows, max_length),
                )
            )
        return caches


def _refuse_conflicts(name: str, spec: StackSpec, position_layers: frozenset[int]) -> None:
    """Refuse parts that can't work together; a config's have been refused before, all at once."""
    if problem := stack_conflict(spec.positions, name):
        raise ValueError(f"{name}.positions: {problem}")
    for i in sorted(position_layers):
        if problem := attention_conflict(spec.self_attention[i], spec.positions):
            raise ValueError(f"{name}.layers.{i}.self_attention: {problem}")


def add_losses(total: Losses, more: Losses) -> None:
    """Add auxiliary losses to a running total, by name."""
    for name, (value, count) in more.items():
        if name in total:
            total[name] = (total[name][0] + value, total[name][1] + count)
        else:
            total[name] = (value, count)


def _collect(output: Tensor | WithLosses, losses: Losses) -> Tensor:
    if isinstance(output, WithLosses):
        add_losses(losses, dict(output.losses))
        return output.x
    return output


def _build(registry: Any, node: Node, path: str, *, seed: int, **context: Any) -> Any:
    """Create a part; what it draws in its constructor depends on its path alone, and its refusal names its place."""
    site, name = context.get("site"), node if isinstance(node, str) else node["name"]
    sites = registry.get(name).card.sites
    if site is not None and sites and site not in sites:
        raise ValueError(f"{path}: {registry.kind} {name!r} can't stand at {site}; it may stand at {', '.join(sites)}")
    with seeded(seed, path):
        try:
            return registry.create(node, **context)
        except ValueError as error:
            raise ValueError(f"{path}: {registry.kind} {name!r}: {error}") from error
