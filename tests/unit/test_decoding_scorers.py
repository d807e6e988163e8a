"""Scorers around table scorers, whose every probability is known."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoding import EOS, SOS, TableScorer, V, beam, every_translation
from torch.testing import assert_close

from recambio.decoding import Scorer
from recambio.decoding.rescore import token_log_probabilities
from recambio.decoding.scorers import Ensemble, Forbidden, ForcedPrefix, PhraseAutomaton, Prefixed
from recambio.registry import SEARCH, Node

SURFACE = [b"", b"", b"", b"", b" ga", b"to", b" gato"]
"""What the table scorers' tokens spell: 4 and 5 together spell 6."""
LONGEST = 4


def every(scorers: list[TableScorer], combine: str) -> dict[tuple[int, ...], float]:
    """The log-probability of every translation of source 0 under an ensemble, token by token."""
    found = {}
    for tokens, _ in every_translation(scorers[0], 0, LONGEST):
        total, past = 0.0, (SOS,)
        for t in [*tokens, EOS]:
            rows = [s.row(0, past).double() for s in scorers]
            if combine == "probabilities":
                total += math.log(sum(math.exp(float(r[t])) for r in rows) / len(rows))
            else:
                mean = [sum(float(r[v]) for r in rows) / len(rows) for v in range(V)]
                total += mean[t] - math.log(sum(map(math.exp, mean)))
            past = (*past, t)
        found[tuple(tokens)] = total
    return found


@pytest.mark.parametrize("combine", ["probabilities", "log_probabilities"])
def test_an_ensemble_finds_what_its_members_find_best_together(combine: str) -> None:
    for seed in range(3):
        members = [TableScorer(seed), TableScorer(seed + 10), TableScorer(seed + 20)]
        wanted = sorted(every(members, combine).items(), key=lambda item: -item[1])[:3]
        search = beam(width=64, length_penalty=0.0, stop="exact", n_best=3)
        (found,) = search(Ensemble(members, combine), [[0]], [LONGEST])  # type: ignore[arg-type]
        for h, (tokens, log_probability) in zip(found, wanted, strict=True):
            assert tuple(h.tokens) == tokens and h.log_probability == pytest.approx(log_probability, abs=1e-5)


def test_an_ensemble_of_equals_is_each_of_them() -> None:
    tokens = torch.tensor([SOS, SOS])
    for combine in ("probabilities", "log_probabilities"):
        both = Ensemble([TableScorer(1), TableScorer(1)], combine)  # type: ignore[arg-type]
        assert_close(
            both.step(both.start([[0], [1]], 5), tokens),
            TableScorer(1).step(TableScorer(1).start([[0], [1]], 5), tokens),
        )


def test_members_must_agree_on_special_tokens() -> None:
    other = TableScorer(1)
    other.eos_id = 1
    with pytest.raises(ValueError, match="must share one vocabulary"):
        Ensemble([TableScorer(0), other])
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])


NODES: list[Node] = [
    "greedy",
    {"name": "beam", "width": 3, "n_best": 3},
    {"name": "diverse_beam", "width": 4, "groups": 2, "n_best": 4},
    {"name": "sample", "n": 5},
]


@pytest.mark.parametrize("node", NODES, ids=str)
def test_a_translation_begins_with_its_prefix(node: Node) -> None:
    """Rows without one are translated as ever, and scores are the model's own."""
    sources = [Prefixed([0], [5, 4, 4]), [1], Prefixed([2], [6]), Prefixed([3], [])]
    search, limits = SEARCH.create(node), [6] * 4
    for seed in range(3):
        plain = TableScorer(seed, 0.7)
        found = search(ForcedPrefix(plain), sources, limits)
        free = search(plain, [[i] for i in range(4)], limits)
        assert found[1] == free[1] and found[3] == free[3]
        for i, prefix in ((0, [5, 4, 4]), (2, [6])):
            assert found[i]
            for h in found[i]:
                assert h.tokens[: len(prefix)] == prefix
                tokens = [*h.tokens, EOS] if h.is_finished else h.tokens
                assert h.log_probability == pytest.approx(plain.log_probability(i, tokens), abs=1e-4)


def test_the_best_of_all_that_begin_so_is_found() -> None:
    for seed in range(3):
        scorer = TableScorer(seed)
        wanted = max((p, t) for t, p in every_translation(scorer, 0, 5) if t[:2] == [5, 6])
        (found,) = beam(width=64, length_penalty=0.0, stop="exact")(ForcedPrefix(scorer), [Prefixed([0], [5, 6])], [5])
        assert (found[0].log_probability, found[0].tokens) == (pytest.approx(wanted[0], abs=1e-5), wanted[1])


@pytest.mark.parametrize("node", NODES, ids=str)
def test_no_translation_holds_what_is_forbidden(node: Node) -> None:
    scorer = TableScorer(0, 0.7)
    forbidden = Forbidden(scorer, PhraseAutomaton(["gato"], SURFACE))
    search, sources, limits = SEARCH.create(node), [[i] for i in range(8)], [7] * 8
    said = [h for found in search(scorer, sources, limits) for h in found]
    assert any("gato" in spelled(h.tokens).split() for h in said), "it would be said"
    for source, found in enumerate(search(forbidden, sources, limits)):
        for h in found:
            assert "gato" not in spelled(h.tokens).split()
            tokens = [*h.tokens, EOS] if h.is_finished else h.tokens
            assert h.log_probability == pytest.approx(scorer.log_probability(source, tokens), abs=1e-4)


def test_the_best_of_all_without_it_is_found() -> None:
    for seed in range(3):
        scorer = TableScorer(seed)
        wanted = max(
            (p, t)
            for t, p in every_translation(scorer, 0, LONGEST)
            # A row that says " ga" + "to" is cut off there, and so is one that meant to go on: " gatoto".
            if not re.search(r"\bgato", spelled(t))
        )
        forbidden = Forbidden(scorer, PhraseAutomaton(["gato"], SURFACE))
        (found,) = beam(width=64, length_penalty=0.0, stop="exact")(forbidden, [[0]], [LONGEST])
        assert (found[0].log_probability, found[0].tokens) == (pytest.approx(wanted[0], abs=1e-5), wanted[1])


def spelled(tokens: Sequence[int]) -> str:
    return b"".join(SURFACE[t] for t in tokens).decode()


PIECES = [" ", " a", "a", "b", " b", "ab", " ab a", "ñ", "ñb", ",", "¿", "¿a", "-", "A", " B"]


@settings(max_examples=200)
@given(
    st.lists(st.text("ab ñ,-", min_size=1, max_size=4).map(str.strip).filter(bool), min_size=1, max_size=3),
    st.lists(st.integers(0, len(PIECES) - 1), max_size=8),
)
def test_phrases_are_found_however_tokens_cut_them(phrases: list[str], tokens: list[int]) -> None:
    """Against regular expressions over the text so far, after each token."""
    automaton = PhraseAutomaton(phrases, [p.encode() for p in PIECES])
    kept = {c for p in phrases for c in p if not c.isalnum()}

    def read(text: str) -> str:
        return "".join(c if c.isalnum() or c in kept else " " for c in text)

    patterns = [
        ("(?<= )" if v[0].isalnum() else "") + re.escape(v) + (r"(?![^\W_])" if v[-1].isalnum() else "")
        for p in phrases
        for v in (p, p[0].upper() + p[1:])
    ]
    texts = [" " + read("".join(PIECES[t] for t in tokens[: n + 1])) for n in range(len(tokens))]
    assert automaton.finds(tokens) == any(re.search(pattern, text) for pattern in patterns for text in texts)


def test_bytes_of_a_character_are_read_in_a_row() -> None:
    automaton = PhraseAutomaton(["ñu"], [b" ", b"\xc3", b"\xb1", b"u", b"o"])
    assert automaton.finds([0, 1, 2, 3]) and not automaton.finds([0, 1, 2, 4])


@pytest.mark.parametrize("wrap", ["ensemble", "prefix", "forbidden", "all"])
def test_rows_leave_and_enter(wrap: str) -> None:
    """Joined rows that stand at other lengths get what each got alone."""

    def make() -> Scorer:  # type: ignore[type-arg]
        scorer: Scorer = TableScorer(5)  # type: ignore[type-arg]
        if wrap in ("ensemble", "all"):
            scorer = Ensemble([scorer, TableScorer(6)])
        if wrap in ("forbidden", "all"):
            scorer = Forbidden(scorer, PhraseAutomaton(["gato"], SURFACE))
        return ForcedPrefix(scorer) if wrap in ("prefix", "all") else scorer

    sources = [Prefixed([0], [4, 5, 6, 6]), [1], Prefixed([2], [6])]
    steps = [[SOS, 4, 6, 5], [SOS, 5, 4, 6], [SOS, 4, 5, 4]]

    def alone(i: int, n: int) -> torch.Tensor:
        scorer = make()
        state = scorer.start([sources[i]], 9)
        return [scorer.step(state, torch.tensor([t])) for t in steps[i][:n]][-1][0]

    scorer = make()
    state = scorer.start(sources[:2], 9)
    for t in range(2):
        scorer.step(state, torch.tensor([steps[0][t], steps[1][t]]))
    state = scorer.select(state, torch.tensor([1, 0, 1]))
    newcomer = scorer.start(sources[2:], 9)
    scorer.step(newcomer, torch.tensor([SOS]))
    state = scorer.join(state, newcomer)
    rows = scorer.step(state, torch.tensor([steps[1][2], steps[0][2], steps[1][2], steps[2][1]]))
    for row, (i, n) in zip(rows, ((1, 3), (0, 3), (1, 3), (2, 2)), strict=True):
        assert_close(row, alone(i, n))


def test_tokens_are_scored_one_by_one() -> None:
    scorer = TableScorer(3)
    targets = [[4, 5, EOS], [6], [5, 5, 5, 4]]
    scores = token_log_probabilities(scorer, [[0], [1], [2]], targets)
    assert [len(row) for row in scores] == [3, 1, 4]
    for source, (target, row) in enumerate(zip(targets, scores, strict=True)):
        past: tuple[int, ...] = (SOS,)
        for token, value in zip(target, row, strict=True):
            assert value == pytest.approx(float(scorer.row(source, past)[token]), abs=1e-6)
            past = (*past, token)
