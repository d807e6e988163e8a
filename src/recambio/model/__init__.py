"""The encoder-decoder Transformer, its initialisation and its decoding state."""

from recambio.model.spec import ModelSpec, StackSpec
from recambio.model.transformer import DecoderState, Transformer

__all__ = ["DecoderState", "ModelSpec", "StackSpec", "Transformer"]
