"""Text instead of markup."""

from __future__ import annotations

import html
import re
import unicodedata
from html.entities import html5

from recambio.data.cleaning.base import CleaningStep
from recambio.data.pairs import Pair
from recambio.errors import InputError
from recambio.registry import CLEANING, Card

_HTML_NAMES = """
    a abbr b big blockquote body br center cite code dd del div dl dt em font h1 h2 h3 h4 h5 h6 head hr html i img input ins kbd li
    link meta ol p pre q s samp script small span strike strong style sub sup table tbody td tfoot th thead title tr tt u ul var
"""
_HTML = frozenset(_HTML_NAMES.split())
# Most lines hold none of these, and are looked at no further.
_ANY = re.compile(r"[<&%{]|://|www\.")
# Escaped again and again; undone one by one, a line of nothing else would take minutes.
_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,4}26);){2,}")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# "a < b", "<user@example.com>" and "<file name>" are none.
_TAG = re.compile(
    r"<!--.*?-->|<(?P<end>/?)(?P<name>[A-Za-z][\w:.-]*)(?P<attributes>(?:\s+[\w:.-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))*)\s*(?P<empty>/?)>"
)
# printf's (no space among the flags: "50 % de" holds none), Python's, and names or numbers in braces.
_PLACEHOLDER = re.compile(
    r"(?<![%\w])%(?:\d+\$)?(?P<named>\(\w+\))?[-+0#]*\d*(?:\.\d+)?(?:hh|h|ll|l|z|j|t)?(?P<type>[diouxXeEfFgGcrs])(?![\w%])"
    r"|\$?(?<!\{)\{(?P<braces>[A-Za-z_]\w*|\d*)(?:[.:!\[][^{}\s]*)?\}(?!\})"
)
_URL = re.compile(r"(?:(?:https?|ftp)://|www\.)[^\s<>\"«»“”]+")


@CLEANING.register(
    "markup",
    card=Card(
        claim="Drops pairs with a side that is mostly tags, placeholders and URLs ('markup'), and pairs whose sides disagree in tags or "
        "placeholders ('markup differs'); unescapes entities (&amp; &quot; &#39; &ntilde;) where no tag is in the text or comes of it.",
        formula="drop if characters of markup / characters > max_share, white space not counted; "
        "or if the sides' multisets of tag names or of placeholders differ",
    ),
)
class Markup(CleaningStep):
    """Drop pairs that are mostly markup or whose markup disagrees, and unescape entities in plain text.

    *Tags* are those of HTML by name, and of any XML if they close, have attributes, or are empty elements: ``<b>``, ``</guilabel>``,
    ``<x id="1">``, ``<br/>``; ``<file>`` by itself is a word in brackets. *Placeholders* are ``%s``, ``%1$d``, ``%(name)s``, ``{}``,
    ``{0}``, ``{name:.2f}``, ``${name}``. Tags are compared by name, placeholders by name or type, both in any order; addresses of links
    aren't compared, for a translation may lead elsewhere. An *entity* is one that HTML names or numbers, with its semicolon; it is
    unescaped as often as it was escaped, on both sides together, and what it stands for is brought into the form that ``normalize``
    gives. Where a tag stands on a side, or would after that (``&lt;b&gt;`` in a text about HTML), every entity stays. A line to be
    translated is treated like one side.

    Args:
        max_share: Most that markup and URLs may be of a side, by characters without white space.
        differing: Keep pairs whose sides disagree in tags or placeholders.
    """

    def __init__(self, max_share: float = 0.5, differing: bool = False) -> None:
        if not 0 <= max_share <= 1:
            raise InputError(f"data.cleaning: 'markup' has max_share {max_share}; it is a share, from 0 to 1")
        self.max_share = max_share
        self.differing = differing

    def __call__(self, pair: Pair) -> Pair | str:
        if not (_ANY.search(pair.source) or _ANY.search(pair.target)):
            return pair
        source, target = _unescaped(pair.source), _unescaped(pair.target)
        if _tags(source) or _tags(target):
            source, target = pair.source, pair.target
        for text in (source, target):
            if _covered(text) > self.max_share * sum(map(len, text.split())):
                return "markup"
        if not self.differing and (_tags(source) != _tags(target) or _placeholders(source) != _placeholders(target)):
            return "markup differs"
        if source == pair.source and target == pair.target:
            return pair
        return Pair(source, target, pair.tags, pair.line, pair.file)

    def normalize_line(self, line: str) -> str:
        unescaped = _unescaped(line)
        return line if _tags(unescaped) else unescaped


def _unescaped(text: str) -> str:
    before, found = "", _AMPERSANDS.sub("&amp;", text)
    while found != before:
        before, found = found, _ENTITY.sub(_character, found)
    if found == text:
        return text
    return unicodedata.normalize("NFC", " ".join(found.split()))


def _character(entity: re.Match[str]) -> str:
    if entity[0][1] != "#" and entity[0][1:] not in html5:
        return entity[0]
    text = html.unescape(entity[0])
    if text.isprintable() and text != "\ufffd":
        return text
    return entity[0] if text == "\ufffd" else " " if text.isspace() else ""


def _tags(text: str) -> list[str]:
    """The names of a text's tags, sorted, end tags with their slash."""
    if "<" not in text:
        return []
    return sorted(f"{m['end'] or ''}{m['name'] or '!'}".lower() for m in _TAG.finditer(text) if _is_tag(m, text))


def _is_tag(found: re.Match[str], text: str) -> bool:
    name = found["name"]
    if name is None or found["end"] or found["empty"] or found["attributes"]:
        return True
    return name.lower() in _HTML or f"</{name}>" in text


def _placeholders(text: str) -> list[str]:
    """What a text's placeholders are filled with, sorted; ``%1$s`` is ``%s`` in another place."""
    if "%" not in text and "{" not in text:
        return []
    return sorted(
        f"{{{m['braces']}}}" if m["type"] is None else f"%{m['named'] or ''}{m['type']}"
        for m in _PLACEHOLDER.finditer(text)
    )


def _covered(text: str) -> int:
    """Characters of a text that are markup or URLs, white space not counted."""
    spans = [m.span() for m in _URL.finditer(text)]
    spans += [m.span() for m in _TAG.finditer(text) if _is_tag(m, text)]
    spans += [m.span() for pattern in (_PLACEHOLDER, _ENTITY) for m in pattern.finditer(text)]
    covered = end = 0
    for start, stop in sorted(spans):
        # Spans may overlap: the address within a tag.
        covered += sum(map(len, text[max(start, end) : stop].split()))
        end = max(end, stop)
    return covered
