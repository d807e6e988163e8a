"""Where sentence pairs come from."""

from __future__ import annotations

from recambio.data.corpora.base import TRAIN, Corpus
from recambio.data.corpora.embedded import EmbeddedCorpus
from recambio.data.corpora.moses import MosesCorpus
from recambio.data.corpora.tsv import TsvCorpus

__all__ = ["TRAIN", "Corpus", "EmbeddedCorpus", "MosesCorpus", "TsvCorpus"]
