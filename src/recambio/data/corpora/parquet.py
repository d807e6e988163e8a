"""Parquet files: one pair a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from recambio.data.corpora.records import UNDECODABLE, RecordCorpus, RecordPairs
from recambio.data.pairs import OnBad, Pair
from recambio.errors import InputError
from recambio.registry import CORPUS, Card

_ROWS = 4096
# Column chunks are read through buffers of this size: without, all of a row group is in memory.
_BUFFER = 1 << 20


@CORPUS.register(
    "parquet",
    card=Card(
        claim="Parquet files, two columns or fields of a column of which are the sides of a pair; read batch by batch.",
        example={"train": "mine/train.parquet", "dev": "mine/dev.parquet"},
    ),
)
class ParquetCorpus(RecordCorpus):
    """Parquet files, read batch by batch."""

    format = "parquet"
    suffixes = ("",)

    def read_file(self, path: Path, *, strict: bool, on_bad: OnBad | None = None) -> Iterator[Pair]:
        pa = _pyarrow(path)
        import pyarrow.parquet

        pairs = RecordPairs(str(path), "row", self.fields, strict=strict, on_bad=on_bad)
        try:
            file = pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: is no Parquet file ({_first_line(error)}); fetch it again") from None
        with file:
            if problems := self._problems(pa, file.schema_arrow, path):
                raise InputError(problems)
            try:
                # Threads decode a little faster and keep twice the memory.
                for batch in file.iter_batches(_ROWS, columns=list(self.fields), use_threads=False):
                    sides = (_values(batch, field) for field in self.field_paths)
                    for source, target in zip(*sides, strict=True):
                        if (pair := pairs.take(source, target)) is not None:
                            yield pair
            except (pa.ArrowException, OSError) as error:
                raise InputError(
                    f"{path}: damaged after row {pairs.number} ({_first_line(error)}); fetch it again"
                ) from None
        pairs.finish()

    def _problems(self, pa: ModuleType, schema: Any, path: Path) -> list[str]:
        """What keeps the fields from being columns of text, one line each."""
        found = []
        for field, option, names in zip(self.fields, ("source", "target"), self.field_paths, strict=True):
            kind = _type_at(pa, schema, names)
            if kind is None:
                columns = ", ".join(_leaves(pa, schema))
                found.append(f"{path}: has no column {field}; it has {columns}; name one as data.corpus.{option}")
            elif not _is_text(pa, kind):
                found.append(f"{path}: {field} is {kind}, not text; name another column as data.corpus.{option}")
        return found


def _pyarrow(path: Path) -> ModuleType:
    try:
        import pyarrow
    except ImportError:
        raise InputError(
            f"{path}: Parquet files need the package 'pyarrow'; pip install pyarrow, or 'recambio[data]'"
        ) from None
    module: ModuleType = pyarrow
    return module


def _type_at(pa: ModuleType, fields: Any, names: tuple[str, ...]) -> Any:
    """The type of a column, or of a field within one; None if there is none."""
    for depth, name in enumerate(names):
        if depth and not pa.types.is_struct(fields):
            return None
        index = fields.get_field_index(name)
        if index < 0:
            return None
        fields = fields.field(index).type
    return fields


def _leaves(pa: ModuleType, fields: Any, at: str = "") -> Iterator[str]:
    """The dotted paths of a schema's columns and their fields."""
    for index in range(len(fields) if not at else fields.num_fields):
        field = fields.field(index)
        if pa.types.is_struct(field.type):
            yield from _leaves(pa, field.type, f"{at}{field.name}.")
        else:
            yield f"{at}{field.name}"


def _is_text(pa: ModuleType, kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _values(batch: Any, names: tuple[str, ...]) -> list[Any]:
    """A column as Python values: text, or None where there is none."""
    import pyarrow.compute

    column = batch.column(names[0])
    if len(names) > 1:
        column = pyarrow.compute.struct_field(column, list(names[1:]))
    try:
        values: list[Any] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return UNDECODABLE


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
