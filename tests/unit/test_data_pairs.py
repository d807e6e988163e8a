"""Reading sentence pairs from files."""

from __future__ import annotations

import gzip
import io
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recambio.data.pairs import BadLine, Pair, decode_lines, read_lines, read_moses, read_tsv
from recambio.errors import InputError

# Lines as a file can hold them: a final "\r" belongs to the line's end, NUL is no text, and a mark at the start is removed.
LINES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0\ufeff")).filter(
        lambda text: not text.endswith("\r")
    ),
    min_size=1,
    max_size=8,
)


@given(lines=LINES, end=st.sampled_from(["\n", "\r\n"]), mark=st.booleans(), has_last_end=st.booleans())
def test_lines_come_back_as_they_were_written(lines: list[str], end: str, mark: bool, has_last_end: bool) -> None:
    text = end.join(lines) + (end if has_last_end or not lines[-1] else "")
    data = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    assert list(decode_lines(io.BytesIO(data), "text")) == lines


def test_lines_end_at_a_line_feed_only(tmp_path: Path) -> None:
    path = tmp_path / "a.en"
    path.write_bytes("uno\u2028dos\x85tres\rcuatro\x0b\x0c\x1ccinco\r\nseis".encode())
    assert list(read_lines(path)) == ["uno\u2028dos\x85tres\rcuatro\x0b\x0c\x1ccinco", "seis"]


@pytest.mark.parametrize("suffix, compress", [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_files_read_like_plain_ones(tmp_path: Path, suffix: str, compress: object) -> None:
    data = "¿Qué?\n¡Sí!\n".encode()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(compress(data))  # type: ignore[operator]
    assert list(read_lines(path)) == ["¿Qué?", "¡Sí!"]
    path.write_bytes(compress(data * 10_000)[:-20])  # type: ignore[operator]
    with pytest.raises(InputError, match=r"a\.\w+: damaged after line \d+"):
        list(read_lines(path))


def test_strict_reading_names_the_file_and_line_of_a_bad_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.en"
    path.write_bytes(b"good\nma\xf1ana\nbetter\n")
    with pytest.raises(InputError, match=r"a\.en:2: not UTF-8 \(byte 0xf1 at 3\)"):
        list(read_lines(path))


def test_tolerant_reading_marks_bad_lines_up_to_one_in_a_hundred(tmp_path: Path) -> None:
    path = tmp_path / "a.en"
    path.write_bytes(b"good\n" * 298 + b"ma\xf1ana\n" * 2)
    lines = list(read_lines(path, strict=False))
    assert lines == ["good"] * 298 + [None] * 2
    path.write_bytes(b"good\n" * 197 + b"ma\xf1ana\n" * 3)
    with pytest.raises(InputError, match=r"not UTF-8 \(3 of 200 lines aren't\)"):
        list(read_lines(path, strict=False))


@pytest.mark.parametrize(
    "data", ["Hello.\n".encode("utf-16"), "Hello.\nYes.\n".encode("utf-16-le"), b"\x7fELF\x00\xff\x00\n"]
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_is_no_utf8_text_at_all_is_refused(tmp_path: Path, data: bytes, strict: bool) -> None:
    path = tmp_path / "a.en"
    path.write_bytes(data)
    with pytest.raises(InputError, match="not UTF-8"):
        list(read_lines(path, strict=strict))


def test_a_missing_file_and_a_folder_are_the_users_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_lines(tmp_path / "none"))
    with pytest.raises(InputError, match="is a folder"):
        list(read_lines(tmp_path))


def write_sides(folder: Path, source: bytes, target: bytes) -> tuple[Path, Path]:
    paths = (folder / "a.en", folder / "a.es")
    for path, data in zip(paths, (source, target), strict=True):
        path.write_bytes(data)
    return paths


def test_moses_pairs_carry_their_place(tmp_path: Path) -> None:
    source, target = write_sides(tmp_path, b"one\ntwo\n", b"uno\ndos")
    pairs = list(read_moses(source, target, strict=True))
    assert pairs == [Pair("one", "uno"), Pair("two", "dos")]
    assert [(p.file, p.line) for p in pairs] == [(str(source), 1), (str(source), 2)]


def test_moses_training_lines_without_a_pair_are_named(tmp_path: Path) -> None:
    source, target = write_sides(
        tmp_path, b"one\n\nthree\nfo\xffur\n" + b"x\n" * 200, b"uno\ndos\n  \ncuatro\n" + b"y\n" * 200
    )
    bad: list[BadLine] = []
    pairs = list(read_moses(source, target, strict=False, on_bad=bad.append))
    assert [p.line for p in pairs] == [1, *range(5, 205)]
    assert bad == [
        BadLine(str(source), 2, "empty side"),
        BadLine(str(target), 3, "empty side"),
        BadLine(str(source), 4, "not UTF-8"),
    ]


def test_moses_text_to_be_scored_keeps_every_line(tmp_path: Path) -> None:
    source, target = write_sides(tmp_path, b"one\n\nthree\n", b"uno\ndos\n\n")
    assert [(p.source, p.target) for p in read_moses(source, target, strict=True)] == [
        ("one", "uno"),
        ("", "dos"),
        ("three", ""),
    ]


@pytest.mark.parametrize("counts", [(5, 3), (3, 5), (0, 2), (4, 5)])
def test_moses_files_of_different_length_are_refused_with_both_counts(tmp_path: Path, counts: tuple[int, int]) -> None:
    source, target = write_sides(tmp_path, b"a\n" * counts[0], b"b\n" * counts[1])
    for strict in (True, False):
        with pytest.raises(InputError) as caught:
            list(read_moses(source, target, strict=strict))
        assert f"{source}: has {counts[0]} lines, but {target} has {counts[1]};" in str(caught.value)
        assert len(caught.value.problems) == 1


def test_empty_files_are_refused(tmp_path: Path) -> None:
    source, target = write_sides(tmp_path, b"", b"")
    with pytest.raises(InputError, match=r"a\.en: is empty"):
        list(read_moses(source, target, strict=False))
    with pytest.raises(InputError, match=r"a\.en: is empty"):
        list(read_tsv(source, strict=False))


def test_tsv_reads_the_columns_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('7\t"one\tuno\n8\ttwo"\tdos\textra\n', "utf-8")
    assert list(read_tsv(path, (1, 2), strict=True)) == [Pair('"one', "uno"), Pair('two"', "dos")]
    assert list(read_tsv(path, (2, 0), strict=True)) == [Pair("uno", "7"), Pair("dos", "8")]


def test_tsv_names_bad_lines_and_refuses_a_file_without_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("one\tuno\ntwo\n\ttres\n", "utf-8")
    bad: list[BadLine] = []
    assert list(read_tsv(path, strict=False, on_bad=bad.append)) == [Pair("one", "uno")]
    assert bad == [BadLine(str(path), 2, "too few columns"), BadLine(str(path), 3, "empty side")]
    with pytest.raises(InputError, match=r"a\.tsv:2: 1 columns; 2 are needed"):
        list(read_tsv(path, strict=True))
    path.write_text("one, uno\ntwo, dos\n", "utf-8")
    with pytest.raises(InputError, match="no line has 2 tab-separated columns"):
        list(read_tsv(path, strict=False))
