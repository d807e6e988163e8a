"""Cutting a text that is too long for a model into pieces that aren't, at the best places there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_SENTENCE_END = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bProf)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\b[A-Z])"
    r"(?:[.!?…]+[\"'”’»)\]]*)\s+(?=[\"'“‘«(\[¿¡]*[A-Z0-9À-ÖØ-Þ])"
)
_CLAUSE_END = re.compile(r"[,;:—–)]\s+")
_SPACE = re.compile(r"\s+")


def cut(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The sentences of a text, those that don't fit cut further.

    A sentence that doesn't fit is cut after punctuation, then between words, then within a word, always as seldom as possible. The
    pieces hold every character of the text but the white space where it is cut.

    Args:
        text: What is too long.
        fits: Whether a piece is short enough; a single character is taken as it is.
    """
    pieces: list[str] = []
    for sentence in _split(text, _SENTENCE_END):
        pieces += _packed(sentence, fits, (_CLAUSE_END, _SPACE))
    return pieces


def _packed(text: str, fits: Callable[[str], bool], places: tuple[re.Pattern[str], ...]) -> list[str]:
    if fits(text):
        return [text]
    if not places:
        return _cut_word(text, fits)
    packed: list[str] = []
    held, end = "", 0
    for match in [*places[0].finditer(text), None]:
        stop = match.end() if match else len(text)
        joined = held + text[end:stop]
        if fits(joined.rstrip()):
            held = joined
        else:
            packed += [held.rstrip()] if held else []
            held = text[end:stop]
            if not fits(held.rstrip()):
                *whole, held = _packed(held.rstrip(), fits, places[1:])
                packed += whole
                held += " "
        end = stop
    return [*packed, held.rstrip()] if held.strip() else packed


def _cut_word(text: str, fits: Callable[[str], bool]) -> list[str]:
    middle = len(text) // 2
    if middle == 0:
        return [text]
    pieces = []
    for half in (text[:middle], text[middle:]):
        pieces += [half] if fits(half) else _cut_word(half, fits)
    return pieces


def _split(text: str, place: re.Pattern[str]) -> Iterator[str]:
    start = 0
    for match in place.finditer(text):
        yield text[start : match.end()].rstrip()
        start = match.end()
    if text[start:].strip():
        yield text[start:].strip()
