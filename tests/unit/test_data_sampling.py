"""Sampled segmentations: each comes as often as it should, text comes back exactly, and nothing but the sentence's key decides."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from recambio.data.tokenizers import SIDES
from recambio.data.tokenizers.base import regularization_problem
from recambio.data.tokenizers.bpe_dropout import BPEDropout
from recambio.data.tokenizers.sampling import Pieces, Rows, WordSampler, sentence_keys
from recambio.data.tokenizers.unigram_sampling import UnigramSampler
from tests.unit.test_data_tokenizers import ANY_LINE, AWKWARD_LINE, SPANISH, TRAINED, VARIANTS, trained

DRAWS = 40_000
Distribution = dict[tuple[str, ...], float]


def hand_made(scores: dict[str, float]) -> Pieces:
    return Pieces({text: 10 + i for i, text in enumerate(scores)}, scores, None, 1)


UNIGRAM = hand_made(
    {"▁": -3.0, "a": -2.0, "b": -2.5, "c": -4.0, "ab": -2.2, "bc": -3.0, "▁a": -2.4, "abc": -5.0, "▁ab": -3.5, "bab": -4.0, "cab": -6.5}
)  # fmt: skip
BPE = hand_made(
    {"ab": -0.0, "▁a": -1.0, "bc": -2.0, "abc": -3.0, "▁ab": -4.0, "▁abc": -5.0, "aa": -6.0, "▁": -7.0, "a": -8.0, "b": -9.0, "c": -10.0}
)  # fmt: skip


def split(rows: Rows) -> list[list[int]]:
    return [row.tolist() for row in np.split(rows.tokens, np.cumsum(rows.lengths)[:-1])]


def all_segmentations(word: str, pieces: Pieces) -> list[tuple[str, ...]]:
    cuts = itertools.product([False, True], repeat=len(word) - 1)
    found = []
    for cut in cuts:
        ends = [i + 1 for i, is_cut in enumerate(cut) if is_cut] + [len(word)]
        parts = tuple(word[a:b] for a, b in zip([0, *ends], ends, strict=False))
        if all(part in pieces.ids for part in parts):
            found.append(parts)
    return found


def unigram_distribution(word: str, alpha: float) -> Distribution:
    weights = {
        parts: math.prod(math.exp(UNIGRAM.scores[p]) ** alpha for p in parts)
        for parts in all_segmentations(word, UNIGRAM)
    }
    return {parts: weight / sum(weights.values()) for parts, weight in weights.items()}


def dropout_distribution(word: str, p: float) -> Distribution:
    """Algorithm 1 of the paper to the letter: each set of merges that may be dropped, in each step."""
    ends: Distribution = defaultdict(float)

    def walk(parts: tuple[str, ...], probability: float) -> None:
        merges = [i for i in range(len(parts) - 1) if parts[i] + parts[i + 1] in BPE.scores]
        for kept in itertools.product([False, True], repeat=len(merges)):
            here = probability * math.prod(1 - p if k else p for k in kept)
            left = [i for i, k in zip(merges, kept, strict=True) if k]
            if not left:
                ends[parts] += here
            elif here:
                i = max(left, key=lambda i: (BPE.scores[parts[i] + parts[i + 1]], -i))
                walk((*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]), here)

    walk(tuple(word), 1.0)
    return {parts: probability for parts, probability in ends.items() if probability}


def assert_drawn_as(sampler: WordSampler, word: str, expected: Distribution, pieces: Pieces) -> None:
    """Every segmentation within five standard deviations of its probability, and none besides."""
    assert sum(expected.values()) == pytest.approx(1.0)
    rows = split(sampler.sample([word[1:]] * DRAWS, sentence_keys(1, 0, "source", 0, DRAWS)))
    seen = Counter(map(tuple, rows))
    by_ids = {tuple(pieces.ids[p] for p in parts): probability for parts, probability in expected.items()}
    assert set(seen) <= set(by_ids)
    for ids, probability in by_ids.items():
        deviation = math.sqrt(DRAWS * probability * (1 - probability))
        assert abs(seen[ids] - DRAWS * probability) <= 5 * deviation + 1e-6, (ids, seen[ids], DRAWS * probability)


@pytest.mark.parametrize("word", ["▁ab", "▁babc", "▁abcab", "▁c"])
@pytest.mark.parametrize("alpha", [0.0, 0.2, 1.0, 3.0])
def test_unigram_segmentations_come_with_their_probability(word: str, alpha: float) -> None:
    expected = unigram_distribution(word, alpha)
    if alpha == 0:
        assert len(set(np.round(list(expected.values()), 12))) == 1
    assert_drawn_as(UnigramSampler(UNIGRAM, alpha), word, expected, UNIGRAM)


@pytest.mark.parametrize("word", ["▁ab", "▁aabc", "▁abcab", "▁aaaa", "▁c"])
@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 1.0])
def test_merges_are_dropped_as_the_paper_does(word: str, dropout: float) -> None:
    assert_drawn_as(BPEDropout(BPE, dropout), word, dropout_distribution(word, dropout), BPE)


def test_words_are_drawn_as_sentencepiece_draws_whole_sentences() -> None:
    """Its own sampling, over the lattice of the sentence: no word's pieces depend on the next word's."""
    tokenizer, line, alpha = trained("unigram", vocabulary_size=341), "Mi hermana quería 日 manzanas", 0.4
    sentencepiece.set_random_generator_seed(7)
    processor = tokenizer._processor("target")
    theirs = Counter(
        tuple(processor.encode(line, enable_sampling=True, alpha=alpha, nbest_size=-1)) for _ in range(DRAWS)
    )
    rows = tokenizer.sampler("target", alpha).sample([line] * DRAWS, sentence_keys(1, 0, "target", 0, DRAWS))
    ours = Counter(map(tuple, split(rows)))
    compared = 0
    for ids, n in theirs.items():
        if n > 200:
            compared += 1
            assert abs(ours[ids] - n) <= 5 * math.sqrt(2 * n), (tokenizer.pieces(ids, "target"), ours[ids], n)
    assert compared > 20 and len(theirs) > 500


def sampled(
    variant: tuple[str, bool], side: Any, lines: Sequence[str], strength: float, epoch: int = 0
) -> list[list[int]]:
    sampler = TRAINED[variant].sampler(side, strength)
    return split(sampler.sample(lines, sentence_keys(3, epoch, side, 0, len(lines))))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("side", SIDES)
@given(line=ANY_LINE | AWKWARD_LINE, strength=st.sampled_from([0.0, 0.1, 0.5, 0.9]), epoch=st.integers(0, 3))
def test_the_text_comes_back_exactly(
    variant: tuple[str, bool], side: Any, line: str, strength: float, epoch: int
) -> None:
    tokenizer = TRAINED[variant]
    lines = [line, "", "x", line]
    rows = sampled(variant, side, lines, strength, epoch)
    assert tokenizer.decode(rows, side) == lines and rows[1] == []
    used = {i for row in rows for i in row}
    assert not used & {tokenizer.pad_id, tokenizer.unk_id, tokenizer.sos_id, tokenizer.eos_id}


@pytest.mark.parametrize(("name", "strength"), [("unigram", 1e5), ("bpe", 0.0)])
@pytest.mark.parametrize("byte_fallback", [True, False])
@given(line=ANY_LINE | AWKWARD_LINE)
def test_with_nothing_left_to_chance_it_is_the_plain_segmentation(
    name: str, strength: float, byte_fallback: bool, line: str
) -> None:
    tokenizer = PLAIN[name, byte_fallback]
    lines = [line, *SPANISH]
    rows = tokenizer.sampler("target", strength).sample(lines, sentence_keys(1, 0, "target", 0, len(lines)))
    assert split(rows) == tokenizer.encode(lines, "target")


PLAIN = {(name, fallback): trained(name, byte_fallback=fallback) if not fallback else TRAINED[name, True]
         for name in ("unigram", "bpe") for fallback in (True, False)}  # fmt: skip


def test_with_every_merge_dropped_there_are_characters_and_bytes() -> None:
    (row,) = sampled(("bpe", True), "target", ["El nino 日"], 1.0)
    pieces = TRAINED["bpe", True].pieces(row, "target")
    assert pieces == ["▁", "E", "l", "▁", "n", "i", "n", "o", "▁", "<0xE6>", "<0x97>", "<0xA5>"]


@pytest.mark.parametrize("make", [lambda: UnigramSampler(UNIGRAM, 0.3), lambda: BPEDropout(BPE, 0.3)])
def test_a_sentence_is_drawn_alike_whatever_is_drawn_beside_it(make: Callable[[], WordSampler]) -> None:
    draw = np.random.default_rng(1)
    lines = [" ".join("".join(draw.choice(list("abcd"), 5)) for _ in range(draw.integers(1, 6))) for _ in range(300)]
    keys = sentence_keys(1, 0, "source", 0, len(lines))
    whole = split(make().sample(lines, keys))
    order = draw.permutation(len(lines))
    sampler = make()
    shuffled = split(sampler.sample([lines[i] for i in order], keys[order]))
    assert [whole[i] for i in order] == shuffled
    forgetful = make()
    forgetful.most_kept = 5
    assert [split(forgetful.sample([line], keys[i : i + 1]))[0] for i, line in enumerate(lines)] == whole
    assert forgetful._kept() < sampler._kept() / 10


def test_keys_differ_by_seed_epoch_side_and_sentence() -> None:
    keys = [sentence_keys(seed, epoch, side, 0, 500) for seed in (1, 2) for epoch in (0, 1) for side in SIDES]
    assert len(set(np.concatenate(keys).tolist())) == 8 * 500
    assert sentence_keys(1, 0, "source", 100, 50).tolist() == keys[0][100:150].tolist()
    bits = np.unpackbits(np.concatenate(keys).view(np.uint8)).mean()
    assert abs(bits - 0.5) < 0.005


def test_the_same_word_is_drawn_anew_at_each_place() -> None:
    line = " ".join(["manzanas"] * 400)
    tokenizer = trained("unigram", vocabulary_size=341)
    (row,) = split(tokenizer.sampler("target", 0.3).sample([line], sentence_keys(1, 0, "target", 0, 1)))
    words = Counter(" ".join(tokenizer.pieces(row, "target")).split("▁")[1:])
    assert len(words) > 5 and max(words.values()) < 200


def test_pieces_that_cross_words_are_refused() -> None:
    class Processor(SimpleNamespace):
        def __getattr__(self, name: str) -> Callable[[int], bool]:
            return lambda number: False

    texts = ["▁a", "a▁b"]
    processor = Processor(get_piece_size=lambda: 2, id_to_piece=texts.__getitem__, get_score=lambda number: 0.0)
    with pytest.raises(ValueError, match="piece 'a▁b' crosses the start of a word"):
        Pieces.of(processor)


def test_the_option_of_another_kind_is_refused() -> None:
    kinds = {name: type(TRAINED[name, True]) for name in ("unigram", "bpe")}
    assert regularization_problem("alpha", kinds["unigram"]) is None
    assert regularization_problem("dropout", kinds["bpe"]) is None
    assert regularization_problem("dropout", kinds["unigram"]) == (
        "data.regularization.dropout: isn't for the tokenizer 'unigram'; it has data.regularization.alpha"
    )
    assert regularization_problem("alpha", kinds["bpe"]) == (
        "data.regularization.alpha: isn't for the tokenizer 'bpe'; it has data.regularization.dropout"
    )
