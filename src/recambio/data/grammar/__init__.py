"""The embedded corpus: a synchronous grammar of English and Spanish.

`generate` gives any number of distinct, tagged sentence pairs, the same on every machine for the same seed.
"""

from __future__ import annotations

from recambio.data.grammar.corpus import (
    CAPACITY,
    MAX_WORDS,
    MIN_WORDS_LENGTH,
    SPLITS,
    GrammarPair,
    generate,
    held_out_pairings,
    realise,
)
from recambio.data.grammar.phenomena import PHENOMENA

__all__ = [
    "CAPACITY",
    "MAX_WORDS",
    "MIN_WORDS_LENGTH",
    "PHENOMENA",
    "SPLITS",
    "GrammarPair",
    "generate",
    "held_out_pairings",
    "realise",
]
