"""Clauses: a subject, a verb and what goes with it, rendered in both languages.

Word order in Spanish: statements keep subject - verb - object; object pronouns stand before the finite verb and are
joined to infinitives; questions put the subject after the verb: after the predicate of a copula and after an object
that is a mere noun; before any other object, and then, unless object pronouns precede the verb, before an infinitive
or gerund too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from recambio.data.grammar.lexicon import (
    CAN,
    FUTURE,
    GOING_TO,
    INFINITIVE_TENSES,
    MUST,
    PAST,
    PAST_PROGRESSIVE,
    PERFECT,
    PRESENT,
    PROGRESSIVE,
    WANT,
    Adjective,
    Noun,
    TenerState,
    Verb,
    spanish_groups,
)
from recambio.data.grammar.phenomena import BIT, UNSETTLED
from recambio.data.grammar.phrases import (
    BARE,
    REFLEXIVE_CLITICS,
    A,
    Adverb,
    Determiner,
    NounPhrase,
    Pair,
    Phrase,
    Place,
    Pronoun,
    Rendered,
)
from recambio.data.grammar.spanish import (
    accent_imperative,
    accent_infinitive,
    and_before,
    conjugate,
    with_a,
)

STATEMENT, YES_NO, WH = range(3)
"""Kinds of clause."""

_TENSE_MASK = {
    PRESENT: BIT["present"],
    PAST: BIT["preterite"],
    FUTURE: BIT["future"],
    PROGRESSIVE: BIT["progressive"],
    PAST_PROGRESSIVE: BIT["progressive"] | BIT["imperfect"],
    PERFECT: BIT["present_perfect"],
    GOING_TO: BIT["infinitive_group"],
    CAN: BIT["infinitive_group"],
    MUST: BIT["infinitive_group"],
    WANT: BIT["infinitive_group"],
}
_IMPERFECT = BIT["imperfect"]
_IRREGULAR = BIT["irregular_verb"]
_NEGATION = BIT["negation"]
_QUESTION = (0, BIT["yes_no_question"], BIT["wh_question"])
_CLITIC = BIT["object_clitic"]
_INDIRECT = BIT["indirect_object"]
_PERSONAL_A = BIT["personal_a"]
_CONTRACTION = BIT["contraction"]
_REFLEXIVE = BIT["reflexive"]
_WORD_ORDER = BIT["word_order"]
_GUSTAR = BIT["gustar"]
_POSSESSIVE = BIT["possessive"]
_COORDINATION = BIT["coordination"]
_SUBORDINATION = BIT["subordination"]
_GENDER_AGREEMENT = BIT["gender_agreement"]
_NUMBER_AGREEMENT = BIT["number_agreement"]
_COMPARATIVE = BIT["comparative"]

_BE_PRESENT = ("am", "are", "is", "are", "are")
_BE_PAST = ("was", "were", "was", "were", "were")


def _be_groups() -> list[tuple[str, str, str, str]]:
    """English *be*, in the shape of `Verb.english_groups`."""
    groups = []
    for tense in range(10):
        for person in range(5):
            if tense == PAST:
                be = _BE_PAST[person]
                groups.append((be, f"{be} not", be, ""))
            elif tense == FUTURE:
                groups.append(("will be", "will not be", "will", "be"))
            elif tense == WANT:
                do, wants = ("does", "wants") if person == 2 else ("do", "want")
                groups.append((f"{wants} to be", f"{do} not want to be", do, "want to be"))
            elif tense == GOING_TO:
                be = _BE_PRESENT[person]
                groups.append((f"{be} going to be", f"{be} not going to be", be, "going to be"))
            else:
                be = _BE_PRESENT[person]
                groups.append((be, f"{be} not", be, ""))
    return groups


_BE = _be_groups()
_COPULAS = {
    "ser": spanish_groups(conjugate("ser"), "state"),
    "estar": spanish_groups(conjugate("estar"), "state"),
    "tener": spanish_groups(conjugate("tener", "ie"), "state"),
}


class Clause(Protocol):
    """A clause without capital and final mark."""

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        ...


def _assemble(
    subject: Rendered,
    english_group: tuple[str, str, str, str],
    finite: str,
    rest: str,
    tails: tuple[str, str],
    *,
    negative: bool,
    question: int,
    frequency: Adverb | None = None,
    asked: tuple[str, str] | None = None,
    between: bool = False,
    auxiliary_first: bool = False,
) -> tuple[str, str]:
    """Put subject, verb group and tails in order.

    Args:
        finite, rest: The Spanish verb group, object pronouns included.
        tails: What follows the verb, each text empty or beginning with a blank.
        asked: The question words of a `WH` question.
        between: In a question, the Spanish subject stands between the finite verb and `rest`.
        auxiliary_first: A frequency adverb follows the English auxiliary.
    """
    positive, negated, auxiliary, remainder = english_group
    tail, cola = tails
    who, quien, _ = subject
    if negative:
        finite = f"no {finite}"
    if question == STATEMENT:
        if frequency is not None:
            finite = f"{frequency.spanish} {finite}"
            if auxiliary_first:
                verb = f"{auxiliary} {frequency.english}"
                verb = f"{verb} {remainder}" if remainder else verb
            else:
                verb = f"{frequency.english} {positive}"
        else:
            verb = negated if negative else positive
        group = f"{finite} {rest}" if rest else finite
        return (
            f"{who} {verb}{tail}" if who else f"{verb}{tail}",
            f"{quien} {group}{cola}" if quien else f"{group}{cola}",
        )
    negation = " not" if negative else ""
    english = f"{auxiliary} {who}{negation}"
    if remainder:
        english = f"{english} {remainder}"
    group = finite
    if rest and between:
        group = f"{finite} {quien} {rest}" if quien else f"{finite} {rest}"
    else:
        group = f"{finite} {rest}" if rest else finite
        group = f"{group} {quien}" if quien else group
    if asked is not None:
        return f"{asked[0]} {english}{tail}", f"{asked[1]} {group}{cola}"
    return f"{english}{tail}", f"{group}{cola}"


@dataclass(slots=True, eq=False)
class Action:
    """A clause of a lexical verb.

    Args:
        asked: English and Spanish question words, for `question=WH`; an asked subject (*who*) is no question here.
        frequency: An adverb before the verb, such as *always*; `never` is one that negates.
        reversible: Subject and object could change places.
        time_first: The time expression opens the sentence.
    """

    subject: Phrase
    verb: Verb
    tense: int = PRESENT
    negative: bool = False
    question: int = STATEMENT
    object: Phrase | None = None
    personal: bool = False
    recipient: Phrase | None = None
    place: Place | Adverb | None = None
    manner: Adverb | None = None
    time: Adverb | None = None
    time_first: bool = False
    frequency: Adverb | None = None
    asked: tuple[str, str] | None = None
    asked_mask: int = 0
    reversible: bool = False

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        verb, tense, subject, thing = self.verb, self.tense, self.subject, self.object
        at = tense * 5 + subject.person
        finite, rest, irregular = verb.spanish_groups[at]
        said = subject.render()
        mask = said[2] | _QUESTION[self.question] | self.asked_mask
        mask |= _IMPERFECT if tense == PAST and verb.aspect == "state" else _TENSE_MASK[tense]
        if irregular:
            mask |= _IRREGULAR
        if self.negative:
            mask |= _NEGATION
        elif (
            verb.same_past
            and tense == PAST
            and subject.person != 2
            and self.time is None
            and self.question == STATEMENT
        ):
            mask |= UNSETTLED
        if self.reversible:
            mask |= _WORD_ORDER
        clitic = ""
        english = spanish = ""
        has_object = False
        if verb.reflexive:
            clitic = REFLEXIVE_CLITICS[subject.person]
            mask |= _REFLEXIVE
        if thing is not None:
            if isinstance(thing, Pronoun):
                english = f" {thing.english_object}"
                clitic = thing.accusative
                mask |= _CLITIC
            else:
                object_english, object_spanish, object_mask = thing.render()
                mask |= object_mask
                english = f" {object_english}"
                if self.personal:
                    mask |= _PERSONAL_A
                    if object_spanish.startswith("el "):
                        mask |= _CONTRACTION
                    object_spanish = with_a(object_spanish)
                spanish = f" {object_spanish}"
                has_object = True
        recipient = self.recipient
        if recipient is not None:
            mask |= _INDIRECT
            to_english, to_spanish, dative, to_mask = _recipient(recipient)
            mask |= to_mask
            pronoun_object = isinstance(thing, Pronoun)
            if isinstance(recipient, Pronoun) and not verb.needs_to and not pronoun_object:
                english = f" {to_english}{english}"
            else:
                english = f"{english} to {to_english}"
            spanish += to_spanish
            if pronoun_object and dative in ("le", "les"):
                dative = "se"
            clitic = f"{dative} {clitic}" if clitic else dative
            has_object = has_object or bool(to_spanish)
        manner, place, time = self.manner, self.place, self.time
        between = has_object and tense != PERFECT and bool(rest)
        if clitic:
            if tense in INFINITIVE_TENSES:
                rest = _join(rest, clitic)
            else:
                finite = f"{clitic} {finite}"
                between = False
        if self.question and manner is None and recipient is None and _is_light(thing):
            rest = f"{rest}{spanish}" if rest else spanish[1:]
            spanish, between = "", False
        if manner is not None:
            english = f"{english} {manner.english}"
            mask |= manner.mask
            if has_object and not manner.early:
                spanish = f"{spanish} {manner.spanish}"
            else:
                rest = f"{rest} {manner.spanish}" if rest else manner.spanish
        if isinstance(place, Adverb):
            english = f"{english} {place.english}"
            spanish = f"{spanish} {place.spanish}"
        elif place is not None:
            place_english, place_spanish, place_mask = place.render()
            english += place_english
            spanish += place_spanish
            mask |= place_mask
        if time is not None:
            mask |= time.mask
            if not self.time_first:
                english = f"{english} {time.english}"
                spanish = f"{spanish} {time.spanish}"
        frequency = self.frequency
        if frequency is not None:
            mask |= frequency.mask
        english, spanish = _assemble(
            said,
            verb.english_groups[at],
            finite,
            rest,
            (english, spanish),
            negative=self.negative,
            question=self.question,
            frequency=frequency,
            asked=self.asked,
            between=between,
            auxiliary_first=tense not in (PRESENT, PAST),
        )
        if time is not None and self.time_first:
            return f"{time.english} {english}", f"{time.spanish} {spanish}", mask
        return english, spanish, mask


def _is_light(thing: Phrase | None) -> bool:
    """Whether an object is a mere noun, which stays beside the verb in Spanish questions: *¿Come pescado el gato?*"""
    return (
        isinstance(thing, NounPhrase)
        and thing.determiner is BARE
        and thing.adjective is None
        and thing.relative is None
    )


def _recipient(recipient: Phrase) -> tuple[str, str, str, int]:
    """English, Spanish tail, doubling pronoun and mask of an indirect object."""
    if isinstance(recipient, Pronoun):
        return recipient.english_object, "", recipient.dative, _CLITIC
    english, spanish, mask = recipient.render()
    if spanish.startswith("el "):
        mask |= _CONTRACTION
    return english, f" {with_a(spanish)}", "les" if recipient.plural else "le", mask


def _join(infinitive: str, clitics: str) -> str:
    """Join object pronouns to an infinitive: *comprarlo*, *dármelo*."""
    first, blank, second = clitics.partition(" ")
    return f"{accent_infinitive(infinitive)}{first}{second}" if blank else infinitive + first


class Predicate(Protocol):
    """What follows *be*."""

    @property
    def copula(self) -> str:
        """``ser``, ``estar`` or ``tener``."""
        ...

    @property
    def ends(self) -> bool:
        """Whether the Spanish subject follows it in questions."""
        ...

    def render(self, subject: Phrase) -> Rendered:
        """Both texts without a leading blank."""
        ...


@dataclass(slots=True, eq=False)
class Copula:
    """A clause with *be*: *ser*, *estar* or *tener* as the predicate demands.

    `question` puts the Spanish subject after predicates that end the clause (`ends`), else after the verb.
    """

    subject: Phrase
    predicate: Predicate
    tense: int = PRESENT
    negative: bool = False
    question: int = STATEMENT
    frequency: Adverb | None = None
    time: Adverb | None = None
    time_first: bool = False
    asked: tuple[str, str] | None = None

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        subject, tense, predicate = self.subject, self.tense, self.predicate
        at = tense * 5 + subject.person
        said = subject.render()
        english, spanish, mask = predicate.render(subject)
        finite, rest, irregular = _COPULAS[predicate.copula][at]
        mask |= said[2] | _QUESTION[self.question]
        mask |= _IMPERFECT if tense == PAST else _TENSE_MASK[tense]
        if irregular:
            mask |= _IRREGULAR
        if self.negative:
            mask |= _NEGATION
        after_verb = f"{rest} {spanish}" if rest else spanish
        tail = cola = ""
        if english:
            tail = f" {english}"
        if not (predicate.ends and self.question):
            after_verb, cola = rest, f" {spanish}" if spanish else ""
        frequency, time = self.frequency, self.time
        if frequency is not None:
            mask |= frequency.mask
        if time is not None:
            mask |= time.mask
            if not self.time_first:
                tail = f"{tail} {time.english}"
                cola = f"{cola} {time.spanish}"
        english, spanish = _assemble(
            said,
            _BE[at],
            finite,
            after_verb,
            (tail, cola),
            negative=self.negative,
            question=self.question,
            frequency=frequency,
            asked=self.asked,
            auxiliary_first=True,
        )
        if time is not None and self.time_first:
            return f"{time.english} {english}", f"{time.spanish} {spanish}", mask
        return english, spanish, mask


@dataclass(slots=True, eq=False)
class Quality:
    """An adjective as predicate, plain, with *very*, or compared.

    Args:
        also: A second adjective, joined by *and*.
        than: What the subject is compared with.
        relation: ``more``, ``less`` or ``as``.
    """

    adjective: Adjective
    very: bool = False
    also: Adjective | None = None
    than: Phrase | None = None
    relation: str = "more"
    ends: bool = True

    @property
    def copula(self) -> str:
        """The Spanish verb."""
        return self.adjective.copula

    def render(self, subject: Phrase) -> Rendered:
        """Agreeing with the subject."""
        adjective = self.adjective
        agreement = (1 if subject.plural else 0) + (2 if subject.feminine else 0)
        spanish = adjective.spanish[agreement]
        english = adjective.english
        mask = BIT[adjective.copula]
        if subject.feminine and spanish != adjective.spanish[agreement - 2]:
            mask |= _GENDER_AGREEMENT
        if subject.plural:
            mask |= _NUMBER_AGREEMENT
        if self.than is None:
            if self.also is not None:
                other = self.also.spanish[agreement]
                link = and_before(other)
                mask |= _COORDINATION | (BIT["euphonic_conjunction"] if link == "e" else 0)
                return f"{english} and {self.also.english}", f"{spanish} {link} {other}", mask
            if self.very:
                return f"very {english}", f"muy {spanish}", mask
            return english, spanish, mask
        than_english, than_spanish, than_mask = self.than.render()
        if isinstance(self.than, Pronoun):
            than_english, than_spanish, than_mask = (
                self.than.english_object,
                self.than.spanish,
                0,
            )
        mask |= than_mask | _COMPARATIVE
        if self.relation == "more":
            return (
                f"{adjective.comparative} than {than_english}",
                f"más {spanish} que {than_spanish}",
                mask,
            )
        if self.relation == "less":
            return (
                f"less {english} than {than_english}",
                f"menos {spanish} que {than_spanish}",
                mask,
            )
        return f"as {english} as {than_english}", f"tan {spanish} como {than_spanish}", mask


@dataclass(slots=True, eq=False)
class Ranking:
    """*better than*, *worse than*: comparison without an adjective of its own in Spanish."""

    english: str
    spanish: tuple[str, str]
    than: Phrase
    copula: str = "ser"
    ends: bool = False

    def render(self, subject: Phrase) -> Rendered:
        """Agreeing in number only."""
        english, spanish, mask = self.than.render()
        form = self.spanish[1 if subject.plural else 0]
        return f"{self.english} than {english}", f"{form} que {spanish}", mask | _COMPARATIVE | BIT["ser"]


@dataclass(slots=True, eq=False)
class Profession:
    """What someone is; without article unless an adjective stands with it."""

    noun: Noun
    adjective: Adjective | None = None
    copula: str = "ser"
    ends: bool = True

    def render(self, subject: Phrase) -> Rendered:
        """Agreeing with the subject."""
        plural, feminine = subject.plural, subject.feminine
        determiner: Determiner = BARE if plural or self.adjective is None else A
        phrase = NounPhrase(
            self.noun,
            determiner,
            plural=plural,
            adjective=self.adjective,
            marked_feminine=feminine,
        )
        english, spanish, mask = phrase.render()
        mask |= BIT["ser"]
        if self.adjective is None:
            mask |= BIT["profession"]
            if not plural:
                english = NounPhrase(self.noun, A).render()[0]
        if feminine and self.noun.spanish[1] != self.noun.spanish[0]:
            mask |= _GENDER_AGREEMENT
        return english, spanish, mask


@dataclass(slots=True, eq=False)
class Located:
    """Where something is."""

    place: Place | Adverb
    copula: str = "estar"
    ends: bool = False

    def render(self, subject: Phrase) -> Rendered:
        """The same for every subject."""
        english, spanish, mask = (
            self.place.render()
            if isinstance(self.place, Place)
            else (
                self.place.english,
                self.place.spanish,
                0,
            )
        )
        return english.strip(), spanish.strip(), mask | BIT["location"] | BIT["estar"]


@dataclass(slots=True, eq=False)
class State:
    """Hunger, thirst, haste and the like: *be* + adjective is *tener* + noun."""

    state: TenerState
    very: bool = False
    copula: str = "tener"
    ends: bool = True

    def render(self, subject: Phrase) -> Rendered:
        """The same for every subject."""
        state = self.state
        mask = BIT["tener_expression"]
        if not self.very:
            return state.english, state.spanish, mask
        much = "mucha" if state.feminine else "mucho"
        return f"very {state.english}", f"{much} {state.spanish}", mask


@dataclass(slots=True, eq=False)
class Age:
    """How old someone is."""

    number: Determiner
    copula: str = "tener"
    ends: bool = False

    def render(self, subject: Phrase) -> Rendered:
        """The same for every subject."""
        mask = BIT["tener_expression"] | BIT["number"]
        return f"{self.number.english[1]} years old", f"{self.number.spanish[1]} años", mask


@dataclass(slots=True, eq=False)
class Asked:
    """The gap of *where is ...*, *how is ...* and *how old is ...*."""

    copula: str = "estar"
    mask: int = BIT["estar"] | BIT["location"]
    ends: bool = False

    def render(self, subject: Phrase) -> Rendered:
        """Nothing but the mask."""
        return "", "", self.mask


@dataclass(slots=True, eq=False)
class Liking:
    """*gustar*, *encantar*: the one who likes is the indirect object, what is liked the subject.

    Args:
        stimulus: A noun phrase, or English and Spanish of an activity (*swim*, *nadar*).
    """

    experiencer: Phrase
    verb: Verb
    stimulus: NounPhrase | Pair | tuple[str, str]
    tense: int = PRESENT
    negative: bool = False
    question: int = STATEMENT
    much: bool = False
    asked: tuple[str, str] | None = None

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        who, stimulus = self.experiencer, self.stimulus
        who_english, who_spanish, mask = who.render()
        if isinstance(who, Pronoun):
            mask = 0  # the one who likes is no subject in Spanish: nothing is dropped
        if isinstance(stimulus, tuple):
            english, spanish = f" to {stimulus[0]}", stimulus[1]
            thing_mask, person = 0, 2
        else:
            english, spanish, thing_mask = stimulus.render()
            english, person = f" {english}", stimulus.person
        finite, _, irregular = self.verb.spanish_groups[self.tense * 5 + person]
        mask |= thing_mask | _GUSTAR | _QUESTION[self.question] | _TENSE_MASK[self.tense]
        if irregular:
            mask |= _IRREGULAR
        if self.negative:
            mask |= _NEGATION
        if isinstance(who, Pronoun):
            clitic, subject = who.dative, ""
        else:
            if who_spanish.startswith("el "):
                mask |= _CONTRACTION
            clitic, subject = ("les" if who.plural else "le"), with_a(who_spanish)
        finite = f"{clitic} {finite}"
        group = f"{finite} mucho" if self.much else finite
        if self.much:
            english = f"{english} a lot"
        said = (who_english, subject, 0)
        cola = f" {spanish}"
        if self.question and subject:
            cola, said = f" {spanish} {subject}", (who_english, "", 0)
        english, spanish = _assemble(
            said,
            self.verb.english_groups[self.tense * 5 + who.person],
            group,
            "",
            (english, cola),
            negative=self.negative,
            question=self.question,
            asked=self.asked,
        )
        return english, spanish, mask


@dataclass(slots=True, eq=False)
class Hurting:
    """*my head hurts*: the owner is the indirect object, the part takes the article.

    Args:
        owner: A pronoun, a person or a noun phrase; `word` is the English possessive of a pronoun.
    """

    owner: Phrase
    verb: Verb
    part: Noun
    plural: bool = False
    word: str = ""
    negative: bool = False
    question: int = STATEMENT
    much: bool = False
    time: Adverb | None = None

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        owner, part = self.owner, self.part
        number = 1 if self.plural else 0
        agreement = number + (2 if part.feminine else 0)
        article = ("el", "los", "la", "las")[agreement]
        body = f"{article} {part.spanish[0][number]}"
        mask = _GUSTAR | _POSSESSIVE | BIT["present"] | _QUESTION[self.question]
        if part.feminine:
            mask |= _GENDER_AGREEMENT
        if number:
            mask |= _NUMBER_AGREEMENT
        if isinstance(owner, Pronoun):
            english, subject, clitic = f"{self.word} {part.english[number]}", "", owner.dative
        else:
            owner_english, owner_spanish, owner_mask = owner.render()
            english = f"{owner_english}'s {part.english[number]}"
            mask |= owner_mask | (_CONTRACTION if owner_spanish.startswith("el ") else 0)
            subject, clitic = with_a(owner_spanish), "le"
        person = 4 if self.plural else 2
        finite, _, irregular = self.verb.spanish_groups[person]
        if irregular:
            mask |= _IRREGULAR
        if self.negative:
            mask |= _NEGATION
        tail, cola = (" a lot", f" mucho {body}") if self.much else ("", f" {body}")
        if self.question and subject:
            cola, subject = f"{cola} {subject}", ""
        if self.time is not None:
            mask |= self.time.mask
            tail, cola = f"{tail} {self.time.english}", f"{cola} {self.time.spanish}"
        english, spanish = _assemble(
            (english, subject, 0),
            self.verb.english_groups[person],
            f"{clitic} {finite}",
            "",
            (tail, cola),
            negative=self.negative,
            question=self.question,
        )
        return english, spanish, mask


@dataclass(slots=True, eq=False)
class Existence:
    """*there is*: *hay*, *había*, *habrá*, the same for singular and plural."""

    thing: NounPhrase
    place: Place | None
    tense: int = PRESENT
    negative: bool = False
    question: int = STATEMENT

    def render(self) -> Rendered:
        """English, Spanish, mask. Asked with *how many*, the noun phrase opens the question."""
        english, spanish, mask = self.thing.render()
        person = 4 if self.thing.plural else 2
        mask |= BIT["existential"] | _QUESTION[self.question]
        hay = {PRESENT: "hay", PAST: "había", FUTURE: "habrá"}[self.tense]
        mask |= _IMPERFECT if self.tense == PAST else _TENSE_MASK[self.tense]
        where = donde = ""
        if self.place is not None:
            where, donde, place_mask = self.place.render()
            mask |= place_mask
        positive, _, auxiliary, rest = _BE[self.tense * 5 + person]
        if self.question == WH:
            rest = f" {rest}" if rest else ""
            return f"{english} {auxiliary} there{rest}{where}", f"{spanish} {hay}{donde}", mask
        if self.question == YES_NO:
            rest = f" {rest}" if rest else ""
            return f"{auxiliary} there{rest} {english}{where}", f"{hay} {spanish}{donde}", mask
        if self.negative:
            mask |= _NEGATION
            return f"there {positive} no {english}{where}", f"no {hay} {spanish}{donde}", mask
        return f"there {positive} {english}{where}", f"{hay} {spanish}{donde}", mask


@dataclass(slots=True, eq=False)
class Order:
    """An imperative to one person."""

    verb: Verb
    object: Phrase | None = None
    personal: bool = False
    recipient: Pronoun | None = None
    place: Place | None = None
    manner: Adverb | None = None
    please: int = 0

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        mask = BIT["imperative"]
        english, spanish = self.verb.english.base, self.verb.spanish.imperative
        clitics = ""
        tail = cola = ""
        if isinstance(self.object, Pronoun):
            tail, clitics = f" {self.object.english_object}", self.object.accusative
            mask |= _CLITIC
        elif self.object is not None:
            object_english, object_spanish, object_mask = self.object.render()
            mask |= object_mask
            if self.personal:
                mask |= _PERSONAL_A | (_CONTRACTION if object_spanish.startswith("el ") else 0)
                object_spanish = with_a(object_spanish)
            tail, cola = f" {object_english}", f" {object_spanish}"
        if self.recipient is not None:
            mask |= _INDIRECT | _CLITIC
            to = self.recipient.english_object
            tail = f"{tail} to {to}" if clitics or self.verb.needs_to else f" {to}{tail}"
            clitics = self.recipient.dative + clitics
        if clitics:
            two = self.recipient is not None and isinstance(self.object, Pronoun)
            spanish = accent_imperative(spanish, 2 if two else 1) + clitics
        if self.place is not None:
            place_english, place_spanish, place_mask = self.place.render()
            tail, cola, mask = tail + place_english, cola + place_spanish, mask | place_mask
        if self.manner is not None:
            tail = f"{tail} {self.manner.english}"
            cola = f" {self.manner.spanish}{cola}" if self.manner.early else f"{cola} {self.manner.spanish}"
        english, spanish = f"{english}{tail}", f"{spanish}{cola}"
        if self.please == 1:
            return f"please {english}", f"por favor, {spanish}", mask
        if self.please == 2:
            return f"{english}, please", f"{spanish}, por favor", mask
        return english, spanish, mask


@dataclass(slots=True, eq=False)
class Opinion:
    """*say, think, know that*."""

    subject: Phrase
    verb: Verb
    content: Clause
    negative: bool = False
    question: int = STATEMENT

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        said = self.subject.render()
        person = self.subject.person
        finite, _, irregular = self.verb.spanish_groups[person]
        english, spanish, mask = self.content.render()
        mask |= said[2] | _SUBORDINATION | BIT["present"] | _QUESTION[self.question]
        if irregular:
            mask |= _IRREGULAR
        english, spanish = _assemble(
            said,
            self.verb.english_groups[person],
            finite,
            "",
            (f" that {english}", f" que {spanish}"),
            negative=self.negative,
            question=self.question,
        )
        return english, spanish, mask


@dataclass(slots=True, eq=False)
class Relative:
    """A relative clause after its noun; `clause` has a `Gap` as subject or lacks its object."""

    link: str
    clause: Clause

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        english, spanish, mask = self.clause.render()
        return f"{self.link} {english}", f"que {spanish}", mask


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """A conjunction between clauses; `spanish` empty means *y* or *e* by what follows."""

    english: str
    spanish: str
    mask: int


AND = Link(" and ", "", _COORDINATION)
BUT = Link(", but ", ", pero ", _COORDINATION)
BECAUSE = Link(" because ", " porque ", _SUBORDINATION)
WHEN = Link(" when ", " cuando ", _SUBORDINATION)


@dataclass(slots=True, eq=False)
class Compound:
    """Clauses joined by conjunctions, from left to right."""

    first: Clause
    others: list[tuple[Link, Clause]]

    def render(self) -> Rendered:
        """English, Spanish, mask."""
        english, spanish, mask = self.first.render()
        for link, clause in self.others:
            next_english, next_spanish, next_mask = clause.render()
            conjunction = link.spanish
            if not conjunction:
                word = and_before(next_spanish)
                conjunction = f" {word} "
                if word == "e":
                    mask |= BIT["euphonic_conjunction"]
            english = f"{english}{link.english}{next_english}"
            spanish = f"{spanish}{conjunction}{next_spanish}"
            mask |= next_mask | link.mask
        return english, spanish, mask
