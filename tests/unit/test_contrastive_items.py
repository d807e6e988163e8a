"""The hand-written contrastive items keep their promises, and files of one's own are read or refused by line."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from recambio.errors import InputError
from recambio.evaluation.contrastive import hand_items, read_items
from recambio.evaluation.contrastive.items import ItemFile

FILES = hand_items()
ITEMS = [item for file in FILES for item in file.items]
MOST_EDITS = 2
"""Words that a wrong translation may have changed, left out or added."""


def edits(one: str, other: str) -> int:
    """Levenshtein's distance in words and punctuation marks."""
    a, b = (re.findall(r"\w+|[^\w\s]", text) for text in (one, other))
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, against in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != against))
    return row[-1]


def bag(text: str) -> Counter[str]:
    """The words of a sentence in any order, contractions apart."""
    words = text.lower().strip("¿?¡!.").replace(" al ", " a el ").replace(" del ", " de el ").split()
    return Counter(words)


def test_the_phenomena() -> None:
    names = [file.phenomenon for file in FILES]
    assert len(names) >= 14 and names == sorted(set(names))
    assert all(file.description for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.phenomenon)
def test_each_phenomenon_has_twenty_items_of_twenty_frames(file: ItemFile) -> None:
    assert len(file.items) >= 20
    for one, other in itertools.combinations(file.items, 2):
        assert edits(one.source, other.source) >= 3, (one, other)


def test_no_sentence_is_used_twice() -> None:
    assert [text for text, n in Counter(item.source for item in ITEMS).items() if n > 1] == []
    assert [text for text, n in Counter(item.right for item in ITEMS).items() if n > 1] == []
    wrong = {text for item in ITEMS for text in item.wrong}
    assert [item.right for item in ITEMS if item.right in wrong] == [], "right of one source and wrong of another"


def test_wrong_translations_are_minimally_wrong() -> None:
    for item in ITEMS:
        for text in item.wrong:
            assert text != item.right
            if item.phenomenon == "role_reversal":
                assert bag(text) == bag(item.right), item
            else:
                assert edits(text, item.right) <= MOST_EDITS, (item, text)


def test_the_form_of_the_sentences() -> None:
    for item in ITEMS:
        for text in (item.source, item.right, *item.wrong):
            assert unicodedata.is_normalized("NFC", text) and text == " ".join(text.split())
            assert text.lstrip("¿¡")[0].isupper() and text[-1] in ".?!", text
        for text in (item.right, *item.wrong):
            # in one phenomenon the marks are what is wrong
            if text is item.right or item.phenomenon != "marks":
                assert text.count("¿") == text.count("?") and text.count("¡") == text.count("!"), text
        assert item.source.count("?") == item.right.count("?"), item


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "accents.tsv"
    path.write_bytes(
        "\ufeff# accents that change the tense\r\n# by me\r\n\r\n"
        "He spoke.\tHablo\u0301.\tHablo.\tHable\u0301.\r\nShe left.\tSalió. \tSalio.\r\n".encode()
    )
    found = read_items(path)
    assert (found.phenomenon, found.description) == ("accents", "accents that change the tense")
    first, second = found.items
    assert (first.right, first.wrong, first.where) == ("Habló.", ("Hablo.", "Hablé."), f"{path}:4")
    assert (first.chance, second.chance, second.right) == (1 / 3, 1 / 2, "Salió.")


FORMAT = "an item is source, right translation and one wrong translation or more, with tabs between"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [f"FILE: holds no items; {FORMAT}"]),
        ("# only a comment\n", [f"FILE: holds no items; {FORMAT}"]),
        ("A.\tUn.\tUna.\nA cat.  Un gato.  Una gato.\n", [f"FILE:2: has 1 column; {FORMAT}"]),
        (
            "A cat.\tUn gato.\n\nB.\t \tC.\n",
            [f"FILE:1: has 2 columns; {FORMAT}", f"FILE:3: column 2 is empty; {FORMAT}"],
        ),
        (
            "A.\tNiño.\tNina.\tNin\u0303o.\n",
            ["FILE:1: the wrong translation in column 4 equals the right one; change what is wrong in it"],
        ),
        (
            "A.\tUn.\tUna.\tUno.\tUna.\n",
            ["FILE:1: the wrong translation in column 5 stands in column 3 too; leave it out"],
        ),
        (
            "A.\tUn.\tUna.\nB.\tUn.\tUna.\nA.\tUn.\tUno.\n",
            ["FILE:3: repeats the item of line 1; leave one of the two out"],
        ),
    ],
)
def test_wrong_files_are_refused_by_line(tmp_path: Path, text: str, problems: list[str]) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_items(path)
    assert caught.value.problems == [problem.replace("FILE", str(path)) for problem in problems]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_bytes(b"A.\tUn ni\xf1o.\tUna nino.\n")
    with pytest.raises(InputError, match=r"mine\.tsv:1: not UTF-8"):
        read_items(tmp_path / "mine.tsv")
    with pytest.raises(InputError, match=r"none\.tsv"):
        read_items(tmp_path / "none.tsv")
