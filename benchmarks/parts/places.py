"""Where each registered part is measured: in a model of otherwise plain parts, at every site that its card allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recambio import testing
from recambio.components.compatible import acts_by
from recambio.model import ModelSpec, StackSpec
from recambio.registry import REGISTRIES, Node

PLAIN = {
    "attention": "multi_head",
    "block": "pre_norm",
    "positions": "sinusoidal",
    "normalization": "layer_norm",
    "feed_forward": "mlp",
    "activation": "relu",
    "embedding": "standard",
}
"""The part of each kind that the others are measured against."""


@dataclass(frozen=True)
class Place:
    """A part at all its sites at once.

    Attributes:
        sites: Where it stands; the plain part stands at the others.
    """

    kind: str
    name: str
    node: Node
    sites: tuple[str, ...]

    @property
    def label(self) -> str:
        """``kind/name``."""
        return f"{self.kind}/{self.name}"


def places(only: Sequence[str] = ()) -> list[Place]:
    """Every registered part that stands in a model, the plain one of each kind first.

    Args:
        only: Kinds, or ``kind/name``; empty for all.
    """
    found = []
    for kind, plain in PLAIN.items():
        for name in sorted(REGISTRIES[kind].names(), key=lambda n: (n != plain, n)):
            node = REGISTRIES[kind].example(name)
            if not only or kind in only or f"{kind}/{name}" in only:
                found.append(Place(kind, name, node, testing.sites(kind, node)))
    return found


def spec_of(place: Place, sizes: dict[str, Any], n_layers: int) -> ModelSpec:
    """The plain model with this part at its sites."""
    encoder: dict[str, Any] = {}
    decoder: dict[str, Any] = {"cross_attention": PLAIN["attention"]}
    stacks = {"encoder": encoder, "decoder": decoder}
    model = dict(sizes)
    for site in place.sites:
        if site == "cross":
            decoder["cross_attention"] = place.node
        elif place.kind in ("normalization", "activation"):
            encoder[place.kind] = decoder[place.kind] = place.node
        elif place.kind == "embedding":
            model["embedding"] = place.node
        else:
            stacks[site.partition("_")[0]][place.kind] = place.node
    return ModelSpec(StackSpec.uniform(n_layers, **encoder), StackSpec.uniform(n_layers, **decoder), **model)


def reveals_order(place: Place) -> bool:
    """Whether the encoder learns the order of its tokens; without it a model is a bag of words."""
    return place.kind != "positions" or "encoder" not in place.sites or bool(acts_by(place.node))
