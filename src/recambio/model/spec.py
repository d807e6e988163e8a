"""What a model is built from: dimensions and one node per place where a part stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from recambio.registry import Node


@dataclass(frozen=True)
class StackSpec:
    """One stack. A list holds one node per layer.

    Attributes:
        position_layers: Layers whose attention uses the positional hooks; None for all.
        cross_attention: Empty in the encoder.

    Raises:
        ValueError: A list has another length than the stack.
    """

    n_layers: int
    self_attention: Sequence[Node]
    feed_forward: Sequence[Node]
    normalization: Sequence[Node]
    activation: Sequence[Node]
    block: Node = "pre_norm"
    positions: Node = "sinusoidal"
    position_layers: Sequence[int] | None = None
    cross_attention: Sequence[Node] = ()

    def __post_init__(self) -> None:
        for name in ("self_attention", "feed_forward", "normalization", "activation", "cross_attention"):
            n_given = len(getattr(self, name))
            if n_given != self.n_layers and (n_given or name != "cross_attention"):
                raise ValueError(f"`{name}` must hold a part for each of {self.n_layers} layers, but holds {n_given}")

    @classmethod
    def uniform(
        cls,
        n_layers: int,
        *,
        attention: Node = "multi_head",
        cross_attention: Node | None = None,
        feed_forward: Node = "mlp",
        normalization: Node = "layer_norm",
        activation: Node = "relu",
        block: Node = "pre_norm",
        positions: Node = "sinusoidal",
        position_layers: Sequence[int] | None = None,
    ) -> StackSpec:
        """The same parts in every layer; give ``cross_attention`` for a decoder."""
        return cls(
            n_layers=n_layers,
            self_attention=[attention] * n_layers,
            feed_forward=[feed_forward] * n_layers,
            normalization=[normalization] * n_layers,
            activation=[activation] * n_layers,
            block=block,
            positions=positions,
            position_layers=position_layers,
            cross_attention=[] if cross_attention is None else [cross_attention] * n_layers,
        )


@dataclass(frozen=True)
class ModelSpec:
    """A whole model.

    Attributes:
        source_vocabulary: Number of source tokens.
        target_vocabulary: Number of target tokens.
        is_joint: Whether both sides share one vocabulary.
        max_length: Longest training sentence in tokens, EOS included; only ``learned`` positions are bound by it.
        seed: Seeds every initial weight.

    Raises:
        ValueError: The decoder has no cross-attention, or the encoder has.
    """

    encoder: StackSpec
    decoder: StackSpec
    source_vocabulary: int
    target_vocabulary: int
    d_model: int = 256
    n_heads: int = 4
    d_ff: int = 1024
    dropout: float = 0.1
    embedding: Node = field(default="standard")
    is_joint: bool = True
    max_length: int = 128
    seed: int = 1

    def __post_init__(self) -> None:
        if self.encoder.cross_attention or not self.decoder.cross_attention:
            raise ValueError(
                "the decoder needs `cross_attention`, and the encoder has none: StackSpec.uniform(..., cross_attention=...)"
            )
