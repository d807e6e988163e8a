"""What training text passes through before it is tokenised."""

from __future__ import annotations

from recambio.data.cleaning.base import DEFAULT_CLEANING, Cleaner, CleaningReport, CleaningStep
from recambio.data.cleaning.copies import Copies
from recambio.data.cleaning.duplicates import Duplicates
from recambio.data.cleaning.language import Language
from recambio.data.cleaning.length import Length
from recambio.data.cleaning.markup import Markup
from recambio.data.cleaning.normalize import Normalize
from recambio.data.cleaning.ratio import Ratio

__all__ = [
    "DEFAULT_CLEANING",
    "Cleaner",
    "CleaningReport",
    "CleaningStep",
    "Copies",
    "Duplicates",
    "Language",
    "Length",
    "Markup",
    "Normalize",
    "Ratio",
]
