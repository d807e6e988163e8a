"""One form for what looks the same."""

from __future__ import annotations

import re
import unicodedata

from recambio.data.cleaning.base import CleaningStep
from recambio.data.pairs import Pair
from recambio.registry import CLEANING, Card

# Control characters other than those that are white space (which become spaces), the soft hyphen, and what has no width:
# joiners, direction marks, word joiner, byte order mark. Variation selectors stay: they choose a glyph.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


@CLEANING.register(
    "normalize",
    card=Card(
        claim="Unicode NFC, invisible characters removed, every run of white space (no-break spaces too) one space; "
        "letters, case and punctuation stay as they are."
    ),
)
class Normalize(CleaningStep):
    """Bring text into Unicode NFC without invisible characters and with single spaces."""

    def __call__(self, pair: Pair) -> Pair | str:
        source, target = self.normalize_line(pair.source), self.normalize_line(pair.target)
        if source is pair.source and target is pair.target:
            return pair
        return Pair(source, target, pair.tags, pair.line, pair.file)

    def normalize_line(self, line: str) -> str:
        # Printable text has neither invisible characters nor any white space but U+0020: most lines end here.
        if not line.isprintable():
            line = _INVISIBLE.sub("", line)
            line = " ".join(line.split())
        elif "  " in line or line[:1] == " " or line[-1:] == " ":
            line = " ".join(line.split())
        if not line.isascii() and not unicodedata.is_normalized("NFC", line):
            line = unicodedata.normalize("NFC", line)
        return line
