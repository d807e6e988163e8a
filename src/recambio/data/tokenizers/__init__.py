"""Text to ids and back."""

from __future__ import annotations

from recambio.data.tokenizers.base import SIDES, Side, Tokenizer, load_tokenizer
from recambio.data.tokenizers.marian import Marian
from recambio.data.tokenizers.sentencepiece import BytePairEncoding, SentencePiece, Unigram

__all__ = ["SIDES", "BytePairEncoding", "Marian", "SentencePiece", "Side", "Tokenizer", "Unigram", "load_tokenizer"]
