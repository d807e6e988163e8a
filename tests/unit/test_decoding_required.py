"""Required phrases: read however tokens cut them, and searched for against brute force over a tiny vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoding import EOS, TableScorer, V, beam, every_translation
from torch import Tensor

from recambio.decoding.required import PhraseTables, Required, RequiredPhrase, Spelling, holds
from recambio.decoding.scorers import Ensemble, Forbidden, ForcedPrefix, PhraseAutomaton, Prefixed
from recambio.decoding.searches.constrained_beam import ConstrainedBeam

UNK = 1
SPELLED = {
    "pieces": [b"", b"", b"", b"", b" a", b"b", b" ab"],
    "letters": [b"", b"", b"", b"", b" ", b"a", b"b"],
    "words": [b"", b"", b"", b"", b" a", b" b", b"."],
    "glued": [b"", b"", b"", b"", b" a", b"a", b"b"],
}
"""What the tokens 4, 5 and 6 of the table scorers spell."""
PHRASES = {
    "pieces": [["ab"], ["a", "ab"], ["a a"], ["a ab", "ab a"], ["abb"], ["a a ab"]],
    "letters": [["a"], ["ab"], ["a b"], ["b", "a"]],
    "words": [["a"], ["a b"], ["a a b"], ["."], ["a", "b", "."], ["a.", ". b"], ["a b", "b a"]],
    "glued": [["aa"], ["a", "aa"], ["ab"], ["a aa"]],
}
LONGEST = 6


def spelling(surface: Sequence[bytes]) -> Spelling:
    """With a tokenizer that takes the longest token that fits."""

    def encode(lines: Sequence[str]) -> list[list[int]]:
        found = []
        for line in lines:
            rest, row = f" {line}".encode(), []
            while rest:
                fitting = [i for i, s in enumerate(surface) if s and rest.startswith(s)]
                row.append(max(fitting, key=lambda i: len(surface[i]), default=UNK))
                rest = rest[len(surface[row[-1]]) or 1 :]
            found.append(row)
        return found

    return Spelling(surface, UNK, encode)


def constrained(spell: Spelling, **options: Any) -> ConstrainedBeam:
    return ConstrainedBeam(beam(**options), spell)  # type: ignore[arg-type]


def text_of(surface: Sequence[bytes], tokens: Sequence[int]) -> str:
    return b"".join(surface[t] for t in tokens).decode("utf-8", "replace")


def stands_in(phrase: str, text: str) -> bool:
    """By comparing the characters at both sides, at every place."""
    for place in (m.start() for m in re.finditer(f"(?={re.escape(phrase)})", text)):
        before, after = text[:place][-1:], text[place + len(phrase) :][:1]
        if not (before.isalnum() and phrase[0].isalnum()) and not (after.isalnum() and phrase[-1].isalnum()):
            return True
    return False


def spellable(spell: Spelling, phrase: str) -> RequiredPhrase | None:
    try:
        return spell.phrase(phrase)
    except ValueError:
        return None


CASES = [(name, phrases) for name, sets in PHRASES.items() for phrases in sets]


@pytest.mark.parametrize(("name", "phrases"), CASES, ids=str)
def test_a_beam_as_wide_as_the_tree_finds_the_best_that_holds_the_phrases(name: str, phrases: list[str]) -> None:
    surface, spell = SPELLED[name], spelling(SPELLED[name])
    required = [spell.phrase(p) for p in phrases]
    for seed, alpha in ((0, 0.0), (1, 1.0)):
        scorer = TableScorer(seed)
        search = constrained(spell, width=3**LONGEST, length_penalty=alpha, stop="exact", n_best=4)
        (found,) = search(scorer, [Required([0], required)], [LONGEST])
        wanted = sorted(
            (
                (p / (len(t) + 1) ** alpha, t)
                for t, p in every_translation(scorer, 0, LONGEST)
                if all(stands_in(phrase, text_of(surface, t)) for phrase in phrases)
            ),
            reverse=True,
        )[:4]
        ended = [h for h in found if h.is_finished]
        assert wanted and len(ended) == len(wanted)
        for h, (score, tokens) in zip(ended, wanted, strict=True):
            assert h.tokens == tokens and h.score == pytest.approx(score, abs=1e-5)
            assert h.log_probability == pytest.approx(scorer.log_probability(0, [*tokens, EOS]), abs=1e-5)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from(["width", "exact"]), st.integers(1, 9))
def test_without_phrases_it_is_the_beam(seed: int, width: int, stop: str, limit: int) -> None:
    """Beside a source that has some, too."""
    spell, scorer = spelling(SPELLED["pieces"]), TableScorer(seed)
    options = {"width": width, "n_best": width, "stop": stop, "normalize": "gnmt"}
    wanted = beam(**options)(scorer, [[i] for i in range(4)], [limit] * 4)
    sources: list[list[int]] = [[0], Required([1], []), [2], Required([3], [])]
    search = constrained(spell, **options)
    assert search(scorer, sources, [limit] * 4) == wanted
    mixed = search(scorer, [*sources, Required([4], [spell.phrase("a ab")])], [limit] * 5)
    assert mixed[:4] == wanted


@settings(max_examples=150)
@given(
    st.sampled_from(list(SPELLED)),
    st.lists(st.lists(st.text("ab .", min_size=1, max_size=5).map(str.strip).filter(bool), max_size=3), min_size=4, max_size=4),
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(8, 24),
)  # fmt: skip
def test_what_ends_holds_every_phrase(name: str, phrases: list[list[str]], seed: int, width: int, limit: int) -> None:
    """And scores are the model's own."""
    surface, spell, scorer = SPELLED[name], spelling(SPELLED[name]), TableScorer(seed, 0.7)
    required = [[r for p in each if (r := spellable(spell, p))] for each in phrases]
    phrases = [[r.text for r in each] for each in required]
    sources = [Required([i], each) for i, each in enumerate(required)]
    for i, found in enumerate(constrained(spell, width=width, n_best=width)(scorer, sources, [limit] * 4)):
        assert found
        for h in found:
            text = text_of(surface, h.tokens)
            if h.is_finished:
                assert all(stands_in(p, text) for p in phrases[i]), (phrases[i], text)
            tokens = [*h.tokens, EOS] if h.is_finished else h.tokens
            assert len(tokens) <= limit and (h.is_finished or len(tokens) == limit)
            assert h.log_probability == pytest.approx(scorer.log_probability(i, tokens), abs=1e-4)
        n_tokens = sum(len(p) + 2 for p in phrases[i])
        # Every step brings the fullest bank a token further: what fits is said, even by a beam of one.
        if n_tokens < limit:
            assert all(stands_in(p, text_of(surface, found[0].tokens)) for p in phrases[i])


PIECES = ["", "?", " ", " a", "a", "b", " b", "ab", " ab a", "ñ", "ñb", ",", "¿", "¿a", "-", "A", "_", " ⁇ "]


@settings(max_examples=300)
@given(
    st.text("ab ñ,-¿_", min_size=1, max_size=5).map(str.strip).filter(bool),
    st.lists(st.integers(UNK + 1, len(PIECES) - 1), max_size=9),
)
def test_a_text_is_read_however_tokens_cut_it(phrase: str, tokens: list[int]) -> None:
    spell = spelling([p.encode() for p in PIECES])
    tables = PhraseTables([Required([9], [spell.phrase(phrase)])], spell.symbols, torch.device("cpu"))
    places, text = tables.start, ""
    for token in [*tokens, None]:
        assert bool(tables.is_complete[places]) == stands_in(phrase, text) == holds(text, phrase)
        if token is not None:
            places, text = tables.read(places, torch.tensor([[token]]))[:, 0], text + PIECES[token]


def test_bytes_of_a_character_are_read_in_a_row() -> None:
    """Nobody knows what character a byte will be part of, so it is no edge of a word; the unknown token never is."""
    surface = [b"", b"", b"", b"", b" ", *(bytes([b]) for b in "ñ😀".encode()), b"u", b"\xc3"]
    spell = spelling(surface)
    token = {s: i for i, s in enumerate(surface) if s}

    def reads(phrase: str, *spelled: bytes | int) -> bool:
        tables = PhraseTables([Required([9], [spell.phrase(phrase)])], spell.symbols, torch.device("cpu"))
        places = tables.start
        for s in spelled:
            places = tables.read(places, torch.tensor([[s if isinstance(s, int) else token[s]]]))[:, 0]
        return bool(tables.is_complete[places])

    assert reads("ñu", b" ", b"\xc3", b"\xb1", b"u") and not reads("ñu", b"u", b"\xc3", b"\xb1", b"u")
    assert reads("😀", b"u", b"\xf0", b"\x9f", b"\x98", b"\x80", b"u")
    assert reads("u", b"u") and not reads("u", b"\xc3", b"\xb1", b"u") and not reads("u", b"u", b"\xc3", b"\xb1")
    assert not reads("u", b"u", UNK) and not reads("u", UNK, b"u") and not reads("u u", b"u", b" ", UNK, b"u")


def test_a_phrase_goes_on_as_the_tokenizer_cuts_it_and_from_anywhere_else() -> None:
    spell = spelling([b"", b"", b"", b"", b" g", b" ga", b"to", b"t", b"o", b"ato", b" a", b"ga", b"\xc2\xbf"])
    phrase = spell.phrase("gato")
    said = {
        (): (0, {11, 5}),  # at the start of a sentence, with and without the space
        (5,): (1, {6, 5}),
        (5, 7): (1, {8, 5}),  # " ga" "t": one token still
        (4,): (1, {9, 5}),  # " g": "ato" is the fewest tokens
        (10,): (0, {5}),  # within a word, only a new word begins the phrase
        (12,): (0, {11, 5}),  # after "¿" it may begin at once
        (5, 6): (2, set()),
        (5, 6, 8): (0, {5}),  # "gatoo"
        (5, 6, 10): (2, set()),
    }
    tables = PhraseTables([Required([9], [phrase])], spell.symbols, torch.device("cpu"))
    for tokens, (n_met, proposed) in said.items():
        places = tables.start
        for token in tokens:
            places = tables.read(places, torch.tensor([[token]]))[:, 0]
        assert int(tables.met(places)) == n_met, tokens
        assert set(tables.proposals[places].flatten().tolist()) - {-1} == proposed, tokens


def test_what_is_cut_lacks_the_fewest_phrases() -> None:
    """At the limit nothing has ended: the best is what holds most of them."""
    spell = spelling(SPELLED["words"])
    required = Required([0], [spell.phrase(p) for p in ("a", "b", "a a a")])
    for seed in range(5):
        (found,) = constrained(spell, width=5, n_best=5)(TableScorer(seed), [required], [3])
        texts = [text_of(SPELLED["words"], h.tokens) for h in found]
        missing = [sum(not stands_in(p.text, text) for p in required.phrases) for text in texts]
        assert not any(h.is_finished for h in found) and missing == sorted(missing) and missing[0] == 1


def test_phrases_a_prefix_prohibitions_and_an_ensemble_work_together() -> None:
    surface, spell = SPELLED["pieces"], spelling(SPELLED["pieces"])
    members = [TableScorer(1, 0.7), TableScorer(2, 0.7)]
    forbidden = Forbidden(Ensemble(members), PhraseAutomaton(["abb"], surface))
    required = [spell.phrase("ab"), spell.phrase("a a")]
    sources = [
        Required([0], required),
        Required(Prefixed([1], [4, 5, 4]), required),
        Prefixed([2], [6]),
        Required(Prefixed([3], [6, 4, 4]), required),
    ]
    found = constrained(spell, width=4, n_best=4)(ForcedPrefix(forbidden), sources, [14] * 4)
    for i, each in enumerate(found):
        assert any(h.is_finished for h in each)
        for h in each:
            text = text_of(surface, h.tokens)
            assert "abb" not in text.split()
            assert h.tokens[:3] == [4, 5, 4] or i != 1
            assert h.tokens[0] == 6 or i < 2
            if h.is_finished and i != 2:
                assert stands_in("ab", text) and stands_in("a a", text)


def test_a_word_may_end_where_the_phrase_does() -> None:
    """Though the model would go on with it, by any of its best tokens."""

    class GoesOn(TableScorer):
        def row(self, source: int, past: tuple[int, ...]) -> Tensor:
            p = torch.full((V,), 1e-4)
            p[5] = 0.9
            p[4] = 1e-2
            return torch.log(p / p.sum())

    surface = [b"", b"", b"", b"", b" a", b"b", b"."]
    spell = spelling(surface)
    (found,) = constrained(spell, width=1)(GoesOn(), [Required([0], [spell.phrase("ab"), spell.phrase("a")])], [9])
    assert {"ab", "a"} <= set(text_of(surface, found[0].tokens).split())


def test_a_phrase_that_no_token_spells_is_refused() -> None:
    with pytest.raises(ValueError, match="the vocabulary has no tokens that spell 'ñandú'"):
        spelling(SPELLED["pieces"]).phrase("ñandú")


def test_a_phrase_that_comes_twice_counts_once() -> None:
    spell = spelling(SPELLED["pieces"])
    phrase = spell.phrase("ab")
    assert Required([5, 3], [phrase, phrase]).phrases == (phrase,) and Required([5, 3], [phrase]) == [5, 3]
