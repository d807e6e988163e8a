"""Lines in chunks: none lost, none waited for in vain, all numbered."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recambio.data.pairs import decode_lines
from recambio.errors import InputError
from recambio.experiment.stream import arrived, by_length, groups, numbered


@given(st.integers(0, 40), st.integers(1, 9))
def test_chunks_hold_every_line_once_in_order_and_their_numbers(n: int, size: int) -> None:
    lines = [str(i) for i in range(n)]
    for cut in (groups, arrived):
        chunks = list(numbered(cut(iter(lines), size), [f"p{i}" for i in range(n)]))
        assert [line for chunk in chunks for line in chunk.lines] == lines
        assert all(1 <= len(chunk.lines) <= size for chunk in chunks)
        for chunk in chunks:
            assert chunk.lines == [lines[number - 1] for number in chunk.numbers]
            assert chunk.numbers == range(chunk.numbers[0], chunk.numbers[-1] + 1)
            assert chunk.prefixes == [f"p{line}" for line in chunk.lines]
    assert [len(held) for held in groups(iter(lines), size)] == [size] * (n // size) + [n % size] * (n % size > 0)


@given(st.lists(st.text("ab ", max_size=9), max_size=40), st.integers(1, 9))
def test_a_test_set_is_shared_out_by_length_and_its_lines_keep_their_numbers(lines: list[str], size: int) -> None:
    chunks = by_length(lines, "news", size)
    assert all(
        name == f"news, line {n}" for chunk in chunks for name, n in zip(chunk.names(), chunk.numbers, strict=True)
    )
    assert [len(chunk.lines) for chunk in chunks] == [len(held) for held in groups(lines, size)]
    assert sorted(number for chunk in chunks for number in chunk.numbers) == list(range(1, len(lines) + 1))
    for chunk in chunks:
        assert chunk.lines == [lines[number - 1] for number in chunk.numbers]
        assert str(chunk) == f"{len(chunk.lines)} lines of news" and list(chunk.numbers) == sorted(chunk.numbers)
    for longer, shorter in pairwise(chunks):
        assert min(map(len, longer.lines)) >= max(map(len, shorter.lines))


def test_a_full_pipe_gives_full_chunks() -> None:
    assert [len(held) for held in arrived((str(i) for i in range(1000)), 256)] == [256, 256, 256, 232]


def test_a_line_is_handed_on_though_the_pipe_stays_open() -> None:
    """Who writes the next line only when the last has come back would wait for ever for a full chunk."""
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as stream, os.fdopen(theirs, "wb", buffering=0) as pipe:
        chunks = arrived(decode_lines(stream, "pipe"), 512)
        for sent in (b"one\n", b"two\nthree\n"):
            pipe.write(sent)
            assert next(chunks) == sent.decode().split()
        pipe.write(b"half a li")
        threading.Timer(0.1, lambda: pipe.write(b"ne\n")).start()
        assert next(chunks) == ["half a line"]
        pipe.close()
        assert list(chunks) == []


def test_lines_that_drip_are_not_waited_for_until_the_chunk_is_full() -> None:
    def drip() -> Iterator[str]:
        for i in range(200):
            time.sleep(0.005)
            yield str(i)

    start = time.monotonic()
    first = next(arrived(drip(), 512))
    assert len(first) < 200 and time.monotonic() - start < 0.7


def test_reading_is_a_bounded_number_of_lines_ahead() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "line"

    chunks = arrived(endless(), 8)
    for _ in range(5):
        assert len(next(chunks)) == 8
    time.sleep(0.1)
    assert read <= 5 * 8 + 8 + 1


def test_lines_before_a_bad_one_come_first() -> None:
    bad = [b"one\n", b"two\n", b"three\n", b"caf\xe9\n", b"five\n"]
    for cut in (groups, arrived):
        chunks, found = cut(decode_lines(iter(bad), "in.txt"), 2), []  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"in\.txt:4: not UTF-8"):
            for held in chunks:
                found += held
        assert found == ["one", "two", "three"]
