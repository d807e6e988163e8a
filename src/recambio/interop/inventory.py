"""What stands where in a built model, and the refusal of what a format can't express."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from recambio.components.attention import GroupedQuery, MultiHead
from recambio.components.attention.projected import ProjectedAttention
from recambio.components.embedding import StandardEmbedding
from recambio.components.normalization import LayerNorm
from recambio.errors import InputError
from recambio.model import Transformer
from recambio.registry import REGISTRIES

STACKS = ("encoder", "decoder")


@dataclass(frozen=True)
class Map:
    """``y = x W^T + b``: weight (out, in), bias (out,) or None."""

    weight: Tensor
    bias: Tensor | None


class Refusals:
    """Collects what a format can't express, to be reported all at once: a line for each part and place.

    Args:
        target: The format, as people call it.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._found: dict[tuple[str, str, str], list[int]] = defaultdict(list)

    def refuse(self, place: str, what: str, nearest: str, layer: int | None = None) -> None:
        """Note a part.

        Args:
            place: The config key where it stands.
            what: The part, by kind and name, and the option in question if it is one.
            nearest: What the format can express in its place.
            layer: Where it stands in some layers of the place.
        """
        self._found[place, what, nearest].extend([] if layer is None else [layer])

    def refuse_unless(self, known: bool, place: str, what: str, nearest: str, layer: int | None = None) -> bool:
        """Note a part unless the format knows it. Returns: whether it does."""
        if not known:
            self.refuse(place, what, nearest, layer)
        return known

    def raise_if_any(self) -> None:
        """Report.

        Raises:
            InputError: Something was noted.
        """
        problems = []
        for (place, what, nearest), layers in self._found.items():
            where = f" (layers {', '.join(map(str, sorted(set(layers))))})" if layers else ""
            problems.append(f"{place}: {what}{where} can't be expressed in {self.target}; the nearest is {nearest}")
        if problems:
            raise InputError(problems)


def part_name(module: nn.Module) -> str:
    """A part by kind and name, as ``attention 'shaw'``."""
    for kind, registry in REGISTRIES.items():
        for entry in registry.entries.values():
            if entry.cls is type(module):
                return f"{kind} {entry.name!r}"
    return type(module).__name__


def layers_of(model: Transformer) -> Iterator[tuple[str, int, Any]]:
    """Each layer with its stack's name and its index."""
    for name in STACKS:
        for i, layer in enumerate(getattr(model, name).layers):
            yield name, i, layer


def attentions_of(model: Transformer) -> Iterator[tuple[str, int, nn.Module]]:
    """Each attention with the config key of its site and its layer."""
    for name, i, layer in layers_of(model):
        yield f"model.{name}.attention", i, layer.self_attention
        if layer.cross_attention is not None:
            yield "model.decoder.cross_attention", i, layer.cross_attention


def norms_of(model: Transformer) -> Iterator[tuple[str, int | None, nn.Module]]:
    """Each norm of the blocks ``pre_norm`` and ``post_norm``, with the config key of its site and its layer; None for the last."""
    for name in STACKS:
        block: Any = getattr(model, name).block
        for i, norms in enumerate(block.norms):
            yield from ((f"model.{name}.normalization", i, norm) for norm in norms)
        if hasattr(block, "final_norm"):
            yield f"model.{name}.normalization", None, block.final_norm


def refuse_attentions(
    model: Transformer, refusals: Refusals, known_in_self_attention: tuple[type[nn.Module], ...] = ()
) -> None:
    """Only softmax attention by heads, whose keys and values may be shared in groups, is known to every other engine.

    Args:
        model: The model.
        refusals: Takes the others.
        known_in_self_attention: What this engine knows besides.
    """
    for place, i, attention in attentions_of(model):
        more = () if place.endswith("cross_attention") else known_in_self_attention
        known = type(attention) in (MultiHead, GroupedQuery, *more)
        refusals.refuse_unless(known, place, part_name(attention), "'multi_head' or 'grouped_query'", i)


def refuse_embedding(model: Transformer, refusals: Refusals) -> None:
    """Only a table of whole vectors is known to other engines."""
    known = type(model.embedding) is StandardEmbedding
    refusals.refuse_unless(known, "model.embedding", part_name(model.embedding), "'standard'")


def refuse_partial_positions(model: Transformer, refusals: Refusals, added: tuple[type, ...]) -> None:
    """Positions that act in some layers only.

    Args:
        model: The model.
        refusals: Takes them.
        added: Positions that act on the embeddings alone, and so in no layer or in all.
    """
    for name in STACKS:
        stack: Any = getattr(model, name)
        known = type(stack.positions) in added or len(stack.position_layers) == len(stack.layers)
        what = f"a stack with positions in layers {', '.join(map(str, sorted(stack.position_layers)))} only"
        refusals.refuse_unless(known, f"model.{name}.position_layers", what, "null, which is all layers")


def attention_maps(attention: ProjectedAttention) -> tuple[Map, Map, Map, Map]:
    """The maps of q, k, v and of the output, those of k and v repeated for each head of a group.

    The heads of a group then hold the same keys and values, so the function is the same; a cache of them is larger.
    """
    if attention.is_cross:
        query = Map(attention.query.weight, attention.query.bias)
        key, value = split(attention.memory)
    else:
        query, key, value = split(attention.input)
    times = attention.n_heads // attention.n_groups
    key, value = (_repeated(m, attention.n_groups, times) for m in (key, value))
    return query, key, value, Map(attention.output.weight, attention.output.bias)


def split(linear: Any) -> list[Map]:
    """The maps that a fused one holds, in the order of its rows."""
    sizes = list(linear.splits.values())
    weights = linear.weight.split(sizes)
    biases = [None] * len(sizes) if linear.bias is None else linear.bias.split(sizes)
    return [Map(w, b) for w, b in zip(weights, biases, strict=True)]


def norm_map(norm: nn.Module) -> Map:
    """A norm's gain and bias."""
    assert isinstance(norm.weight, Tensor)
    return Map(norm.weight, norm.bias if isinstance(norm, LayerNorm) else None)


def _repeated(m: Map, groups: int, times: int) -> Map:
    """(G * Dh, ...) -> (G * times * Dh, ...): head h reads group h // times."""

    def repeated(x: Tensor) -> Tensor:
        return x.view(groups, -1, *x.shape[1:]).repeat_interleave(times, 0).flatten(0, 1)

    return Map(repeated(m.weight), None if m.bias is None else repeated(m.bias))
