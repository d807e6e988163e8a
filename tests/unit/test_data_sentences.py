"""Cutting what is too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recambio.data.sentences import cut


def within(limit: int):  # type: ignore[no-untyped-def]
    return lambda text: len(text) <= limit


def test_sentences_end_where_sentences_end() -> None:
    text = 'Mr. Smith paid 3.50 euros. "Why?" he asked. ¡Hola! It was J. R. Ewing... Then he left (slowly). 5 stayed!'
    assert cut(text, within(40)) == [
        "Mr. Smith paid 3.50 euros.",
        '"Why?" he asked.',
        "¡Hola!",
        "It was J. R. Ewing...",
        "Then he left (slowly).",
        "5 stayed!",
    ]


def test_a_long_sentence_is_cut_at_commas_then_at_spaces_then_anywhere() -> None:
    assert cut("one two, three four, five; six seven eight nine ten", within(21)) == [
        "one two, three four,",
        "five;",
        "six seven eight nine",
        "ten",
    ]
    assert cut("a bbbbbbbbb c", within(5)) == ["a", "bbbb", "bbbbb", "c"]


@given(st.text("ab .,;¿A1\u3042😀", max_size=80), st.integers(1, 20))
def test_nothing_is_lost_and_all_fits(text: str, limit: int) -> None:
    pieces = cut(text, within(limit))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(p) <= limit and p == p.strip() for p in pieces)
