"""From text to batches: corpora, cleaning, tokenizers, token store, batch plan."""

from __future__ import annotations

import recambio.data.cleaning
import recambio.data.corpora
import recambio.data.tokenizers  # noqa: F401
