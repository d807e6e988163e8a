"""The corpus: pairs with their tags, its parts, and how the parts are kept apart.

Each sentence has a *combination*: the set of its content words (nouns, verbs, adjectives). The combination alone
decides which part a sentence may belong to, so no combination occurs in two parts:

- ``recombination`` has the sentences in which a held-out pairing of a verb or an adjective with a noun stands in a
  direct relation; a combination that holds such a pairing in any other way belongs nowhere;
- ``length`` has combinations of at least seven words in sentences of at least fifteen English words;
- the others have at most six words in at most thirteen English words, and are dealt to ``train``, ``dev`` and
  ``test`` by a stable hash; combinations of fewer than two words are always for training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from recambio.data.grammar import clauses as c
from recambio.data.grammar.derivation import Unsuitable
from recambio.data.grammar.lexicon import Lexeme, lexicon, stable_hash
from recambio.data.grammar.phenomena import BIT, UNSETTLED, tags
from recambio.data.grammar.phrases import Rendered
from recambio.data.grammar.sentences import Sentences

SPLITS: tuple[str, ...] = ("train", "dev", "test", "recombination", "length")
"""The parts of the corpus."""

CAPACITY: dict[str, int] = {
    "train": 2_000_000,
    "dev": 50_000,
    "test": 50_000,
    "recombination": 50_000,
    "length": 50_000,
}
"""How many distinct pairs of each part `generate` gives for any seed."""

MAX_WORDS = 13
"""The longest English sentence outside the length part, in words."""

MIN_WORDS_LENGTH = 15
"""The shortest English sentence of the length part."""

MAX_WORDS_LENGTH = 32
"""The longest English sentence of the length part."""

_MAX_COMBINATION = 6
_SHARES = {"train": range(900), "dev": range(900, 950), "test": range(950, 1000)}
_QUESTION = BIT["yes_no_question"] | BIT["wh_question"]


@dataclass(frozen=True, slots=True)
class GrammarPair:
    """An English sentence with its Spanish translation.

    Attributes:
        source, target: The sentences, with capital and final mark.
        phenomena: The tags of what the pair shows, keys of `PHENOMENA`.
        combination: The content words, sorted, as ``lemma.n``, ``lemma.v``, ``lemma.a``.
    """

    source: str
    target: str
    phenomena: tuple[str, ...]
    combination: tuple[str, ...]


def write(rendered: Rendered) -> tuple[str, str]:
    """Give a rendered clause its capital letters and final marks."""
    english, spanish, mask = rendered
    english = english[0].upper() + english[1:]
    if mask & _QUESTION:
        return f"{english}?", f"¿{spanish[0].upper()}{spanish[1:]}?"
    return f"{english}.", f"{spanish[0].upper()}{spanish[1:]}."


def realise(clause: c.Clause) -> tuple[str, str, tuple[str, ...]]:
    """The English sentence, the Spanish sentence and the phenomena of a clause built by hand."""
    rendered = clause.render()
    return *write(rendered), tags(rendered[2])


def generate(split: str, size: int, seed: int) -> Iterator[GrammarPair]:
    """Pairs of one part, distinct in their English side, the same for the same arguments everywhere.

    Where subject and object of a sentence could change places, the sentence with both exchanged follows at once, so
    that minimal pairs of word order are in every part. A smaller `size` gives a prefix of a larger one. Other seeds
    give other samples of the same part, so a test set of any seed shares no combination of content words with a
    training set of any other.

    Args:
        split: One of `SPLITS`.
        size: How many pairs, at most `CAPACITY` of the part.
        seed: Any integer.

    Raises:
        ValueError: The part does not exist or is smaller than `size`.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, but is {split!r}")
    if not 0 <= size <= CAPACITY[split]:
        raise ValueError(f"`size` must be between 0 and {CAPACITY[split]} for {split!r}, but is {size}")
    return (pair for pair, _, _ in drawn(split, size, seed))


def drawn(split: str, size: int, seed: int) -> Iterator[tuple[GrammarPair, c.Clause, c.Clause | None]]:
    """The pairs of `generate`, each with its clause and, where it has one, the clause with subject and object exchanged."""
    sentences = Sentences(stable_hash(f"{split} {seed}"))
    draw = sentences.draw_long if split == "length" else sentences.draw
    share = _SHARES.get(split)
    shortest, longest = (MIN_WORDS_LENGTH, MAX_WORDS_LENGTH) if split == "length" else (1, MAX_WORDS)
    seen: set[bytes] = set()
    produced = 0
    while produced < size:
        try:
            clause = draw()
        except Unsuitable:
            continue
        words = sentences.words
        indexes = {word.index for word in words}
        n_words = len(indexes)
        if (n_words > _MAX_COMBINATION) != (split == "length"):
            continue
        if split == "recombination":
            if not sentences.held_out:
                continue
        else:
            if sentences.held_out or _has_held_out(words, indexes):
                continue
            if share is not None and _bucket(words, n_words) not in share:
                continue
        mirrored = sentences.mirrored(clause)
        for version, other in ((clause, mirrored), (mirrored, clause if mirrored else None)):
            if version is None:
                continue
            rendered = version.render()
            if rendered[2] & UNSETTLED or not shortest <= rendered[0].count(" ") + 1 <= longest:
                continue
            source, target = write(rendered)
            digest = blake2b(source.encode(), digest_size=8).digest()
            if digest in seen:
                continue
            seen.add(digest)
            produced += 1
            yield GrammarPair(source, target, tags(rendered[2]), _keys(indexes)), version, other
            if produced == size:
                return


def _has_held_out(words: list[Lexeme], indexes: set[int]) -> bool:
    return any(not word.held_out.isdisjoint(indexes) for word in words)


def _bucket(words: list[Lexeme], n_words: int) -> int:
    """The place of a combination between 0 and 999, whatever the order of its words."""
    if n_words < 2:
        return 0
    if n_words == len(words):
        return sum(word.code for word in words) % 1000
    return sum({word.index: word.code for word in words}.values()) % 1000


def _keys(indexes: set[int]) -> tuple[str, ...]:
    lexemes = lexicon().lexemes
    return tuple(sorted(lexemes[index].key for index in indexes))


@cache
def held_out_pairings() -> frozenset[tuple[str, str]]:
    """The pairings (verb or adjective, noun) that only the recombination part has."""
    book = lexicon()
    return frozenset(
        (word.key, book.lexemes[index].key)
        for word in book.lexemes
        if not word.key.endswith(".n")
        for index in word.held_out
    )
