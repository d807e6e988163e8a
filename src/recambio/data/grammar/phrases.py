"""Phrases: determiners, pronouns, names, noun phrases and adverbial phrases, each rendered in both languages.

``render()`` returns the English text, the Spanish text and the mask of the phenomena shown. A subject also has
`person` (0 to 4), `feminine` and `plural`, which verbs and predicates agree with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from recambio.data.grammar.english import indefinite_article
from recambio.data.grammar.lexicon import Adjective, Name, Noun
from recambio.data.grammar.phenomena import BIT
from recambio.data.grammar.spanish import adjective_forms, and_before, or_before, with_de

Rendered = tuple[str, str, int]

_NUMBER_AGREEMENT = BIT["number_agreement"]
_GENDER_AGREEMENT = BIT["gender_agreement"]
_AFTER_NOUN = BIT["adjective_after_noun"]
_BEFORE_NOUN = BIT["adjective_before_noun"]
_POSSESSIVE = BIT["possessive"]
_COMPARATIVE = BIT["comparative"]
_RELATIVE = BIT["relative_clause"]
_STRESSED_A = BIT["stressed_a"]
_COORDINATION = BIT["coordination"]
_EUPHONIC = BIT["euphonic_conjunction"]
_DROPPED = BIT["dropped_pronoun"]
_NUMBER = BIT["number"]
_CONTRACTION = BIT["contraction"]
_TIME = BIT["time_expression"]
_GENERIC = BIT["generic_article"]

PLAIN, VERY, SUPERLATIVE = range(3)
"""Degrees of an adjective in a noun phrase."""


class Phrase(Protocol):
    """What can be a subject or object."""

    @property
    def person(self) -> int:
        """Person and number of the verb, 0 to 4."""
        ...

    @property
    def feminine(self) -> bool:
        """Gender."""
        ...

    @property
    def plural(self) -> bool:
        """Number."""
        ...

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        ...


class Renderable(Protocol):
    """Anything with two sides, such as a relative clause."""

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Determiner:
    """A determiner or numeral.

    `english` is (singular, plural); `spanish` masculine singular, masculine plural, feminine singular, feminine
    plural; `stressed` stands directly before a feminine singular in stressed *a*. `number` is 0 or 1 where the
    determiner demands singular or plural, else -1.
    """

    english: tuple[str, str]
    spanish: tuple[str, str, str, str]
    stressed: str = ""
    number: int = -1
    mask: int = 0
    definite: bool = False
    has_possessor: bool = False


def _invariant(english: str, *forms: str, mask: int = 0, definite: bool = False) -> Determiner:
    masculine, masculine_plural, feminine, feminine_plural = forms
    return Determiner(
        (english, english),
        (masculine, masculine_plural, feminine, feminine_plural),
        mask=mask,
        definite=definite,
    )


_ARTICLE = ("el", "los", "la", "las")
THE = Determiner(("the", "the"), _ARTICLE, stressed="el", definite=True)
A = Determiner(("a", ""), ("un", "unos", "una", "unas"), stressed="un", number=0)
BARE = Determiner(("", ""), ("", "", "", ""))
GENERIC = Determiner(("", ""), _ARTICLE, stressed="el", mask=_GENERIC)
THIS = Determiner(("this", "these"), ("este", "estos", "esta", "estas"), definite=True)
THAT = Determiner(("that", "those"), ("ese", "esos", "esa", "esas"), definite=True)
MANY = Determiner(("", "many"), ("", "muchos", "", "muchas"), number=1)
FEW = Determiner(("", "few"), ("", "pocos", "", "pocas"), number=1)
SOME = Determiner(("", "some"), ("", "algunos", "", "algunas"), number=1)
ALL = Determiner(("", "all the"), ("", "todos los", "", "todas las"), number=1, definite=True)
EVERY = Determiner(("every", ""), ("cada", "", "cada", ""), number=0)
A_LOT_OF = Determiner(("a lot of", ""), ("mucho", "", "mucha", ""), number=0)
POSSESSOR = Determiner(("", ""), _ARTICLE, stressed="el", mask=_POSSESSIVE, definite=True, has_possessor=True)
MY = _invariant("my", "mi", "mis", "mi", "mis", mask=_POSSESSIVE, definite=True)
YOUR = _invariant("your", "tu", "tus", "tu", "tus", mask=_POSSESSIVE, definite=True)
HIS = _invariant("his", "su", "sus", "su", "sus", mask=_POSSESSIVE, definite=True)
HER = _invariant("her", "su", "sus", "su", "sus", mask=_POSSESSIVE, definite=True)
OUR = _invariant("our", *adjective_forms("nuestro"), mask=_POSSESSIVE, definite=True)
THEIR = _invariant("their", "su", "sus", "su", "sus", mask=_POSSESSIVE, definite=True)
HOW_MANY = Determiner(("", "how many"), ("", "cuántos", "", "cuántas"), number=1)
WHICH = Determiner(("which", "which"), ("qué", "qué", "qué", "qué"))


def numeral(english: str, masculine: str, feminine: str = "") -> Determiner:
    """A numeral above one."""
    return Determiner(
        ("", english),
        ("", masculine, "", feminine or masculine),
        number=1,
        mask=_NUMBER | (_COORDINATION | _EUPHONIC if " u " in masculine else 0),
    )


ONE = Determiner(("one", ""), ("un", "", "una", ""), stressed="un", number=0, mask=_NUMBER)
NUMERALS: dict[str, Determiner] = {
    entry.english[1]: entry
    for entry in (
        numeral("two", "dos"),
        numeral("three", "tres"),
        numeral("four", "cuatro"),
        numeral("five", "cinco"),
        numeral("six", "seis"),
        numeral("seven", "siete"),
        numeral("eight", "ocho"),
        numeral("nine", "nueve"),
        numeral("ten", "diez"),
        numeral("eleven", "once"),
        numeral("twelve", "doce"),
        numeral("fifteen", "quince"),
        numeral("twenty", "veinte"),
        numeral("twenty-one", "veintiún", "veintiuna"),
        numeral("thirty", "treinta"),
        numeral("thirty-one", "treinta y un", "treinta y una"),
        numeral("forty", "cuarenta"),
        numeral("fifty", "cincuenta"),
        numeral("sixty", "sesenta"),
        numeral("seventy", "setenta"),
        numeral("eighty", "ochenta"),
        numeral("ninety", "noventa"),
        numeral("one hundred", "cien"),
        numeral("two hundred", "doscientos", "doscientas"),
        numeral("three hundred", "trescientos", "trescientas"),
        numeral("five hundred", "quinientos", "quinientas"),
        numeral("one thousand", "mil"),
        numeral("seven or eight", "siete u ocho"),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class Pronoun:
    """A personal pronoun; as a subject it is dropped in Spanish."""

    english: str
    english_object: str
    spanish: str
    accusative: str
    dative: str
    person: int
    feminine: bool = False
    plural: bool = False

    def render(self) -> Rendered:
        """As a subject."""
        return self.english, "", _DROPPED


I = Pronoun("I", "me", "yo", "me", "me", 0)  # noqa: E741
YOU = Pronoun("you", "you", "tú", "te", "te", 1)
HE = Pronoun("he", "him", "él", "lo", "le", 2)
SHE = Pronoun("she", "her", "ella", "la", "le", 2, feminine=True)
IT = Pronoun("it", "it", "", "lo", "le", 2)
IT_FEMININE = Pronoun("it", "it", "", "la", "le", 2, feminine=True)
WE = Pronoun("we", "us", "nosotros", "nos", "nos", 3, plural=True)
THEY = Pronoun("they", "them", "ellos", "los", "les", 4, plural=True)
THEY_FEMININE = Pronoun("they", "them", "ellas", "las", "les", 4, feminine=True, plural=True)
REFLEXIVE_CLITICS = ("me", "te", "se", "nos", "se")


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A fixed subject without inflection, such as *who* or *nobody*."""

    english: str
    spanish: str
    mask: int = 0
    person: int = 2
    feminine: bool = False
    plural: bool = False

    def render(self) -> Rendered:
        """As a subject."""
        return self.english, self.spanish, self.mask


WHO = Word("who", "quién", BIT["wh_question"])
NOBODY = Word("nobody", "nadie", BIT["negation"])


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """The place of a subject that stands elsewhere: before a relative clause, or in the first of two predicates."""

    person: int
    feminine: bool
    plural: bool

    def render(self) -> Rendered:
        """Nothing."""
        return "", "", 0


@dataclass(slots=True, eq=False)
class Person:
    """A first name."""

    name: Name
    person: int = 2
    plural: bool = False

    @property
    def feminine(self) -> bool:
        """The gender of the person."""
        return self.name.feminine

    def render(self) -> Rendered:
        """As any part of a sentence."""
        return self.name.english, self.name.spanish, 0


class NounPhrase:
    """A noun with its determiner and modifiers.

    Args:
        marked_feminine: The feminine form of a noun of common gender, where the sentence demands it.
        possessor: Whose it is, with the determiner `POSSESSOR`.
        relative: A relative clause, after the noun.
    """

    __slots__ = (
        "adjective",
        "degree",
        "determiner",
        "feminine",
        "noun",
        "person",
        "plural",
        "possessor",
        "relative",
    )

    def __init__(
        self,
        noun: Noun,
        determiner: Determiner = THE,
        *,
        plural: bool = False,
        adjective: Adjective | None = None,
        degree: int = PLAIN,
        possessor: Phrase | None = None,
        relative: Renderable | None = None,
        marked_feminine: bool = False,
    ) -> None:
        self.noun = noun
        self.determiner = determiner
        self.plural = plural
        self.adjective = adjective
        self.degree = degree
        self.possessor = possessor
        self.relative = relative
        self.feminine = noun.feminine or marked_feminine
        self.person = 4 if plural else 2

    def render(self) -> Rendered:
        """As any part of a sentence."""
        noun, determiner, adjective = self.noun, self.determiner, self.adjective
        number = 1 if self.plural else 0
        agreement = number + (2 if self.feminine else 0)
        english = noun.english[number]
        spanish = noun.spanish[self.feminine][number]
        mask = determiner.mask
        gender_shown = number_shown = noun_first = False
        article = determiner.spanish[agreement]
        if self.feminine and article != determiner.spanish[number]:
            gender_shown = True
        if number and article and article != determiner.spanish[agreement - 1]:
            number_shown = True
        if adjective is None:
            noun_first = True
        else:
            number_shown = number == 1
            form = adjective.spanish[agreement]
            if self.feminine and form != adjective.spanish[number]:
                gender_shown = True
            if adjective.precedes:
                mask |= _BEFORE_NOUN
                english = f"{adjective.english} {english}"
                spanish = f"{adjective.short[agreement]} {spanish}"
            else:
                noun_first = True
                mask |= _AFTER_NOUN
                if self.degree == PLAIN:
                    english = f"{adjective.english} {english}"
                    spanish = f"{spanish} {form}"
                elif self.degree == VERY:
                    english = f"very {adjective.english} {english}"
                    spanish = f"{spanish} muy {form}"
                else:
                    mask |= _COMPARATIVE
                    english = f"{adjective.superlative} {english}"
                    spanish = f"{spanish} más {form}"
        if determiner is not BARE:
            if noun.has_stressed_a and noun_first and not number and determiner.stressed:
                mask |= _STRESSED_A
                article = determiner.stressed
                gender_shown = gender_shown and adjective is not None
            spanish = f"{article} {spanish}" if article else spanish
            if self.possessor is not None:
                whose_english, whose_spanish, whose_mask = self.possessor.render()
                mask |= whose_mask
                english = f"{whose_english}'s {english}"
                if whose_spanish.startswith("el "):
                    mask |= _CONTRACTION
                spanish = f"{spanish} {with_de(whose_spanish)}"
            elif determiner is A:
                english = f"{indefinite_article(english)} {english}"
            elif word := determiner.english[number]:
                english = f"{word} {english}"
        if self.relative is not None:
            that_english, that_spanish, that_mask = self.relative.render()
            mask |= that_mask | _RELATIVE
            english = f"{english} {that_english}"
            spanish = f"{spanish} {that_spanish}"
        if gender_shown:
            mask |= _GENDER_AGREEMENT
        if number_shown:
            mask |= _NUMBER_AGREEMENT
        return english, spanish, mask


@dataclass(slots=True, eq=False)
class Pair:
    """Two phrases joined by *and* (``is_or=False``) or *or*."""

    first: Phrase
    second: Phrase
    is_or: bool = False

    @property
    def person(self) -> int:
        """First person if the speaker is among them, else third, plural."""
        return 3 if 0 in (self.first.person, self.second.person) else 4

    @property
    def feminine(self) -> bool:
        """Feminine only if both are."""
        return self.first.feminine and self.second.feminine

    @property
    def plural(self) -> bool:
        """Always."""
        return True

    def render(self) -> Rendered:
        """As any part of a sentence."""
        first_english, first_spanish, first_mask = self.first.render()
        second_english, second_spanish, second_mask = self.second.render()
        if isinstance(self.second, Pronoun):
            second_spanish, second_mask = self.second.spanish, 0
        if self.is_or:
            english_link, link = "or", or_before(second_spanish)
        else:
            english_link, link = "and", and_before(second_spanish)
        mask = first_mask | second_mask | _COORDINATION | (_EUPHONIC if link in ("e", "u") else 0)
        return (
            f"{first_english} {english_link} {second_english}",
            f"{first_spanish} {link} {second_spanish}",
            mask,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Adverb:
    """An adverb or adverbial phrase of time, frequency or manner; `early` ones precede the Spanish object."""

    english: str
    spanish: str
    mask: int = 0
    early: bool = False


def when(english: str, spanish: str) -> Adverb:
    """A time expression."""
    return Adverb(english, spanish, _TIME)


@dataclass(frozen=True, slots=True, eq=False)
class Preposition:
    """A preposition of place; Spanish ones in *a* and *de* contract with *el*."""

    english: str
    spanish: str

    @property
    def contracts(self) -> bool:
        """Whether it ends in *a* or *de*."""
        return self.spanish == "a" or self.spanish.endswith("de")


IN, AT, ON = Preposition("in", "en"), Preposition("at", "en"), Preposition("on", "en")
TO, ARRIVE_AT, ARRIVE_IN = Preposition("to", "a"), Preposition("at", "a"), Preposition("in", "a")
LEAVING = Preposition("", "de")
UNDER = Preposition("under", "debajo de")
BEHIND = Preposition("behind", "detrás de")
NEXT_TO = Preposition("next to", "al lado de")
NEAR = Preposition("near", "cerca de")
IN_FRONT_OF = Preposition("in front of", "delante de")


@dataclass(slots=True, eq=False)
class Place:
    """A preposition and what it governs, as the end of a clause: both texts begin with a blank."""

    preposition: Preposition
    phrase: Phrase

    def render(self) -> Rendered:
        """With a blank before each side."""
        english, spanish, mask = self.phrase.render()
        before = self.preposition
        if spanish.startswith("el ") and before.contracts:
            mask |= _CONTRACTION
            spanish = f"{before.spanish}l {spanish[3:]}"
        else:
            spanish = f"{before.spanish} {spanish}"
        return f" {before.english} {english}" if before.english else f" {english}", f" {spanish}", mask


HOME_IN, HOME_TO = Adverb("at home", "en casa"), Adverb("home", "a casa")
