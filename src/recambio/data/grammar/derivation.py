"""Random derivations: what is said, chosen before it is rendered.

A `Derivation` draws clauses and notes each content word it uses, and whether a held-out pairing stands in a direct
relation (verb and its subject or object, adjective and its noun). So a sentence of the wrong part is dropped before
the cost of rendering. Only ``Random.random`` is used, whose sequence Python guarantees for a given seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from random import Random
from typing import TypeVar

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.choices import (
    CLOCK_VERBS,
    CONTRADICTIONS,
    COUNTABLE,
    COVETING,
    FRIENDLY,
    HOBBIES,
    NEED_RECIPIENT,
    NO_ORDERS,
    SEQUELS,
    TRIP_VERBS,
)
from recambio.data.grammar.lexicon import (
    FUTURE,
    GOING_TO,
    MUST,
    PAST,
    PRESENT,
    PROGRESSIVE,
    Adjective,
    Frame,
    Lexeme,
    Name,
    Noun,
    Verb,
    lexicon,
)
from recambio.data.grammar.pools import (
    ANIMATE,
    DEFINITE,
    NEGATED,
    NO_RELATIONS,
    OBJECT,
    OWNERS,
    PERIODS,
    POOLS,
    RELATIONS,
    SUBJECT,
    TENSES,
    kind_of,
)
from recambio.data.grammar.times import CLOCK, TIMES, TRIP_TIMES

T = TypeVar("T")


class Unsuitable(Exception):
    """The draw led nowhere (a noun twice, no fitting adjective); the caller draws again."""


_PRONOUNS = (p.I, p.I, p.YOU, p.HE, p.SHE, p.WE, p.THEY)


class Derivation:
    """A stream of random clauses.

    Args:
        seed: Two derivations with the same seed draw the same clauses on every machine.

    Attributes:
        words: The content words of the clause drawn last, in the order of their choice, with repetitions.
        held_out: Whether a held-out pairing stands in a direct relation in it.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed).random
        self.words: list[Lexeme] = []
        self.held_out = False
        self.named_people: list[Name] = []
        self.nested = 0
        # The period that all clauses of a sentence keep to.
        self.period = ""
        # Whether subjects must be said: a dropped pronoun would be taken for the subject of the clause before.
        self.named = False
        # Whether clauses may be questions; only a clause that stands alone may.
        self.asks = True
        self.book = lexicon()
        self._index_words()
        self._index_frames()
        self._index_groups()

    def _index_words(self) -> None:
        book = self.book
        self.predicates = tuple(a for a in book.adjectives.values() if a.copula)
        self.fits = {
            adjective.key: tuple(n for n in book.nouns.values() if adjective in n.predicates)
            for adjective in self.predicates
        }
        self.friend = book.nouns["friend"]
        self.pronouns = _PRONOUNS
        # Names before which *y* becomes *e*.
        self.i_names = tuple(name for name in book.names if name.spanish.startswith("I"))
        self.named_cities = tuple(p.Word(english, spanish) for english, spanish in book.cities)
        self.kinds = {noun.key: kind_of(noun) for noun in book.nouns.values()}
        self.prepositions = {
            noun.key: p.ON if "on" in noun.classes else p.AT if "at" in noun.classes else p.IN
            for noun in book.nouns.values()
        }
        self.human_states = tuple(a for a in self.friend.predicates if a.copula == "estar")
        self.human_qualities = tuple(a for a in self.friend.predicates if a.copula == "ser")
        self.human_grades = tuple(a for a in self.human_qualities if a.gradable)
        self.states = tuple(book.states.values())
        self.good, self.bad = book.adjectives["good"], book.adjectives["bad"]
        self.rivals: dict[str, tuple[Noun, ...]] = {
            adjective.key: tuple(n for n in book.nouns.values() if adjective in n.gradable)
            for adjective in book.adjectives.values()
        }
        # Things are compared with things of the same class.
        classes = ("animal", "clothing", "vehicle", "furniture", "building", "place", "dish", "food")
        self.rank = {
            noun.key: next((name for name in classes if name in noun.classes), "other") for noun in book.nouns.values()
        }
        self.owner_pairs = tuple((one, two) for one in OWNERS for two in OWNERS if one.spanish != two.spanish)
        self.opinions = tuple(book.verbs[key] for key in ("say", "think", "know that"))
        self.reflexives = tuple(verb for verb in book.verbs.values() if verb.reflexive)

    def _index_frames(self) -> None:
        book = self.book
        frames = [frame for group in book.frames.values() for frame in group]
        with_things = [f for f in frames if f.objects and not f.animate_object]
        self.things = [f for f in with_things if f.verb.key not in NEED_RECIPIENT]
        self.beings = [f for f in frames if f.animate_object]
        self.alone = [f for f in frames if not f.objects]
        self.giving = [f for f in with_things if f.verb.gives]
        self.people_things = [f for f in self.things if f.by_people]
        self.done_by_people = [
            f
            for f in frames
            if f.by_people and not (f.verb.key == "have.v" and f.animate_object) and f.verb.key not in NEED_RECIPIENT
        ]
        self.human_meetings = [
            f for f in self.beings if f.by_people and self.friend in f.objects and f.verb.key != "have.v"
        ]
        self.orderable = [
            f
            for f in self.people_things
            if f.verb.aspect != "state" and not f.verb.accident and f.verb.key not in NO_ORDERS
        ]
        self.friendly = [f for f in self.human_meetings if f.verb.key in FRIENDLY]
        self.natural = [
            f
            for f in frames
            if f.subjects and f.subjects[0].is_animate and not f.subjects[0].is_person and not f.animate_object
        ]
        self.countable = [f for f in self.people_things if f.verb.key in COUNTABLE]
        self.acting = [f for f in frames if f.verb.progresses and f.verb.key not in ("attack.v",)]
        self.hobbies = [f for f in self.people_things if f.verb.key in HOBBIES]
        self.coveting = [f for f in self.people_things if f.verb.key in COVETING]
        self.first_deeds = [f for f in self.people_things if f.verb.key in SEQUELS]
        self.used_on: dict[str, list[Frame]] = defaultdict(list)
        self.done_by: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            if frame.by_people and frame.verb.key not in NEED_RECIPIENT:
                for noun in dict.fromkeys(frame.objects):
                    self.used_on[noun.key].append(frame)
            for noun in dict.fromkeys(frame.subjects if frame.verb.key not in NEED_RECIPIENT else ()):
                self.done_by[noun.key].append(frame)
        self.acted_on = tuple(noun for noun in book.nouns.values() if noun.key in self.used_on and not noun.is_animate)

    def _index_groups(self) -> None:
        pool = self.book.pool
        nouns = self.book.nouns.values()
        self.people = pool("person")
        self.relatives = pool("kin man woman boy girl neighbor boss")
        self.professions = pool("job -waiter -waitress -actor -actress")
        self.pets = pool("pet horse donkey cow parrot")
        self.destinations = pool("place -kitchen -bathroom -river -street")
        self.graded = tuple(n for n in nouns if n.gradable and not n.is_person and not n.is_mass)
        self.good_nouns = tuple(n for n in nouns if not n.is_person and not n.is_mass and self.good in n.before_noun)
        self.kinds_of_thing = pool("food -butter drink wild pet livestock flower clothing song film")
        self.enjoyed = pool("object clothing vehicle film song text house garden soup coffee wine")
        self.generic_subjects = pool("animal")
        self.generic_things = pool("animal vehicle clothing -tie")
        self.priced = pool("object clothing vehicle fruit cake sandwich salad -letter -key")
        self.body = pool("body")
        self.placed = pool("person animal food drink small furniture vehicle building clothing -plane")
        self.counted = pool("person animal whole small vehicle clothing -plane")
        self.gathering = pool("building park street square beach market station airport garden")
        self.buildings = pool("building station airport")
        self.landmarks = pool("building park square river station bridge")
        self.rooms = pool("kitchen bathroom office classroom library garden")
        self.outdoors = pool("park street garden forest farm square")
        self.surfaces = pool("table desk chair bed sofa")
        self.tables = pool("table plate")
        self.holders = pool("holds")
        self.baskets = pool("basket bag box")
        self.vessels = pool("bottle glass cup")
        self.kitchens = pool("kitchen restaurant store")
        self.waters = pool("lake river beach")
        self.streets = pool("street city village")

    # --- drawing

    def pick(self, options: Sequence[T]) -> T:
        """One of several, equally likely."""
        return options[int(self.random() * len(options))]

    def use(self, word: Lexeme) -> None:
        """Note a content word."""
        self.words.append(word)

    def relate(self, word: Lexeme, noun: Noun) -> None:
        """Note a direct relation between a noun and a verb or an adjective."""
        if noun.index in word.held_out:
            self.held_out = True

    def noun(self, nouns: Sequence[Noun], word: Lexeme | None = None) -> Noun:
        """Draw a noun that is new to the clause, related to `word`."""
        noun = nouns[int(self.random() * len(nouns))]
        if noun in self.words:
            raise Unsuitable
        self.words.append(noun)
        if word is not None and noun.index in word.held_out:
            self.held_out = True
        return noun

    # --- phrases

    def person(self, names: Sequence[Name] = ()) -> p.Person:
        """A first name that is new to the sentence."""
        name = self.pick(names or self.book.names)
        if name in self.named_people:
            raise Unsuitable
        self.named_people.append(name)
        return p.Person(name)

    def two_people(self) -> p.Pair:
        """Two names, or a name and the speaker."""
        first = self.person()
        roll = self.random()
        if roll < 0.12:
            return p.Pair(first, p.I)
        return p.Pair(first, self.person(self.i_names if roll < 0.45 else ()))

    def phrase(
        self,
        noun: Noun,
        role: int = OBJECT,
        *,
        modified: float = 0.33,
        related: float = 0.0,
        determiner: p.Determiner | None = None,
        plural: bool | None = None,
    ) -> p.NounPhrase:
        """A noun phrase around a noun that is already noted.

        Args:
            role: Which determiners may stand.
            modified: How likely an adjective is.
            related: How likely a relative clause is, after the definite article.
            determiner, plural: Given rather than drawn.
        """
        random = self.random
        if determiner is None:
            determiner = self.pick(POOLS[role][self.kinds[noun.key]])
        if noun.singular_only:
            plural = False
            if determiner.number == 1:
                determiner = p.THE if not noun.is_kin else p.MY
        elif noun.in_pairs and determiner.number < 1:
            plural = True
            if determiner.number == 0:
                determiner = p.THE
        elif plural is not None:
            if determiner.number == 1 - plural:
                determiner = p.THE
        else:
            plural = determiner.number == 1 if determiner.number >= 0 else determiner is p.BARE or random() < 0.27
        possessor: p.Phrase | None = None
        if determiner.has_possessor:
            if random() < 0.7:
                possessor = self.person()
            else:
                owner = self.noun(self.people)
                possessor = p.NounPhrase(owner, p.MY if owner.is_kin else p.THE)
        adjective, degree = None, p.PLAIN
        if random() < modified:
            adjective, degree, determiner, plural = self._modify(noun, determiner, plural)
        relative = None
        if related and determiner is p.THE and adjective is None and not self.nested and random() < related:
            relative = self.relative(noun, plural)
        return p.NounPhrase(
            noun,
            determiner,
            plural=plural,
            adjective=adjective,
            degree=degree,
            possessor=possessor,
            relative=relative,
        )

    def _modify(
        self, noun: Noun, determiner: p.Determiner, plural: bool
    ) -> tuple[Adjective | None, int, p.Determiner, bool]:
        random = self.random
        adjective: Adjective
        degree = p.PLAIN
        if noun.before_noun and random() < 0.4:
            adjective = self.pick(noun.before_noun)
            if adjective.definite_only:
                plural = False
                if not (determiner is p.THE or determiner in OWNERS):
                    if determiner.has_possessor:
                        return None, degree, determiner, plural
                    determiner = p.THE
        elif determiner is p.THE and noun.gradable and random() < 0.15:
            adjective, degree = self.pick(noun.gradable), p.SUPERLATIVE
        elif noun.attributes:
            adjective = self.pick(noun.attributes)
            if adjective.intensified and random() < 0.12 and determiner in (p.A, p.THE):
                degree = p.VERY
        else:
            return None, degree, determiner, plural
        if adjective.key in CONTRADICTIONS:
            against = CONTRADICTIONS[adjective.key]
            if any(word.key in against for word in self.words):
                raise Unsuitable
        self.words.append(adjective)
        if noun.index in adjective.held_out:
            self.held_out = True
        return adjective, degree, determiner, plural

    def relative(self, noun: Noun, plural: bool) -> c.Relative:
        """A short relative clause about a noun: the subject, the object, or the subject of a copula."""
        self.nested += 1
        gap = p.Gap(4 if plural else 2, noun.feminine, plural)
        link = "who" if noun.is_person else "that"
        clause: c.Clause
        roll = self.random()
        states = [a for a in noun.predicates if a.copula == "estar"] if noun.is_animate else []
        if not noun.is_animate or roll < 0.35:
            frames = self.used_on[noun.key]
            if not frames:
                raise Unsuitable
            frame = self.pick(frames)
            self.use_verb(frame.verb, noun)
            link = "that"
            clause = c.Action(
                self.subject(frame, short=True),
                frame.verb,
                self.relative_tense(frame.verb),
            )
            if isinstance(clause.subject, p.NounPhrase) and clause.subject.noun is noun:
                raise Unsuitable
        elif states and roll < 0.5:
            adjective = self.pick(states)
            self.use(adjective)
            self.relate(adjective, noun)
            clause = c.Copula(gap, c.Quality(adjective))
        else:
            frame = self.pick(self.done_by[noun.key])
            self.use_verb(frame.verb, noun)
            clause = c.Action(gap, frame.verb, self.relative_tense(frame.verb))
            if frame.objects:
                other = self.noun(frame.objects, frame.verb)
                clause.personal = other.is_animate and frame.verb.key != "have.v"
                role = self.object_role(frame, other, negated=False)
                clause.object = self.phrase(other, role, modified=0.12)
                clause.reversible = frame.reversible and self.can_swap(frame, noun, other)
            elif frame.places and (self.random() < 0.5 or frame.verb.key == "live.v"):
                clause.place = self.place(frame.places, modified=0.0)
        self.nested -= 1
        return c.Relative(link, clause)

    def relative_tense(self, verb: Verb) -> int:
        """A tense that reads well in a relative clause."""
        if verb.aspect == "state":
            return PRESENT
        roll = self.random()
        if roll < 0.45:
            return PAST
        if roll < 0.8 or not verb.progresses:
            return PRESENT
        return PROGRESSIVE

    def use_verb(self, verb: Verb, noun: Noun | None = None) -> None:
        """Note a verb, related to a noun that was noted before."""
        if verb in self.words:
            raise Unsuitable
        self.words.append(verb)
        if noun is not None and noun.index in verb.held_out:
            self.held_out = True

    def human(self, *, short: bool = False, verb: Verb | None = None) -> p.Phrase:
        """A person or people as subject."""
        roll = self.random()
        if roll < 0.3 and not self.named:
            return self.pick(_PRONOUNS)
        if roll < 0.5:
            return self.person()
        if roll < 0.58:
            return self.two_people()
        noun = self.noun(self.people, verb)
        if short:
            return self.phrase(noun, DEFINITE, modified=0.0)
        return self.phrase(noun, SUBJECT, modified=0.25, related=0.45)

    def subject(self, frame: Frame, *, short: bool = False) -> p.Phrase:
        """A subject that fits a frame."""
        if frame.by_people:
            return self.human(short=short, verb=frame.verb)
        noun = self.noun(frame.subjects, frame.verb)
        if short:
            return self.phrase(noun, DEFINITE, modified=0.1)
        return self.phrase(noun, SUBJECT, modified=0.3, related=0.4)

    def tense(self, frame: Frame) -> int:
        """A tense that fits a frame."""
        tense = self.pick(self.tenses_of(frame.verb))
        if tense == MUST and not frame.by_people:
            return PRESENT
        return tense

    def object_role(self, frame: Frame, noun: Noun, *, negated: bool) -> int:
        """Which determiners the object may take."""
        if noun.is_animate and frame.verb.key == "have.v":
            return NO_RELATIONS if negated else RELATIONS
        if noun.is_animate:
            return ANIMATE
        return NEGATED if negated else OBJECT

    def can_swap(self, frame: Frame, subject: Noun, other: Noun) -> bool:
        """Whether subject and object could change places."""
        return subject in frame.objects and other in frame.subjects

    def may_ask(self, subject: p.Phrase) -> bool:
        """Whether the clause may be a question: alone, and not about the speaker."""
        return self.asks and subject is not p.I

    def place(self, places: Sequence[Noun], *, modified: float = 0.12) -> p.Place:
        """Where something happens."""
        if self.random() < 0.25 and any(n.key == "city.n" for n in places):
            return p.Place(p.IN, self.pick(self.named_cities))
        noun = self.noun(places)
        return p.Place(self.prepositions[noun.key], self.site(noun, modified=modified))

    def site(self, noun: Noun, *, modified: float = 0.12) -> p.NounPhrase:
        """The noun phrase of a place."""
        determiner = p.THE
        roll = self.random()
        if roll < 0.08:
            determiner = p.THIS
        elif roll < 0.25 and noun.is_owned:
            determiner = self.pick(OWNERS)
        return self.phrase(noun, modified=modified, determiner=determiner, plural=False)

    def time(self, tense: int, verb: Verb) -> p.Adverb | None:
        """A time expression that fits a tense."""
        if verb.aspect == "state":
            return None
        if verb.key in CLOCK_VERBS and self.random() < 0.4 and tense in (PRESENT, PAST, FUTURE, GOING_TO, MUST):
            return self.pick(CLOCK)
        options = TRIP_TIMES if tense == PRESENT and verb.key in TRIP_VERBS else TIMES[tense]
        return self.pick(options) if options else None

    def tenses_of(self, verb: Verb) -> tuple[int, ...]:
        """The tenses that a verb may stand in, repeated by weight."""
        name = "accident" if verb.accident else "lasting" if verb.lasting else verb.aspect
        return PERIODS[self.period][name] if self.period else TENSES[name]

    def personal_pronoun(self, subject: p.Phrase) -> p.Pronoun:
        """A pronoun that does not point back to the subject."""
        pronoun = self.pick(_PRONOUNS)
        if pronoun is p.THEY and self.has_antecedent(subject):
            raise Unsuitable
        if subject.person in (0, 3) and pronoun.person in (0, 3):
            raise Unsuitable
        if subject.person == pronoun.person == 1:
            raise Unsuitable
        return pronoun

    def pronoun_object(self, subject: p.Phrase, frame: Frame) -> p.Pronoun:
        """An object pronoun; *it* and *them* where only animals fit."""
        if self.friend in frame.objects:
            return self.personal_pronoun(subject)
        return self.thing_pronoun(subject)

    def has_antecedent(self, subject: p.Phrase) -> bool:
        """Whether *it* or *them* could point to a thing named before, and would then need its gender.

        So it is in later clauses and after a relative clause (*The girl who opened the box closed it.*).
        """
        return self.named or (isinstance(subject, p.NounPhrase) and subject.relative is not None)

    def thing_pronoun(self, subject: p.Phrase) -> p.Pronoun:
        """*it* or *them*, pointing out of the sentence.

        Raises:
            Unsuitable: They could point to something inside.
        """
        if self.has_antecedent(subject):
            raise Unsuitable
        return p.IT if self.random() < 0.6 else p.THEY
