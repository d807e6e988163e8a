"""What flows beside the residual stream: the frozen context, caches and auxiliary losses.

One mask convention inside the package: **True = may attend**, True = a real token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from recambio.components.tracing import is_traced

if TYPE_CHECKING:
    from recambio.components.positions.base import PositionalEncoding


@dataclass(frozen=True)
class AttentionContext:
    """What an attention may know of a pass; built once per stack and pass, handed to every layer.

    Attributes:
        positions: The stack's positional hooks (``none`` in cross-attention).
        query_positions: (1|B, T) index of each query in its row.
        key_positions: (1|B, S) index of each key in its row.
        mask: (1|B, 1, T|1, S) bool, True = may attend; None where every query may see every key, or where
            ``is_causal`` says all there is to say.
        is_causal: The mask is exactly ``key <= query`` over T = S positions, which a kernel can do without a mask tensor.
        bias: (1|B, 1|H, T, S) added to the scaled scores, or None. May need gradients.
        merged: ``mask``, ``is_causal`` and ``bias`` as one tensor for `scaled_dot_product_attention`: bool, or the bias with
            ``-inf`` where the mask forbids; None where ``is_causal`` or nothing is needed.
        query_tokens: (B, T) bool, True = a real token; None if all are.
        key_tokens: (B, S) bool, likewise.
        derived: What the first layer of a decoding step makes of ``merged`` for its kernel, and the others take over. Not part of a
            copy by `dataclasses.replace`, whose mask may be another.
    """

    positions: PositionalEncoding
    query_positions: Tensor
    key_positions: Tensor
    mask: Tensor | None = None
    is_causal: bool = False
    bias: Tensor | None = None
    merged: Tensor | None = None
    query_tokens: Tensor | None = None
    key_tokens: Tensor | None = None
    derived: dict[Any, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def full_mask(self) -> Tensor | None:
        """The mask with causality written out: (1|B, 1, T, S) bool, or None if all may attend to all.

        For parts whose formula needs the mask itself rather than a kernel that knows ``is_causal``.
        """
        if not self.is_causal:
            return self.mask
        causal = self.key_positions[:, None, None, :] <= self.query_positions[:, None, :, None]
        return causal if self.mask is None else causal & self.mask


@dataclass(frozen=True)
class TokenContext:
    """What a feed-forward may know of a pass.

    Attributes:
        positions: (1|B, T) index of each token in its row.
        tokens: (B, T) bool, True = a real token; None if all are.
    """

    positions: Tensor
    tokens: Tensor | None = None


class WithLosses(NamedTuple):
    """A sub-layer's output together with auxiliary losses, each a (sum, count) pair of scalars.

    The trainer divides each sum by its count and weights it by the batch's share of the step's tokens: of the source for the encoder's
    parts, of the target for the decoder's. Where the count is the number of the pass's real tokens (or a multiple), that is the mean
    over the whole step, however it is cut; a loss that isn't a sum over tokens depends on the cut.
    """

    x: Tensor
    losses: Mapping[str, tuple[Tensor, Tensor]]


class Cache(ABC):
    """A part's memory of the tokens decoded so far; opaque to whoever decodes.

    Attributes:
        lengths: (R,) tokens each row holds.
    """

    lengths: Tensor

    @abstractmethod
    def select(self, rows: Tensor) -> Cache:
        """The cache of these rows, in this order, repeats allowed: (R',) indices -> cache of R' rows.

        Beam reordering and finished rows leaving are both this. The receiver must not be used afterwards:
        an implementation may hand its storage on.
        """

    @abstractmethod
    def join(self, other: Cache) -> Cache:
        """This cache's rows followed by those of ``other``, whose rows may hold another number of tokens."""

    def shortened(self, length: int) -> Cache | None:
        """Of the encoder's output only what stands before position ``length``: beyond it every row has padding, since longer sources left.

        Returns:
            None where it can't, or needn't know: it then stays as it is.
        """
        return None

    def lengthened(self, length: int) -> Cache | None:
        """Of the encoder's output what has padding up to position ``length``, which the context's mask hides.

        Returns:
            None where it can't: a step with it isn't recorded.
        """
        return None

    def tensors(self, n_slots: int) -> tuple[Tensor, ...] | None:
        """All that a step of one token reads and writes, for a recording of the step (:mod:`recambio.decoding.recorder`).

        Args:
            n_slots: What keeps every token has room for so many, no fewer and no more.

        Returns:
            Contiguous tensors, of shapes that don't change from step to step; None where there are none yet, or a step does more than to
            read and write tensors.
        """
        return None

    def standing_in(self, tensors: Sequence[Tensor], lengths: Tensor) -> Cache:
        """A cache of these tensors and lengths (R,) for the step while it is recorded, which depends on nothing else.

        Afterwards its own :meth:`tensors` are what the step has made of them. Self-attention gets all slots of all rows: the mask hides
        those that aren't filled.
        """
        raise NotImplementedError(f"{type(self).__name__} has tensors, but no cache that stands in")

    def take(self, tensors: Sequence[Tensor], lengths: Tensor) -> None:
        """Go on from what a recorded step has made of :meth:`tensors`: one token more in every row, ``lengths`` (R,) now."""
        raise NotImplementedError(f"{type(self).__name__} has tensors, but doesn't take them")


def positions_of(lengths: Tensor, n_new: int) -> Tensor:
    """Positions of the next ``n_new`` tokens of rows that hold ``lengths`` (R,): (R, n_new)."""
    return lengths[:, None] + torch.arange(n_new, device=lengths.device)


def refuse_beyond(limit: int, positions: Tensor, is_training: bool, part: str, remedy: str) -> None:
    """Refuse a position that a part doesn't know: to wrap or to leave it out would be silent.

    Args:
        limit: The first position that is too far.
        positions: (1|B, T).
        is_training: In training no row reaches beyond the batch's width, which is known without waiting for the device.
        part: As ``positions 'learned'``.
        remedy: What to train with instead.

    Raises:
        ValueError: One is.
    """
    needs_reading = not is_traced() and not (is_training and positions.is_cuda)
    longest = int(positions.max()) + 1 if needs_reading and positions.numel() else positions.shape[-1]
    if longest > limit:
        raise ValueError(
            f"{part} knows {limit} positions (the longest training sentence, EOS included), but a sentence has {longest}; "
            f"shorten it, or train with {remedy}"
        )
