"""Contrastive items and their files: one phenomenon a file, one item a line, tabs between its sentences."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from recambio.data.pairs import decode_lines, read_lines
from recambio.errors import InputError

_FORMAT = "an item is source, right translation and one wrong translation or more, with tabs between"


@dataclass(frozen=True, slots=True)
class Item:
    """A sentence with a right translation and wrong ones.

    Attributes:
        phenomenon: What the wrong ones get wrong.
        source: English.
        right: A right translation.
        wrong: Translations that are wrong for this source, each little different from `right`.
        where: File and line, for messages; empty if it comes from no file.
    """

    phenomenon: str
    source: str
    right: str
    wrong: tuple[str, ...]
    where: str = ""

    @property
    def chance(self) -> float:
        """The share that guessing gets right."""
        return 1 / (1 + len(self.wrong))


@dataclass(frozen=True)
class ItemFile:
    """The items of one phenomenon.

    Attributes:
        phenomenon: The file's name without its ending.
        description: The file's first comment; empty if it has none.
        items: In the order of the file.
    """

    phenomenon: str
    description: str
    items: list[Item]


def hand_items() -> list[ItemFile]:
    """The package's own hand-written items, by phenomenon in alphabetical order."""
    found = []
    folder = resources.files("recambio.evaluation.contrastive").joinpath("items")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        if file.name.endswith(".tsv"):
            found.append(_parse(file.name, decode_lines(io.BytesIO(file.read_bytes()), file.name)))
    return found


def read_items(path: Path) -> ItemFile:
    """The items of a file of UTF-8, plain or compressed.

    Lines that begin with ``#`` are comments, the first of them says what the phenomenon is; empty lines are passed over.

    Raises:
        InputError: The file can't be read or holds no item, or an item is malformed; all problems at once.
    """
    return _parse(str(path), read_lines(path))


def _parse(name: str, lines: Iterable[str]) -> ItemFile:
    phenomenon = Path(name).name.split(".")[0]
    description, items, problems = "", [], []
    first_seen: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{name}:{number}"
        if line.startswith("#"):
            description = description or line.lstrip("# ").strip()
        elif line.strip():
            cells = [" ".join(unicodedata.normalize("NFC", cell).split()) for cell in line.split("\t")]
            if problem := _problem(cells):
                problems.append(f"{where}: {problem}")
                continue
            source, right, *wrong = cells
            earlier = first_seen.setdefault((source, right), number)
            if earlier != number:
                problems.append(f"{where}: repeats the item of line {earlier}; leave one of the two out")
                continue
            items.append(Item(phenomenon, source, right, tuple(wrong), where))
    if not items and not problems:
        problems.append(f"{name}: holds no items; {_FORMAT}")
    if problems:
        raise InputError(problems)
    return ItemFile(phenomenon, description, items)


def _problem(cells: list[str]) -> str:
    if len(cells) < 3:
        return f"has {len(cells)} {'column' if len(cells) == 1 else 'columns'}; {_FORMAT}"
    if not all(cells):
        return f"column {cells.index('') + 1} is empty; {_FORMAT}"
    _, right, *wrong = cells
    if right in wrong:
        return (
            f"the wrong translation in column {3 + wrong.index(right)} equals the right one; change what is wrong in it"
        )
    if len(set(wrong)) < len(wrong):
        again = next(i for i, text in enumerate(wrong) if text in wrong[:i])
        return f"the wrong translation in column {3 + again} stands in column {3 + wrong.index(wrong[again])} too; leave it out"
    return ""
