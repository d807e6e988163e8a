"""What can go wrong in a clause: for each phenomenon, the changes of a part of a derivation that make its Spanish wrong.

A change names a node of the clause (a clause, a phrase or a predicate) and what some of its attributes become. It is
offered only where the outcome is wrong for the English by construction. Where Spanish allows both (*Estoy cansada*
for *I am tired*, *su casa* for *your house*), nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.lexicon import FUTURE, PAST, PRESENT, Adjective
from recambio.data.grammar.times import CLOCK, NEVER

Change = tuple[Any, dict[str, Any]]
"""A node and the new values of its attributes."""

# Adjectives for which the other verb is wrong of everything they are said of; "es enfermo" and "está alto" can be right.
_ONLY_ESTAR = frozenset({"tired", "worried", "happy", "angry", "ready", "broken"})
_ONLY_SER = frozenset({"Spanish", "French", "English", "Italian", "German", "Mexican"})
_SHORTENED = frozenset({"good", "bad", "first", "third"})
_OTHER_PERSON = (1, 0, 0, 4, 3)
_OTHER_TENSE = {PRESENT: PAST, PAST: FUTURE, FUTURE: PAST}
_OTHER_RELATION = {"more": "less", "less": "more", "as": "more"}
# One who is addressed could be spoken to as usted, so what is said of him never becomes su, lo, la or le.
_OTHER_OBJECT = {p.I: "te", p.YOU: "me", p.HE: "la", p.SHE: "lo", p.WE: "los"}
_OTHER_NUMBER = {"lo": "los", "la": "las", "los": "lo", "las": "la"}
_OTHER_GENDER = {"lo": "la", "la": "lo", "los": "las", "las": "los"}
_OTHER_RECIPIENT = {"me": "te", "te": "me", "le": "me", "nos": "les", "les": "nos"}
_OTHER_OWNER = {p.MY: p.YOUR, p.YOUR: p.MY, p.HIS: p.MY, p.HER: p.MY, p.THEIR: p.MY, p.OUR: p.HIS}
# of one word: "treinta y un" against "dos" is no minimal pair
_NUMERALS = tuple(numeral for numeral in p.NUMERALS.values() if " " not in numeral.spanish[1])


@dataclass(frozen=True, slots=True, eq=False)
class AsAnother:
    """A phrase whose words stay, and with which a verb or a pronoun agrees as if it were another person or number."""

    phrase: p.Phrase
    person: int
    plural: bool

    @property
    def feminine(self) -> bool:
        """Of the phrase."""
        return self.phrase.feminine

    def render(self) -> p.Rendered:
        """The phrase."""
        return self.phrase.render()


def _regendered(adjective: Adjective) -> Adjective:
    spanish, short = adjective.spanish, adjective.short
    return replace(adjective, spanish=(*spanish[2:], *spanish[:2]), short=(*short[2:], *short[:2]))


def _renumbered(adjective: Adjective) -> Adjective:
    def swap(forms: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
        return forms[1], forms[0], forms[3], forms[2]

    return replace(adjective, spanish=swap(adjective.spanish), short=swap(adjective.short))


def _shows_gender(phrase: p.Phrase) -> bool:
    """Whether the Spanish words, or *he* or *she* in the English, fix the gender of a subject."""
    if isinstance(phrase, p.NounPhrase):
        return not phrase.noun.is_common or phrase.noun.spanish[0] != phrase.noun.spanish[1]
    if isinstance(phrase, p.Pair):
        return _shows_gender(phrase.first) and _shows_gender(phrase.second)
    return isinstance(phrase, p.Person) or phrase is p.HE or phrase is p.SHE


def adjective_gender(node: Any) -> Iterator[Change]:
    """*la camisa rojo*; *Ana está cansado*."""
    if isinstance(node, p.NounPhrase) and node.adjective is not None and _shows_gender(node):
        yield node, {"adjective": _regendered(node.adjective)}
    if isinstance(node, c.Copula) and isinstance(node.predicate, c.Quality) and _shows_gender(node.subject):
        yield node.predicate, {"adjective": _regendered(node.predicate.adjective)}


def adjective_number(node: Any) -> Iterator[Change]:
    """*los coches rojo*; *Estamos cansado*."""
    if isinstance(node, p.NounPhrase | c.Quality) and node.adjective is not None:
        yield node, {"adjective": _renumbered(node.adjective)}


def determiner_gender(node: Any) -> Iterator[Change]:
    """*el casa*; *doscientos tazas*."""
    if isinstance(node, p.NounPhrase) and not node.noun.is_person and not node.noun.has_stressed_a:
        spanish = node.determiner.spanish
        flipped = replace(node.determiner, spanish=(*spanish[2:], *spanish[:2]))
        if flipped.spanish != spanish and all(flipped.spanish[i] for i in range(4) if spanish[i]):
            yield node, {"determiner": flipped}


def stressed_a(node: Any) -> Iterator[Change]:
    """*la agua*."""
    if isinstance(node, p.NounPhrase) and node.noun.has_stressed_a and not node.plural and node.determiner.stressed:
        yield node, {"determiner": replace(node.determiner, stressed="")}


def short_form(node: Any) -> Iterator[Change]:
    """*un bueno libro*."""
    if isinstance(node, p.NounPhrase) and node.adjective is not None and node.adjective.english in _SHORTENED:
        yield node, {"adjective": replace(node.adjective, short=node.adjective.spanish)}


def subject_verb(node: Any) -> Iterator[Change]:
    """*El perro de Ana duermen*."""
    if isinstance(node, c.Action | c.Copula | c.Opinion) and not isinstance(node.subject, p.Pronoun):
        subject = node.subject
        # "¿Canta Ana y Pedro?" and "Ana o Pedro canta" can be right
        if isinstance(subject, p.Pair) and (subject.is_or or node.question != c.STATEMENT or subject.person == 3):
            return
        yield node, {"subject": AsAnother(subject, 4 if subject.person == 2 else 2, subject.plural)}


def verb_person(node: Any) -> Iterator[Change]:
    """*Ves la casa* for *I see the house*."""
    if isinstance(node, c.Action | c.Copula | c.Opinion) and isinstance(node.subject, p.Pronoun):
        pronoun = node.subject
        yield node, {"subject": AsAnother(pronoun, _OTHER_PERSON[pronoun.person], pronoun.plural)}


def ser_estar(node: Any) -> Iterator[Change]:
    """*La llave es en la mesa*; *Ana está médica*."""
    if isinstance(node, c.Copula) and isinstance(node.predicate, c.Located):
        # "Mi casa es aquí" is common
        if not (isinstance(node.subject, p.NounPhrase) and node.subject.noun.classes & {"place", "built"}):
            yield node.predicate, {"copula": "ser"}
    elif isinstance(node, c.Profession):
        yield node, {"copula": "estar"}
    elif isinstance(node, c.Quality) and node.than is None and node.also is None:
        adjective = node.adjective
        if adjective.english in _ONLY_ESTAR:
            yield node, {"adjective": replace(adjective, copula="ser")}
        elif adjective.english in _ONLY_SER:
            yield node, {"adjective": replace(adjective, copula="estar")}


def tener_expression(node: Any) -> Iterator[Change]:
    """*Ana está hambre*; *Ana es veinte años*."""
    if isinstance(node, c.State):
        yield node, {"copula": "estar"}
    elif isinstance(node, c.Age):
        yield node, {"copula": "ser"}


def tense(node: Any) -> Iterator[Change]:
    """*Ana comerá* for *Ana ate*."""
    if not isinstance(node, c.Action | c.Copula) or node.tense not in _OTHER_TENSE:
        return
    if isinstance(node, c.Action) and node.verb.same_past and node.subject.person != 2:
        return  # "They read the book." could be the past
    yield node, {"tense": _OTHER_TENSE[node.tense]}


def negation(node: Any) -> Iterator[Change]:
    """*Ana trabaja* for *Ana does not work*."""
    if getattr(node, "negative", False) and node.question == c.STATEMENT:
        yield node, {"negative": False}
    if isinstance(node, c.Action | c.Copula) and node.frequency is NEVER:
        yield node, {"frequency": None}


def personal_a(node: Any) -> Iterator[Change]:
    """*Ana ve Pedro*."""
    if isinstance(node, c.Action | c.Order) and node.personal:
        thing = node.object
        # "Ana busca un médico" and "Ana ve los perros" can be right
        if isinstance(thing, p.Person) or (
            isinstance(thing, p.NounPhrase) and thing.noun.is_person and thing.determiner.definite and not thing.plural
        ):
            yield node, {"personal": False}


def object_clitic(node: Any) -> Iterator[Change]:
    """*Ana la ve* for *Ana sees him*; *Ana lo ve* for *Ana sees them*."""
    if isinstance(node, c.Action | c.Order) and isinstance(node.object, p.Pronoun):
        pronoun = node.object
        other = _OTHER_OBJECT.get(pronoun) or _OTHER_NUMBER[pronoun.accusative]
        yield node, {"object": replace(pronoun, accusative=other)}


def clitic_antecedent(node: Any) -> Iterator[Change]:
    """*compró la manzana y lo comió*."""
    if isinstance(node, c.Action) and isinstance(node.subject, p.Gap) and isinstance(node.object, p.Pronoun):
        yield node, {"object": replace(node.object, accusative=_OTHER_GENDER[node.object.accusative])}


def indirect_object(node: Any) -> Iterator[Change]:
    """*Te da un libro* for *She gives me a book*; *Les da un libro a Ana*."""
    if isinstance(node, c.Action | c.Order) and node.recipient is not None:
        if isinstance(node.recipient, p.Pronoun):
            other = _OTHER_RECIPIENT[node.recipient.dative]
            yield node, {"recipient": replace(node.recipient, dative=other)}
        elif not node.recipient.plural:
            # not the other way round: "le da un libro a las niñas" is common
            yield node, {"recipient": AsAnother(node.recipient, 4, True)}


def gustar(node: Any) -> Iterator[Change]:
    """*Te gusta el café* for *I like coffee*; *Me gustan el café*."""
    for who in ("experiencer", "owner"):
        pronoun = getattr(node, who, None)
        if isinstance(pronoun, p.Pronoun):
            yield node, {who: replace(pronoun, dative=_OTHER_RECIPIENT[pronoun.dative])}
    if isinstance(node, c.Liking) and isinstance(node.stimulus, p.NounPhrase):
        liked = node.stimulus
        yield node, {"stimulus": AsAnother(liked, 2 if liked.plural else 4, liked.plural)}


def possessive(node: Any) -> Iterator[Change]:
    """*tu casa* for *my house*."""
    if isinstance(node, p.NounPhrase) and node.determiner in _OTHER_OWNER:
        yield node, {"determiner": _OTHER_OWNER[node.determiner]}


def number(node: Any) -> Iterator[Change]:
    """*cuatro tazas* for *three cups*; *a las dos* for *at three o'clock*."""
    if isinstance(node, p.NounPhrase) and node.determiner in _NUMERALS:
        yield from ((node, {"determiner": other}) for other in _NUMERALS if other is not node.determiner)
    if isinstance(node, c.Age) and node.number in _NUMERALS:
        yield from ((node, {"number": other}) for other in _NUMERALS if other is not node.number)
    if isinstance(node, c.Action) and node.time in CLOCK:
        yield from ((node, {"time": other}) for other in CLOCK[1:] if other is not node.time)


def comparative(node: Any) -> Iterator[Change]:
    """*menos alto que Ana* for *taller than Ana*; *peor* for *better*."""
    if isinstance(node, c.Quality) and node.than is not None:
        yield node, {"relation": _OTHER_RELATION[node.relation]}
    if isinstance(node, c.Ranking):
        yield node, {"spanish": ("peor", "peores") if node.spanish[0] == "mejor" else ("mejor", "mejores")}


def generic_article(node: Any) -> Iterator[Change]:
    """*Gatos beben agua*; *Me gusta café*."""
    # "¿Duermen gatos?" can be right
    if isinstance(node, c.Action | c.Copula | c.Liking) and node.question == c.STATEMENT:
        phrase = node.stimulus if isinstance(node, c.Liking) else node.subject
        if isinstance(phrase, p.NounPhrase) and phrase.determiner is p.GENERIC:
            yield phrase, {"determiner": p.BARE}


def imperative(node: Any) -> Iterator[Change]:
    """*Cierro la puerta* for *Close the door*."""
    if isinstance(node, c.Order) and node.recipient is None and not isinstance(node.object, p.Pronoun):
        forms = node.verb.spanish
        yield node, {"verb": replace(node.verb, spanish=replace(forms, imperative=forms.present[0]))}


VARIATIONS: dict[str, Callable[[Any], Iterator[Change]]] = {
    function.__name__: function
    for function in (
        adjective_gender,
        adjective_number,
        determiner_gender,
        stressed_a,
        short_form,
        subject_verb,
        verb_person,
        ser_estar,
        tener_expression,
        tense,
        negation,
        personal_a,
        object_clitic,
        clitic_antecedent,
        indirect_object,
        gustar,
        possessive,
        number,
        comparative,
        generic_article,
        imperative,
    )
}
"""By phenomenon, the changes of a node that make a clause wrong."""

_NODES = (
    c.Action, c.Copula, c.Quality, c.Ranking, c.Profession, c.Located, c.State, c.Age, c.Liking, c.Hurting,
    c.Existence, c.Order, c.Opinion, c.Relative, c.Compound, p.NounPhrase, p.Pair, p.Place,
)  # fmt: skip


def nodes(node: Any) -> Iterator[Any]:
    """A node and all below it that may change."""
    if isinstance(node, _NODES):
        yield node
        yield from _below(getattr(node, name) for name in node.__slots__)
    elif isinstance(node, list | tuple):
        yield from _below(node)


def _below(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from nodes(value)
