"""Translation memories in TMX: one pair a translation unit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree
from xml.parsers import expat

from recambio.data.corpora.files import FileCorpus
from recambio.data.corpora.records import MISSING, RecordPairs
from recambio.data.pairs import DAMAGED, OnBad, Pair, open_bytes
from recambio.errors import InputError
from recambio.registry import CORPUS, Card

MISSING_LANGUAGE = "missing language"

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
# Their content is codes of the document that the text comes from, such as <b>, and no text of the sentence.
_CODES = {"bpt", "ept", "ph", "it", "ut"}
_WHITE_SPACE = re.compile("[ \t\r\n]+")
_CHUNK = 1 << 14


@CORPUS.register(
    "tmx",
    card=Card(
        claim="Translation memories (TMX 1.4), plain or compressed (.gz, .xz, .zst), read unit by unit: en-US and en-GB are English, "
        "inner markup is left out.",
        example={"train": "mine/memory.tmx", "dev": "mine/dev.tmx"},
    ),
)
class TmxCorpus(FileCorpus):
    """Translation memories, plain or with ``.gz``, ``.xz`` or ``.zst``.

    Of each language, a unit's first variant counts, matched by its primary tag. Of what is marked within a segment, the text of
    ``hi`` and ``sub`` stays; the codes in ``bpt``, ``ept``, ``ph``, ``it`` and ``ut`` go. White space is what XML makes of it:
    one space. A file that declares entities is refused, and no file that a document names is ever opened.

    Args:
        train: Path of the training pairs, or a list of paths that are read in order.
        dev: The same for the development set; none if null.
        test: The same for the test set; none if null.
        root: Folder under which relative paths lie.
        source_language: Primary tag of the source's language.
        target_language: Primary tag of the target's language.
    """

    format = "tmx"

    def __init__(
        self,
        train: str | list[str],
        dev: str | list[str] | None = None,
        test: str | list[str] | None = None,
        root: Path | None = None,
        source_language: str = "en",
        target_language: str = "es",
    ) -> None:
        super().__init__(train, dev, test, root, [source_language, target_language])
        self.languages = (source_language, target_language)

    def code(self) -> tuple[type, ...]:
        return (type(self), RecordPairs)

    def read_file(self, path: Path, *, strict: bool, on_bad: OnBad | None = None) -> Iterator[Pair]:
        root = _root_without_entities(path)
        if root != "tmx":
            raise InputError(f"{path}: is no TMX file: its root is <{root}>, not <tmx>")
        pairs = RecordPairs(
            str(path),
            "unit",
            self.languages,
            strict=strict,
            on_bad=on_bad,
            missing=MISSING_LANGUAGE,
            remedy="another file is needed",
        )
        source, target = self.languages
        with open_bytes(path) as stream:
            try:
                for segments in _units(stream):
                    pair = pairs.take(segments.get(source, MISSING), segments.get(target, MISSING), segments)
                    if pair is not None:
                        yield pair
            except ElementTree.ParseError as error:
                raise _ill_formed(path, str(error), error.position[0]) from None
            except DAMAGED as error:
                raise InputError(
                    f"{path}: damaged after unit {pairs.number} ({error}); fetch or compress it again"
                ) from None
        pairs.finish()


def _root_without_entities(path: Path) -> str:
    """The name of a document's root, of which nothing is parsed but what precedes it.

    Raises:
        InputError: An entity is declared there, or this is no XML.
    """
    parser = expat.ParserCreate()
    roots: list[str] = []

    def start(name: str, attributes: Any) -> None:
        roots.append(name.rpartition(":")[2])
        parser.StartElementHandler = None

    def declared(name: str, *rest: Any) -> None:
        raise InputError(
            f"{path}:{parser.CurrentLineNumber}: declares the entity {name!r}, which is refused; write its text where it stands"
        )

    parser.StartElementHandler = start
    parser.EntityDeclHandler = declared
    with open_bytes(path) as stream:
        try:
            while not roots:
                chunk = stream.read(_CHUNK)
                parser.Parse(chunk, not chunk)
        except expat.ExpatError as error:
            if not roots:
                raise _ill_formed(path, str(error), error.lineno) from None
        except (LookupError, ValueError) as error:
            raise InputError(f"{path}: has an encoding that can't be read ({error}); convert it to UTF-8") from None
        except DAMAGED as error:
            raise InputError(f"{path}: damaged at its start ({error}); fetch or compress it again") from None
    return roots[0]


def _ill_formed(path: Path, error: str, line: int) -> InputError:
    return InputError(f"{path}:{line}: not well-formed XML ({error.partition(':')[0]}); repair it or fetch it again")


def _units(stream: BinaryIO) -> Iterator[dict[str, str]]:
    """The segments of each unit by language, one unit in memory at a time."""
    above: list[ElementTree.Element] = []
    for event, element in ElementTree.iterparse(stream, ("start", "end")):
        if event == "start":
            above.append(element)
            continue
        above.pop()
        if _local(element) == "tu":
            yield _segments(element)
            if above:
                above[-1].clear()


def _segments(unit: ElementTree.Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for variant in unit:
        if _local(variant) != "tuv":
            continue
        tag = variant.get(_LANGUAGE) or variant.get("lang") or ""
        segment = next((inner for inner in variant if _local(inner) == "seg"), None)
        if segment is not None:
            found.setdefault(_primary(tag), _text(segment))
    return found


@lru_cache
def _primary(tag: str) -> str:
    """The language of a tag without its region: ``en`` of ``en-US``, ``EN_gb`` and ``En``."""
    return re.split("[-_]", tag, maxsplit=1)[0].lower()


def _text(segment: ElementTree.Element) -> str:
    """The text of a segment without the codes that stand in it."""
    if not len(segment):
        return _WHITE_SPACE.sub(" ", segment.text or "").strip(" ")
    pieces: list[str] = []
    # A stack, since nothing bounds how deep a document nests.
    pending: list[tuple[ElementTree.Element, bool] | str] = [(segment, True)]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            pieces.append(item)
            continue
        element, is_text = item
        name = _local(element)
        is_text = name == "sub" or (is_text and name not in _CODES)
        edge = " " if name == "sub" else ""  # a text of its own within a code, such as a footnote
        if is_text:
            pieces.append(edge + (element.text or ""))
        following: list[tuple[ElementTree.Element, bool] | str] = []
        for inner in element:
            following.append((inner, is_text))
            if is_text and inner.tail:
                following.append(inner.tail)
        pending.append(edge)
        pending.extend(reversed(following))
    return _WHITE_SPACE.sub(" ", "".join(pieces)).strip(" ")


def _local(element: ElementTree.Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]
