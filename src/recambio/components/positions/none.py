"""No positions at all."""

from __future__ import annotations

from recambio.components.positions.base import PositionalEncoding
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "none",
    Card(
        claim="Adds nothing. A causal decoder can still infer order from its mask; an encoder becomes a bag of words, "
        "which makes this the control that any scheme must beat.",
        formula="x = x",
        paper='Kazemnejad et al. 2023, "The Impact of Positional Encoding on Length Generalization in Transformers", '
        "https://arxiv.org/abs/2305.19466 (NoPE, decoders only)",
        fast_path="Nothing to compute.",
    ),
)
class NoPositions(PositionalEncoding):
    """Adds nothing: the decoder infers order from its mask alone, the encoder is a bag of words.

    Paper: Kazemnejad et al. 2023, "The Impact of Positional Encoding on Length Generalization in Transformers",
    https://arxiv.org/abs/2305.19466 (decoders only).
    """
