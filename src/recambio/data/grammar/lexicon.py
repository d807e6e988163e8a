"""The lexicon: nouns, adjectives, verbs and their frames as objects with all forms, read from `vocabulary`.

A *content word* is a noun, adjective or verb; each has a key such as ``dog.n``, ``red.a`` or ``follow.v``. Names,
determiners, pronouns, adverbs, *be*, the modal verbs and numbers are function words.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b

from recambio.data.grammar import english, spanish, vocabulary

HELD_OUT_PER_MILLE = 45
"""How many of a thousand eligible (verb, noun) and (adjective, noun) pairings only the recombination part has."""

STRESSED_A_WEIGHT = 4
"""How much more often than others a noun such as *agua* is drawn."""

# A pairing may be held out only if both words keep enough other partners in training.
_MIN_NOUNS_OF_A_WORD = 8
_MIN_WORDS_OF_A_NOUN = 6

(
    PRESENT,
    PAST,
    FUTURE,
    PROGRESSIVE,
    PAST_PROGRESSIVE,
    PERFECT,
    GOING_TO,
    CAN,
    MUST,
    WANT,
) = range(10)
"""Tenses and the periphrases that behave like them."""

INFINITIVE_TENSES = (GOING_TO, CAN, MUST, WANT)


def stable_hash(text: str) -> int:
    """A 64-bit hash of a text, the same on every machine and in every process."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=b"recambio-grammar").digest())


@dataclass(slots=True, eq=False, kw_only=True)
class Lexeme:
    """A content word. `code` is its stable hash; `held_out` are the words it never meets outside recombination."""

    key: str
    index: int = -1
    code: int = 0
    held_out: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.code = stable_hash(self.key)


@dataclass(slots=True, eq=False, kw_only=True)
class Noun(Lexeme):
    """A noun. English and Spanish forms are indexed by number (0 singular, 1 plural).

    `spanish` holds the unmarked (masculine) and the feminine forms; they differ only if the gender is common
    (`is_common`), and not in all of those (*estudiante*).
    """

    english: tuple[str, str]
    spanish: tuple[tuple[str, str], tuple[str, str]]
    feminine: bool
    classes: frozenset[str]
    order: int
    is_common: bool = False
    is_person: bool = False
    is_animate: bool = False
    is_mass: bool = False
    is_kin: bool = False
    is_owned: bool = False
    singular_only: bool = False
    has_stressed_a: bool = False
    in_pairs: bool = False
    attributes: tuple[Adjective, ...] = ()
    before_noun: tuple[Adjective, ...] = ()
    gradable: tuple[Adjective, ...] = ()
    predicates: tuple[Adjective, ...] = ()

    def __post_init__(self) -> None:
        Lexeme.__post_init__(self)
        has = self.classes.__contains__
        self.is_person = has("person")
        self.is_animate = has("person") or has("animal")
        self.is_mass = has("mass")
        self.is_kin = has("kin")
        self.is_owned = any(map(has, ("own", "owned", "kin", "food", "drink", "object", "clothing", "body")))
        self.singular_only = has("single") or has("mass")
        self.has_stressed_a = has("stressed_a")
        self.in_pairs = has("pairs")


@dataclass(slots=True, eq=False, kw_only=True)
class Adjective(Lexeme):
    """An adjective. `spanish` is masculine singular, masculine plural, feminine singular, feminine plural."""

    english: str
    comparative: str
    superlative: str
    spanish: tuple[str, str, str, str]
    short: tuple[str, str, str, str]
    copula: str
    precedes: bool
    gradable: bool
    definite_only: bool
    attributive: bool
    intensified: bool


@dataclass(slots=True, eq=False, kw_only=True)
class Verb(Lexeme):
    """A verb with its conjugation tables, indexed by ``tense * 5 + person``.

    `english_groups` entries are (positive, negative, auxiliary, rest after the subject of a question); for tenses
    without an auxiliary the positive form does not contain it. `spanish_groups` entries are (finite, rest, whether
    the finite form is irregular).
    """

    english: english.VerbForms
    spanish: spanish.Conjugation
    aspect: str
    accident: bool = False
    lasting: bool = False
    reflexive: bool = False
    gives: bool = False
    needs_to: bool = False
    same_past: bool = False
    english_groups: list[tuple[str, str, str, str]] = field(default_factory=list)
    spanish_groups: list[tuple[str, str, bool]] = field(default_factory=list)

    @property
    def progresses(self) -> bool:
        """Whether it has a progressive."""
        return self.aspect in ("action", "feeling")


@dataclass(slots=True, eq=False, kw_only=True)
class TenerState(Lexeme):
    """What one *is* in English and *has* in Spanish: *hungry*, *hambre*."""

    english: str
    spanish: str
    feminine: bool


@dataclass(frozen=True, slots=True)
class Name:
    """A person's first name; not a content word."""

    english: str
    spanish: str
    feminine: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """One use of a verb: who does it, to what, where and how. Empty `objects` mean an intransitive use."""

    verb: Verb
    subjects: tuple[Noun, ...]
    objects: tuple[Noun, ...]
    places: tuple[Noun, ...]
    manners: tuple[str, ...]
    by_people: bool
    animate_object: bool
    reversible: bool


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All words, with the indexes the grammar draws from."""

    nouns: dict[str, Noun]
    adjectives: dict[str, Adjective]
    verbs: dict[str, Verb]
    states: dict[str, TenerState]
    names: tuple[Name, ...]
    cities: tuple[tuple[str, str], ...]
    classes: dict[str, tuple[Noun, ...]]
    frames: dict[str, tuple[Frame, ...]]
    lexemes: tuple[Lexeme, ...]

    def of(self, *classes: str) -> tuple[Noun, ...]:
        """The nouns of any of these classes, each once, in the order of the vocabulary."""
        return self.select(" ".join(classes))

    def select(self, words: str) -> tuple[Noun, ...]:
        """The nouns that a list of classes and nouns names; ``-word`` takes a class or noun out again."""
        chosen: dict[str, Noun] = {}
        for word in words.split():
            found = self._named(word.lstrip("-"))
            for noun in found:
                if word.startswith("-"):
                    chosen.pop(noun.key, None)
                else:
                    chosen[noun.key] = noun
        return tuple(sorted(chosen.values(), key=lambda noun: noun.order))

    def pool(self, words: str) -> tuple[Noun, ...]:
        """The nouns that `select` gives, to draw from: the few with *el* for *la* come up more often."""
        return tuple(
            noun for noun in self.select(words) for _ in range(STRESSED_A_WEIGHT if noun.has_stressed_a else 1)
        )

    def _named(self, word: str) -> tuple[Noun, ...]:
        if word in self.classes:
            return self.classes[word]
        return (self.nouns[word.replace("_", " ")],)


@cache
def lexicon() -> Lexicon:
    """The lexicon, built on first use."""
    nouns = {noun.english[0]: noun for noun in map(_noun, enumerate(_lines(vocabulary.NOUNS)))}
    classes: dict[str, list[Noun]] = defaultdict(list)
    for noun in nouns.values():
        for name in noun.classes:
            classes[name].append(noun)
    if clash := sorted(set(classes) & {word.replace(" ", "_") for word in nouns}):
        raise ValueError(f"a class of nouns may not be called like a noun: {', '.join(clash)}")
    book = Lexicon(
        nouns=nouns,
        adjectives={},
        verbs={line.split("|")[0]: _verb(line) for line in _lines(vocabulary.VERBS)},
        states={
            state.english: state
            for state in (
                TenerState(key=f"{word}.a", english=word, spanish=noun, feminine=gender == "f")
                for word, noun, gender in map(_fields, _lines(vocabulary.STATES))
            )
        },
        names=tuple(
            Name(english=english_name, spanish=spanish_name, feminine=gender == "f")
            for english_name, spanish_name, gender in map(_fields, _lines(vocabulary.NAMES))
        ),
        cities=tuple((city[0], city[1]) for city in map(_fields, _lines(vocabulary.CITIES))),
        classes={name: tuple(members) for name, members in classes.items()},
        frames={},
        lexemes=(),
    )
    fits: dict[str, tuple[Noun, ...]] = {}
    for line in _lines(vocabulary.ADJECTIVES):
        adjective, spec = _adjective(line)
        book.adjectives[adjective.english] = adjective
        fits[adjective.key] = book.select(spec)
    _fit_adjectives(book, fits)
    frames: dict[str, list[Frame]] = defaultdict(list)
    for line in _lines(vocabulary.FRAMES):
        frame = _frame(book, line)
        frames[frame.verb.key].append(frame)
    book.frames.update({key: tuple(members) for key, members in frames.items()})
    lexemes = tuple(_all(book))
    for index, lexeme in enumerate(lexemes):
        lexeme.index = index
    _hold_out(book, fits)
    return Lexicon(
        nouns=book.nouns,
        adjectives=book.adjectives,
        verbs=book.verbs,
        states=book.states,
        names=book.names,
        cities=book.cities,
        classes=book.classes,
        frames=book.frames,
        lexemes=lexemes,
    )


def _lines(table: str) -> list[str]:
    """The entries of a table: lines that are no comment, each with the indented lines that continue it."""
    joined = table.strip().replace("\n    ", " ")
    return [line for line in joined.splitlines() if not line.startswith("#")]


def _fields(line: str) -> list[str]:
    return line.split("|")


def _noun(numbered: tuple[int, str]) -> Noun:
    order, line = numbered
    english_word, spanish_word, gender, classes = _fields(line)
    singular, _, irregular = english_word.partition("/")
    first, _, second = spanish_word.partition("/")
    if gender == "c":
        masculine, feminine = (first, spanish.plural(first)), (second, spanish.plural(second))
    else:
        masculine = feminine = (first, second or spanish.plural(first))
    return Noun(
        key=f"{singular}.n",
        english=(singular, irregular or english.plural(singular)),
        spanish=(masculine, feminine),
        feminine=gender == "f",
        classes=frozenset(classes.split()),
        order=order,
        is_common=gender == "c",
    )


_SHORT = {"bueno": "buen", "malo": "mal", "primero": "primer", "tercero": "tercer"}


def _adjective(line: str) -> tuple[Adjective, str]:
    english_word, spanish_word, fits, flag_text = _fields(line)
    flags = flag_text.split()
    forms = spanish.adjective_forms(spanish_word)
    short = (_SHORT.get(spanish_word, forms[0]), *forms[1:])
    if spanish_word == "grande":
        short = ("gran", "grandes", "gran", "grandes")
    graded = "er" in flags
    adjective = Adjective(
        key=f"{english_word}.a",
        english=english_word,
        comparative=english.comparative(english_word) if graded else f"more {english_word}",
        superlative=english.superlative(english_word) if graded else f"most {english_word}",
        spanish=forms,
        short=short,
        copula="ser" if "ser" in flags else "estar" if "estar" in flags else "",
        precedes="pre" in flags,
        gradable="ser" in flags and (graded or "more" in flags),
        definite_only="the" in flags,
        attributive="noattr" not in flags,
        intensified=graded or bool({"more", "very"} & set(flags)),
    )
    return adjective, fits


def _verb(line: str) -> Verb:
    key, parts, infinitive, change, flag_text = _fields(line)
    flags = flag_text.split()
    verb = Verb(
        key=f"{key.replace(' ', '_')}.v",
        english=english.verb_forms(parts),
        spanish=spanish.conjugate(infinitive.removesuffix("se"), change),
        aspect=flags[0],
        accident="accident" in flags,
        lasting="lasting" in flags,
        reflexive=infinitive.endswith("se"),
        gives="gives" in flags,
        needs_to="to" in flags,
    )
    verb.same_past = verb.english.past == verb.english.base
    verb.english_groups = english_groups(verb.english)
    verb.spanish_groups = spanish_groups(verb.spanish, verb.aspect)
    return verb


def english_groups(forms: english.VerbForms) -> list[tuple[str, str, str, str]]:
    """The English verb groups of a lexical verb, by tense and person."""
    groups = []
    for tense in range(10):
        for person in range(5):
            singular = person == 2
            be = ("am", "are", "is", "are", "are")[person]
            was = "was" if person in (0, 2) else "were"
            if tense == PRESENT:
                do = "does" if singular else "do"
                finite = forms.third if singular else forms.base
                groups.append((finite, f"{do} not {forms.base}", do, forms.base))
                continue
            if tense == PAST:
                groups.append((forms.past, f"did not {forms.base}", "did", forms.base))
                continue
            if tense == WANT:
                do = "does" if singular else "do"
                wants = "wants" if singular else "want"
                rest = f"to {forms.base}"
                groups.append(
                    (f"{wants} {rest}", f"{do} not want {rest}", do, f"want {rest}"),
                )
                continue
            auxiliary, rest = {
                FUTURE: ("will", forms.base),
                PROGRESSIVE: (be, forms.gerund),
                PAST_PROGRESSIVE: (was, forms.gerund),
                PERFECT: ("has" if singular else "have", forms.participle),
                GOING_TO: (be, f"going to {forms.base}"),
                CAN: ("can", forms.base),
                MUST: ("must", forms.base),
            }[tense]
            negative = "cannot" if tense == CAN else f"{auxiliary} not"
            groups.append((f"{auxiliary} {rest}", f"{negative} {rest}", auxiliary, rest))
    return groups


def spanish_groups(forms: spanish.Conjugation, aspect: str) -> list[tuple[str, str, bool]]:
    """The Spanish verb groups, by tense and person; states have their past in the imperfect."""
    past = "imperfect" if aspect == "state" else "preterite"
    conjugate = spanish.conjugate
    simple = {PRESENT: "present", PAST: past, FUTURE: "future"}
    periphrases = {
        PROGRESSIVE: (conjugate("estar").present, forms.gerund),
        PAST_PROGRESSIVE: (conjugate("estar").imperfect, forms.gerund),
        PERFECT: (conjugate("haber").present, forms.participle),
        GOING_TO: (conjugate("ir").present, f"a {forms.infinitive}"),
        CAN: (conjugate("poder", "ue").present, forms.infinitive),
        MUST: (conjugate("deber").present, forms.infinitive),
        WANT: (conjugate("querer", "ie").present, forms.infinitive),
    }
    groups = []
    for tense in range(10):
        for person in range(5):
            if tense in simple:
                name = simple[tense]
                finite: str = getattr(forms, name)[person]
                groups.append((finite, "", person in forms.irregular[name]))
            else:
                finites, rest = periphrases[tense]
                groups.append((finites[person], rest, False))
    return groups


def _fit_adjectives(book: Lexicon, fits: dict[str, tuple[Noun, ...]]) -> None:
    attributes: dict[str, list[Adjective]] = defaultdict(list)
    for adjective in book.adjectives.values():
        for noun in fits[adjective.key]:
            attributes[noun.key].append(adjective)
    for noun in book.nouns.values():
        fitting = attributes[noun.key]
        noun.attributes = tuple(a for a in fitting if a.attributive and not a.precedes)
        noun.before_noun = tuple(a for a in fitting if a.precedes)
        noun.gradable = tuple(a for a in fitting if a.gradable)
        noun.predicates = tuple(a for a in fitting if a.copula)


def _frame(book: Lexicon, line: str) -> Frame:
    key, subject_spec, object_spec, place_spec, manners = _fields(line)
    subjects = book.pool(subject_spec)
    objects = () if object_spec == "-" else book.pool(object_spec)
    animate = bool(objects) and all(noun.is_animate for noun in objects)
    return Frame(
        verb=book.verbs[key],
        subjects=subjects,
        objects=objects,
        places=book.pool(place_spec),
        manners=tuple(manners.split()),
        by_people=subject_spec == "person",
        animate_object=animate,
        reversible=animate and not set(map(id, subjects)).isdisjoint(map(id, objects)),
    )


def _hold_out(book: Lexicon, fits: dict[str, tuple[Noun, ...]]) -> None:
    """Choose the pairings of a noun with a verb or an adjective that training never sees."""
    partners: dict[str, set[str]] = {key: {noun.key for noun in fit} for key, fit in fits.items()}
    for frames in book.frames.values():
        for frame in frames:
            nouns = {noun.key for noun in (*frame.subjects, *frame.objects)}
            partners.setdefault(frame.verb.key, set()).update(nouns)
    words_of: dict[str, set[str]] = defaultdict(set)
    for key, nouns in partners.items():
        for noun_key in nouns:
            words_of[noun_key].add(key)
    by_key = {lexeme.key: lexeme for lexeme in _all(book)}
    held: dict[str, set[int]] = defaultdict(set)
    for key, nouns in partners.items():
        if len(nouns) < _MIN_NOUNS_OF_A_WORD:
            continue
        for noun_key in nouns:
            if len(words_of[noun_key]) < _MIN_WORDS_OF_A_NOUN:
                continue
            if stable_hash(f"{key} {noun_key}") % 1000 < HELD_OUT_PER_MILLE:
                held[key].add(by_key[noun_key].index)
                held[noun_key].add(by_key[key].index)
    for key, indexes in held.items():
        by_key[key].held_out = frozenset(indexes)


def _all(book: Lexicon) -> list[Lexeme]:
    return [
        *book.nouns.values(),
        *book.adjectives.values(),
        *book.verbs.values(),
        *book.states.values(),
    ]
