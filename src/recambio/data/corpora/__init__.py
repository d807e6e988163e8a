"""Where sentence pairs come from."""

from __future__ import annotations

from recambio.data.corpora.base import TRAIN, Corpus
from recambio.data.corpora.embedded import EmbeddedCorpus
from recambio.data.corpora.huggingface import HuggingFaceCorpus
from recambio.data.corpora.jsonl import JsonlCorpus
from recambio.data.corpora.mixture import MixtureCorpus
from recambio.data.corpora.moses import MosesCorpus
from recambio.data.corpora.parquet import ParquetCorpus
from recambio.data.corpora.tmx import TmxCorpus
from recambio.data.corpora.tsv import TsvCorpus

__all__ = [
    "TRAIN",
    "Corpus",
    "EmbeddedCorpus",
    "HuggingFaceCorpus",
    "JsonlCorpus",
    "MixtureCorpus",
    "MosesCorpus",
    "ParquetCorpus",
    "TmxCorpus",
    "TsvCorpus",
]
