"""Zstandard files: whole, in several frames, cut off, spoilt, and without the library."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import zstandard

from recambio.data.pairs import Pair, read_lines
from recambio.errors import InputError
from recambio.registry import CORPUS

LINES = [f"¿Línea {number}? {'ñ' * (number % 60)}" for number in range(20_000)]
DATA = "".join(f"{line}\n" for line in LINES).encode()


def compressed(data: bytes, checksum: bool = True) -> bytes:
    return zstandard.ZstdCompressor(level=3, write_checksum=checksum).compress(data)


def test_a_file_reads_as_it_was_compressed(tmp_path: Path) -> None:
    path = tmp_path / "a.en.zst"
    path.write_bytes(compressed(DATA))
    assert len(path.read_bytes()) > 1 << 14, "one chunk only"
    assert list(read_lines(path)) == LINES


def test_every_frame_is_read_and_frames_of_other_data_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.en.zst"
    # The format's skippable frame: a magic number, a length, and bytes that are no text (RFC 8878, section 3.1.2).
    other = (0x184D2A50).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"\xff\xfe\x00\x01\x02"
    half = len(DATA) // 2
    path.write_bytes(other + compressed(DATA[:half]) + compressed(b"") + other + compressed(DATA[half:]) + other)
    assert list(read_lines(path)) == LINES


@pytest.mark.parametrize("keep", [5, 2_000, -1, -4, -300])
def test_a_file_that_is_cut_off_is_damaged(tmp_path: Path, keep: int) -> None:
    # The library's own reader ends there without a word.
    path = tmp_path / "a.en.zst"
    path.write_bytes(compressed(DATA)[:keep])
    with pytest.raises(InputError, match=r"a\.en\.zst: damaged after line \d+ \(it ends in the middle of a frame\)"):
        list(read_lines(path))


def test_a_file_that_is_spoilt_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.en.zst"
    data = bytearray(compressed(DATA))
    data[-1] ^= 1  # its checksum
    for wrong in (bytes(data), b"plain text\n", compressed(DATA) + b"rubbish"):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"a\.en\.zst: damaged after line \d+ \("):
            list(read_lines(path))


def test_corpora_find_compressed_files(tmp_path: Path) -> None:
    for language, text in (("en", b"one\n"), ("es", b"uno\n")):
        (tmp_path / f"train.{language}.zst").write_bytes(compressed(text))
    (tmp_path / "train.tsv.zst").write_bytes(compressed(b"two\tdos\n"))
    (tmp_path / "train.jsonl.zst").write_bytes(compressed(b'{"translation": {"en": "three", "es": "tres"}}\n'))
    found = {"moses": ("train", Pair("one", "uno")), "tsv": ("train.tsv", Pair("two", "dos"))}
    found["jsonl"] = ("train.jsonl", Pair("three", "tres"))
    for name, (train, pair) in found.items():
        assert list(CORPUS.create({"name": name, "train": train}, root=tmp_path).read("train")) == [pair]
    with pytest.raises(InputError, match=r"no file .*other\.tsv \(nor with \.gz or \.xz or \.zst\)"):
        list(CORPUS.create({"name": "tsv", "train": "other.tsv"}, root=tmp_path).read("train"))


def test_without_the_library_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.en.zst"
    path.write_bytes(compressed(DATA))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(InputError, match=r"a\.en\.zst: .* needs the package 'zstandard'; pip install zstandard"):
        list(read_lines(path))


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.zst: no such file"):
        list(read_lines(tmp_path / "a.zst"))
