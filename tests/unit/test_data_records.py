"""JSON Lines and Parquet: fields by dotted paths, and every record that holds no pair accounted for."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recambio.data  # noqa: F401
from recambio.data.corpora.records import one_line
from recambio.data.pairs import BadLine, Pair
from recambio.errors import InputError
from recambio.registry import CORPUS

FORMATS = ("jsonl", "parquet")
# Text that a file can hold and a sentence may have: no half of a surrogate pair, no NUL, no line break.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0")).filter(str.strip)


def write(path: Path, records: list[Any]) -> Path:
    """Records as a file of the format that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def layout(pairs: list[tuple[Any, Any]]) -> list[dict[str, Any]]:
    """The records of the Hugging Face layout."""
    return [{"id": i, "translation": {"en": source, "es": target}} for i, (source, target) in enumerate(pairs)]


def corpus(root: Path, name: str, **options: Any) -> Any:
    return CORPUS.create({"name": name, **options}, root=root, source_language="en", target_language="es")


def reading(path: Path, split: str = "train", **options: Any) -> tuple[list[Pair], list[BadLine]]:
    bad: list[BadLine] = []
    name = path.name.split(".")[1]
    given_files = {"train": path.name, split: path.name}
    made = corpus(path.parent, name, **given_files, **options)
    return list(made.read(split, bad.append)), bad


@pytest.mark.parametrize("name", FORMATS)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_pairs_come_back_as_they_were_written(
    name: str, pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("records") / f"a.{name}", layout(pairs))
    for split in ("train", "dev"):
        found, bad = reading(path, split)
        assert found == [Pair(source, target) for source, target in pairs] and not bad
        assert [(p.file, p.line) for p in found] == [(str(path), n + 1) for n in range(len(pairs))]


@pytest.mark.parametrize("name", FORMATS)
def test_sides_are_found_by_dotted_paths(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / f"a.{name}", [{"a": {"b": {"c": "one"}}, "d": "uno", "translation": {"en": "x", "es": "y"}}]
    )
    assert reading(path)[0] == [Pair("x", "y")]
    assert reading(path, source="a.b.c", target="d")[0] == [Pair("one", "uno")]
    first = corpus(tmp_path, name, train=path.name).fingerprint("train")
    assert first != corpus(tmp_path, name, train=path.name, source="d").fingerprint("train")
    for wrong in ("", "a..b", ".a"):
        with pytest.raises(InputError, match=r"data\.corpus\.source: is '.*'; names joined by dots"):
            corpus(tmp_path, name, train=path.name, source=wrong)
    with pytest.raises(InputError, match=r"data\.corpus\.target: is 'd', and so is source"):
        corpus(tmp_path, name, train=path.name, source="d", target="d")


@pytest.mark.parametrize("name", FORMATS)
def test_several_files_are_read_in_order_and_missing_ones_named_together(tmp_path: Path, name: str) -> None:
    for stem, word in (("two", "b"), ("one", "a")):
        write(tmp_path / f"{stem}.{name}", layout([(word, word.upper())]))
    made = corpus(tmp_path, name, train=[f"two.{name}", f"one.{name}"], test=[f"one.{name}"])
    assert made.splits() == ("train", "test")
    assert [pair.source for pair in made.read("train")] == ["b", "a"]
    assert made.fingerprint("train") != corpus(tmp_path, name, train=[f"one.{name}", f"two.{name}"]).fingerprint(
        "train"
    )
    with pytest.raises(InputError) as caught:
        list(corpus(tmp_path, name, train=[f"x.{name}", f"one.{name}", f"y.{name}"]).read("train"))
    assert [p.split(" (")[0] for p in caught.value.problems] == [
        f"data.corpus.train: no file {tmp_path}/x.{name}" + ("; check data.root" if name == "parquet" else ""),
        f"data.corpus.train: no file {tmp_path}/y.{name}" + ("; check data.root" if name == "parquet" else ""),
    ]
    with pytest.raises(InputError, match=r"data\.corpus\.dev: is an empty list"):
        corpus(tmp_path, name, train="a", dev=[])


@pytest.mark.parametrize("name", FORMATS)
def test_records_without_a_pair_are_named(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path / f"a.{name}",
        layout([("one", "uno"), (None, "dos"), ("three", " "), ("four", "cu\0atro"), ("f", "c")]),
    )
    found, bad = reading(path)
    assert [(pair.source, pair.line) for pair in found] == [("one", 1), ("f", 5)]
    assert bad == [
        BadLine(str(path), 2, "not text"),
        BadLine(str(path), 3, "empty side"),
        BadLine(str(path), 4, "not UTF-8"),
    ]


@pytest.mark.parametrize("name, unit", [("jsonl", "line"), ("parquet", "row")])
def test_a_split_that_is_scored_is_read_strictly(tmp_path: Path, name: str, unit: str) -> None:
    path = write(tmp_path / f"a.{name}", layout([("one", "uno"), ("", "dos")]))
    assert reading(path, "dev")[0] == [Pair("one", "uno"), Pair("", "dos")]
    write(path, layout([("one", "uno"), (None, "dos")]))
    expected = (
        rf"a\.{name}:2: translation\.en is null, not text; every {unit} of a split that is scored must hold a pair"
    )
    with pytest.raises(InputError, match=expected):
        reading(path, "dev")


@pytest.mark.parametrize("name", FORMATS)
def test_line_breaks_become_spaces(tmp_path: Path, name: str) -> None:
    # One line a sentence: the files of references and translations would shift against each other.
    path = write(tmp_path / f"a.{name}", layout([("one\r\n two\n", "uno\n\n\rdos\u2028tres")]))
    for split in ("train", "test"):
        assert reading(path, split)[0] == [Pair("one two", "uno dos\u2028tres")]


@given(st.text(st.sampled_from("a \n\r\u2028")))
def test_one_line_keeps_every_word(text: str) -> None:
    made = one_line(text)
    assert "\n" not in made and "\r" not in made
    assert made.split() == text.split()
    assert made == text or "\n" in text or "\r" in text


@pytest.mark.parametrize("name, unit", [("jsonl", "line"), ("parquet", "row")])
def test_empty_files_are_refused(tmp_path: Path, name: str, unit: str) -> None:
    path = tmp_path / f"a.{name}"
    if name == "jsonl":
        path.write_bytes(b"")
    else:
        pq.write_table(pa.Table.from_pylist(layout([("a", "b")])).slice(0, 0), path)
    for split in ("train", "dev"):
        with pytest.raises(InputError, match=rf"a\.{name}: is empty; a corpus needs at least one {unit}"):
            reading(path, split)


# JSON Lines -----------------------------------------------------------------------------------------------------------


def test_lines_that_are_no_json_object_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"translation": {"en": "one", "es": "uno"}}\n'
    deep = b"[" * 100_000 + b"]" * 100_000 + b"\n"
    lines = [good, b"\n", b"{]\n", b"5\n", b'{"en": "one"}\n', b'{"translation": {"en": "\\ud800", "es": "x"}}\n', deep]
    path.write_bytes(b"".join(lines) + b'{"translation": {"en": 7, "es": "x"}}\n' + b'{"x": ' + b"9" * 5_000 + b"}\n")
    found, bad = reading(path)
    assert found == [Pair("one", "uno")]
    reasons = ["not JSON", "not JSON", "not JSON", "missing field", "not UTF-8", "not JSON", "not text", "not JSON"]
    assert bad == [BadLine(str(path), line, reason) for line, reason in enumerate(reasons, start=2)]


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"translation": {"en": "one", "es": "ma\xf1ana"}}\n' + b'{"translation": {"en": "a", "es": "b"}}\n' * 150
    )
    found, bad = reading(path)
    assert len(found) == 150 and bad == [BadLine(str(path), 1, "not UTF-8")]
    with pytest.raises(InputError, match=r"a\.jsonl:1: not UTF-8 \(byte 0xf1 at"):
        reading(path, "dev")


@pytest.mark.parametrize(
    "line, expected",
    [
        ("{]", r"a\.jsonl:2: is not JSON \(.* at column 2\); every line of a split that is scored"),
        ("[1]", r"a\.jsonl:2: is not a JSON object but list"),
        (
            '{"translation": {"en": "a", "fr": "b"}}',
            r"a\.jsonl:2: has no translation\.es but translation\.en, translation\.fr",
        ),
        ("[" * 100_000, r"a\.jsonl:2: is no JSON that can be read"),
    ],
)
def test_a_scored_line_without_a_pair_is_an_error(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"translation": {"en": "a", "es": "b"}}\n' + line + "\n")
    with pytest.raises(InputError, match=expected):
        reading(path, "dev")


def test_a_file_without_the_fields_is_refused_and_says_what_it_has(tmp_path: Path) -> None:
    expected = (
        r"a\.jsonl: none of its 3 lines holds translation\.en and translation\.es; one has en, meta\.id, es; "
        r"name the fields with data\.corpus\.source and target"
    )
    path = write(tmp_path / "a.jsonl", [{"en": "a", "meta": {"id": 1}, "es": "b"}] * 3)
    with pytest.raises(InputError, match=expected):
        reading(path)
    path.write_text("".join(json.dumps({"en": "a", "meta": {"id": 1}, "es": "b"}) + "\n" for _ in range(5_000)) + "{]")
    with pytest.raises(InputError, match="none of its first 1,000 lines holds"):
        reading(path)
    path.write_text("[\n" + '{"translation": {"en": "a", "es": "b"}},\n' * 2 + "]\n")
    with pytest.raises(InputError, match=r"none of its 4 lines holds translation\.en and translation\.es; name"):
        reading(path)


def test_a_compressed_file_that_is_cut_off_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    data = "".join(
        json.dumps(record) + "\n" for record in layout([(f"a {n}", f"b {n}") for n in range(9_000)])
    ).encode()
    path.write_bytes(gzip.compress(data))
    assert len(reading(path)[0]) == 9_000
    path.write_bytes(gzip.compress(data)[:-3_000])
    with pytest.raises(InputError, match=r"a\.jsonl\.gz: damaged after line \d+"):
        reading(path)


# Parquet --------------------------------------------------------------------------------------------------------------


def test_parquet_columns_are_checked_before_any_row_is_read(tmp_path: Path) -> None:
    records = [{"id": 7, "translation": {"en": "a", "fr": "b"}, "note": {"by": {"name": "x"}}}]
    path = write(tmp_path / "a.parquet", records)
    for split in ("train", "dev"):
        with pytest.raises(InputError) as caught:
            reading(path, split)
        assert caught.value.problems == [
            f"{path}: has no column translation.es; it has id, translation.en, translation.fr, note.by.name; "
            "name one as data.corpus.target"
        ]
    with pytest.raises(InputError) as caught:
        reading(path, source="id", target="translation")
    assert caught.value.problems == [
        f"{path}: id is int64, not text; name another column as data.corpus.source",
        f"{path}: translation is struct<en: string, fr: string>, not text; name another column as data.corpus.target",
    ]
    with pytest.raises(InputError, match=r"has no column id\.x; it has"):
        reading(path, source="id.x", target="translation.en")


def test_parquet_text_of_every_kind_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    source = pa.array(["one", "two", "one"]).dictionary_encode()
    target = pa.array(["uno", "dos", "uno"], pa.large_string())
    pq.write_table(pa.table({"s": source, "t": target}), path, compression="zstd")
    assert reading(path, source="s", target="t")[0] == [Pair("one", "uno"), Pair("two", "dos"), Pair("one", "uno")]


def test_parquet_rows_whose_bytes_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    # Arrow takes bytes for text without a look at them.
    raw = pa.array([b"one", b"ma\xf1ana", None, b"four"], pa.binary())
    text = pa.StringArray.from_buffers(4, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])
    structs = pa.StructArray.from_arrays([text, pa.array(["1", "2", "3", "4"])], ["en", "es"])
    pq.write_table(pa.table({"translation": structs}), path)
    found, bad = reading(path)
    assert found == [Pair("one", "1"), Pair("four", "4")]
    assert bad == [BadLine(str(path), 2, "not UTF-8"), BadLine(str(path), 3, "not text")]
    with pytest.raises(InputError, match=r"a\.parquet:2: translation\.en is not UTF-8 text"):
        reading(path, "dev")


def test_a_row_without_its_struct_holds_no_pair(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"translation": None}, *layout([("a", "b")])])
    found, bad = reading(path)
    assert [pair.line for pair in found] == [2] and bad == [BadLine(str(path), 1, "not text")]


def test_what_is_no_parquet_file_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InputError, match=r"a\.parquet: is no Parquet file \(.*\); fetch it again"):
        reading(path)
    write(path, layout([(f"sentence {n} {n * 7919}", f"frase {n} {n * 104729}") for n in range(60_000)]))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.parquet: damaged after row \d+ \("):
        reading(path)


def test_parquet_passes_in_batches(tmp_path: Path) -> None:
    write(
        tmp_path / "a.parquet", layout([(f"sentence {n} {'x' * 90}", f"frase {n} {'y' * 90}") for n in range(40_000)])
    )
    pairs = corpus(tmp_path, "parquet", train="a.parquet").read("train")
    next(pairs)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    most = 0
    for _ in pairs:
        most = max(most, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The text alone is 8 MB; batches of 4,096 rows and pages of 1 MB are less.
    assert peak < 4e6 and most < 6e6, (peak, most)


def test_without_pyarrow_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", layout([("a", "b")]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"a\.parquet: .* need the package 'pyarrow'; pip install pyarrow"):
        reading(path)
