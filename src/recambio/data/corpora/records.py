"""Pairs that are fields of records, found by dotted paths: ``translation.en`` is the field ``en`` of the field ``translation``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recambio.data.corpora.files import FileCorpus
from recambio.data.pairs import EMPTY_SIDE, NOT_UTF8, BadLine, OnBad, Pair
from recambio.errors import InputError

SOURCE = "translation.en"
TARGET = "translation.es"
"""The fields of the Hugging Face layout of a translation data set."""

MISSING_FIELD = "missing field"
NOT_TEXT = "not text"

MISSING: Any = object()
"""Stands for the value of a field that a record doesn't have."""

UNDECODABLE: Any = object()
"""Stands for text whose bytes aren't UTF-8."""

# So many records without the fields mean that the fields are called otherwise: there is no need to read the rest.
_ENOUGH = 1_000


def field_path(option: str, text: str) -> tuple[str, ...]:
    """The names of a dotted path.

    Raises:
        InputError: One is empty.
    """
    path = tuple(text.split("."))
    if not all(path):
        raise InputError(f"data.corpus.{option}: is {text!r}; names joined by dots are needed, such as translation.en")
    return path


def field_paths(source: str, target: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paths of both sides.

    Raises:
        InputError: One isn't a path, or they are the same.
    """
    if source == target:
        raise InputError(f"data.corpus.target: is {target!r}, and so is source; two different fields are needed")
    return field_path("source", source), field_path("target", target)


def look_up(record: Any, path: Sequence[str]) -> Any:
    """The value at a path, or :data:`MISSING`."""
    for name in path:
        if not isinstance(record, Mapping) or name not in record:
            return MISSING
        record = record[name]
    return record


def field_names(record: Any, at: str = "") -> Iterator[str]:
    """The dotted paths of a record's values."""
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            yield from field_names(value, f"{at}{name}.")
        else:
            yield f"{at}{name}"


class RecordPairs:
    """Makes pairs of the records of one file, and accounts for those that hold none.

    Args:
        name: What messages call the file.
        unit: What they call a record.
        fields: The dotted paths of source and target, for messages.
        strict: As in :meth:`FileCorpus.read_file`.
        on_bad: As there.
        missing: The reason that a report gives for a record without one of them.
        remedy: What a message advises if no record has them.
    """

    def __init__(
        self,
        name: str,
        unit: str,
        fields: tuple[str, str],
        *,
        strict: bool,
        on_bad: OnBad | None,
        missing: str = MISSING_FIELD,
        remedy: str = "name the fields with data.corpus.source and target",
    ) -> None:
        self.name = name
        self.unit = unit
        self.fields = fields
        self.strict = strict
        self.on_bad = on_bad
        self.missing = missing
        self.remedy = remedy
        self.number = 0
        self._found = 0
        self._first = ""

    def take(self, source: Any, target: Any, record: Mapping[str, Any] | None = None) -> Pair | None:
        """The pair of the next record, or None if it holds none.

        Line breaks within a side become spaces, since a sentence is a line from here on.

        Args:
            source: The value of the source's field.
            target: The value of the target's.
            record: The whole record, from which a message names what fields there are.

        Raises:
            InputError: The pair is to be scored and isn't whole; or no record so far has the fields.
        """
        fault = self._fault(source, target, record)
        if fault is not None:
            self.leave_out(*fault)
            return None
        self.number += 1
        return Pair(one_line(source), one_line(target), (), self.number, self.name)

    def _fault(self, source: Any, target: Any, record: Mapping[str, Any] | None) -> tuple[str, str] | None:
        """Why two values are no pair: in two words, and as a message."""
        values = dict(zip(self.fields, (source, target), strict=True))
        for field, value in values.items():
            if value is MISSING:
                names = ""
                if record is not None and (self.strict or not self._first):
                    names = self._first = ", ".join(field_names(record))
                return self.missing, f"has no {field}{f' but {names}' if names else ''}"
        self._found += 1
        for field, value in values.items():
            if value is UNDECODABLE or (isinstance(value, str) and not _is_unicode(value)):
                return NOT_UTF8, f"{field} is not UTF-8 text"
            if not isinstance(value, str):
                return NOT_TEXT, f"{field} is {'null' if value is None else type(value).__name__}, not text"
        if not self.strict and not (source.strip() and target.strip()):
            return EMPTY_SIDE, "has an empty side"
        return None

    def leave_out(self, reason: str, text: str) -> None:
        """Count the next record as one without a pair.

        Args:
            reason: In two words, for the report.
            text: What is wrong, for the error of a split that is scored.

        Raises:
            InputError: The split is scored; or no record so far has the fields.
        """
        self.number += 1
        if self.strict:
            raise InputError(
                f"{self.name}:{self.number}: {text}; every {self.unit} of a split that is scored must hold a pair"
            )
        if self.number == _ENOUGH and not self._found:
            self._refuse("none of its first {n:,} {unit}s")
        if self.on_bad is not None:
            self.on_bad(BadLine(self.name, self.number, reason))

    def finish(self) -> None:
        """Refuse a file without any pair, once it is read.

        Raises:
            InputError: There is no record, or none has the fields.
        """
        if not self.number:
            raise InputError(f"{self.name}: is empty; a corpus needs at least one {self.unit}")
        if not self._found:
            self._refuse("none of its {n:,} {unit}s")

    def _refuse(self, which: str) -> None:
        which = which.format(n=self.number, unit=self.unit)
        has = f"; one has {self._first}" if self._first else ""
        raise InputError(f"{self.name}: {which} holds {' and '.join(self.fields)}{has}; {self.remedy}")


class RecordCorpus(FileCorpus):
    """A corpus of files of records, whatever their format.

    Args:
        train: Path of the training pairs, or a list of paths that are read in order.
        dev: The same for the development set; none if null.
        test: The same for the test set; none if null.
        source: Dotted path of the source's field, or column.
        target: Dotted path of the target's.
        root: Folder under which relative paths lie.
    """

    def __init__(
        self,
        train: str | list[str],
        dev: str | list[str] | None = None,
        test: str | list[str] | None = None,
        source: str = SOURCE,
        target: str = TARGET,
        root: Path | None = None,
    ) -> None:
        super().__init__(train, dev, test, root, [source, target])
        self.fields = (source, target)
        self.field_paths = field_paths(source, target)


def one_line(text: str) -> str:
    """Text with its line breaks as spaces."""
    if "\n" not in text and "\r" not in text:
        return text
    parts = (part.strip() for part in text.replace("\r", "\n").split("\n"))
    return " ".join(part for part in parts if part)


def _is_unicode(text: str) -> bool:
    """Whether text can be written as UTF-8 (half a surrogate pair can't), and holds no NUL."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
