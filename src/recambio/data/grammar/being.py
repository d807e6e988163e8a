"""Patterns of being: quality, profession, place, need, age, comparison, existence."""

from __future__ import annotations

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.actions import Actions
from recambio.data.grammar.choices import HARMONY
from recambio.data.grammar.derivation import Unsuitable
from recambio.data.grammar.lexicon import (
    FUTURE,
    GOING_TO,
    PAST,
    PRESENT,
    WANT,
    Adjective,
    Noun,
)
from recambio.data.grammar.phenomena import BIT
from recambio.data.grammar.pools import DEFINITE
from recambio.data.grammar.times import (
    ADULT_AGE,
    AGES,
    AMOUNTS,
    COUNTS,
    OFTEN,
    OLD_AGE,
    SMALL,
    STATE_TIMES,
)

_MORE = p.Determiner(("more", "more"), ("más", "más", "más", "más"))
_NEAR = (p.NEAR, p.BEHIND, p.IN_FRONT_OF, p.NEXT_TO)


class Being(Actions):
    """Patterns of being: quality, profession, place, need, age, comparison, existence."""

    def copula_subject(self, noun: Noun) -> p.NounPhrase:
        """A definite subject of a copula."""
        return self.phrase(noun, DEFINITE, modified=0.0)

    def quality(self) -> c.Clause:
        """Someone or something is so."""
        random = self.random
        wanted: Adjective | None = None
        subject: p.Phrase
        if random() < 0.42:
            subject = self.human(short=True)
            if isinstance(subject, p.NounPhrase):
                options: tuple[Adjective, ...] = subject.noun.predicates
            else:
                options = self.human_states if random() < 0.5 else self.human_qualities
        else:
            wanted = self.pick(self.predicates)
            noun = self.noun(self.fits[wanted.key])
            subject = self.copula_subject(noun)
            options = noun.predicates
        adjective = wanted or self.pick(options)
        self.describe(adjective, subject)
        state = adjective.copula == "estar"
        tense = self.copula_tense(state=state)
        predicate = c.Quality(adjective, very=adjective.intensified and random() < 0.2)
        clause = c.Copula(subject, predicate, tense)
        roll = random()
        counted = isinstance(subject, p.NounPhrase) and subject.determiner is p.ALL
        if roll < 0.14:
            clause.negative = not counted
        elif roll < 0.3 and self.may_ask(subject):
            clause.question = c.YES_NO
        elif roll < 0.45:
            second = self.harmonious(adjective, options)
            if second is not None:
                self.describe(second, subject)
                predicate.also, predicate.very = second, False
        elif state and tense == PRESENT and roll < 0.52:
            clause.frequency = self.pick(OFTEN)
        if state and clause.frequency is None and random() < 0.22:
            clause.time = self.pick(STATE_TIMES[tense])
        return clause

    def describe(self, adjective: Adjective, subject: p.Phrase) -> None:
        """Note an adjective as the predicate of a subject."""
        if adjective in self.words:
            raise Unsuitable
        self.use(adjective)
        if isinstance(subject, p.NounPhrase):
            self.relate(adjective, subject.noun)

    def harmonious(self, adjective: Adjective, options: tuple[Adjective, ...]) -> Adjective | None:
        """A second quality that goes with the first."""
        for group in HARMONY:
            if adjective.english in group:
                others = [
                    a for a in options if a is not adjective and a.english in group and a.copula == adjective.copula
                ]
                if not others:
                    return None
                other = self.pick(others)
                if self.random() < 0.5:
                    other = next((a for a in others if a.spanish[0].startswith("i")), other)
                return other
        return None

    def copula_tense(self, *, state: bool) -> int:
        """Present, past or, of states, future."""
        if self.period:
            return {"past": PAST, "present": PRESENT, "future": FUTURE}[self.period]
        roll = self.random()
        if roll < 0.68:
            return PRESENT
        return FUTURE if state and roll > 0.92 else PAST

    def profession(self) -> c.Clause:
        """What someone is."""
        subject: p.Phrase
        roll = self.random()
        if roll < 0.35:
            subject = self.pick(self.pronouns)
        elif roll < 0.6:
            subject = self.person()
        elif roll < 0.66:
            subject = self.two_people()
        else:
            subject = self.copula_subject(self.noun(self.relatives))
        noun = self.noun(self.professions)
        predicate = c.Profession(noun)
        if noun.before_noun and self.random() < 0.3:
            adjective = self.pick(noun.before_noun)
            if not adjective.definite_only:
                self.use(adjective)
                self.relate(adjective, noun)
                predicate.adjective = adjective
        tense = self.pick((PRESENT, PRESENT, PRESENT, PRESENT, PAST, FUTURE, WANT, WANT, GOING_TO))
        clause = c.Copula(subject, predicate, tense)
        self.color_copula(clause)
        return clause

    def color_copula(self, clause: c.Copula, *, asked: float = 0.16) -> None:
        """Make it negative or a question."""
        roll = self.random()
        if roll < 0.14:
            clause.negative = not (isinstance(clause.subject, p.NounPhrase) and clause.subject.determiner is p.ALL)
        elif roll < 0.14 + asked and self.may_ask(clause.subject):
            clause.question = c.YES_NO

    def location(self) -> c.Clause:
        """Where someone or something is."""
        roll = self.random()
        subject: p.Phrase
        place: p.Place | p.Adverb
        if roll < 0.22:
            subject = self.person()
            if roll < 0.07:
                subject = self.two_people()
            elif roll < 0.14 and not self.named:
                subject = self.pick(self.pronouns)
            place = self.whereabouts(self.friend, definite=True)
        else:
            noun = self.noun(self.placed)
            subject = self.phrase(noun, DEFINITE, modified=0.15)
            place = self.whereabouts(noun, definite=True)
        tense = self.copula_tense(state=False)
        clause = c.Copula(subject, c.Located(place), tense)
        self.color_copula(clause)
        if tense == PAST and self.random() < 0.15:
            clause.time = self.pick(STATE_TIMES[PAST])
        return clause

    def whereabouts(self, noun: Noun, *, definite: bool) -> p.Place | p.Adverb:
        """Where a noun may be found.

        Args:
            definite: Cities and *at home* are among the answers.
        """
        roll = self.random()
        classes = noun.classes
        if noun.is_person:
            if definite and roll < 0.12:
                return p.Place(p.IN, self.pick(self.named_cities))
            if definite and roll < 0.2:
                return p.HOME_IN
            if roll < 0.32:
                return self.beside(self.pick(_NEAR), self.buildings)
            site = self.noun(self.rooms if roll < 0.5 else self.gathering)
            return p.Place(self.prepositions[site.key], self.site(site))
        if noun.is_animate:
            if "wild" in classes:
                return self.inside("forest")
            if roll < 0.35 and ("pet" in classes or "little" in classes):
                return self.beside(self.pick((p.UNDER, p.NEXT_TO, p.BEHIND)), self.surfaces)
            return self.within(self.outdoors)
        if "drink" in classes:
            return self.within(self.vessels if roll < 0.7 else self.kitchens)
        if "food" in classes:
            if roll < 0.5:
                return self.beside(p.ON, self.tables)
            return self.within(self.kitchens if roll < 0.75 else self.baskets)
        if "vehicle" in classes:
            if "boat" in noun.english:
                return self.within(self.waters)
            if roll < 0.3:
                return self.within(self.streets)
            return self.beside(self.pick(_NEAR), self.buildings)
        if "building" in classes:
            return self.beside(self.pick(_NEAR), self.landmarks)
        if "furniture" in classes:
            return self.within(self.rooms)
        if "clothing" in classes:
            if roll < 0.6:
                return self.beside(self.pick((p.ON, p.ON, p.UNDER)), self.surfaces)
            return self.within(self.holders)
        if roll < 0.55:
            return self.beside(self.pick((p.ON, p.ON, p.UNDER, p.NEXT_TO)), self.surfaces)
        if roll < 0.8 and "holds" not in classes:
            return self.within(self.holders)
        return self.within(self.rooms)

    def beside(self, preposition: p.Preposition, nouns: tuple[Noun, ...]) -> p.Place:
        """On, under, near ... one of some things."""
        noun = self.noun(nouns)
        return p.Place(preposition, self.phrase(noun, modified=0.12, determiner=p.THE, plural=False))

    def within(self, nouns: tuple[Noun, ...]) -> p.Place:
        """In one of some things."""
        noun = self.noun(nouns)
        return p.Place(self.prepositions[noun.key], self.site(noun, modified=0.15))

    def inside(self, word: str) -> p.Place:
        """In one place."""
        return self.within((self.book.nouns[word],))

    def need(self) -> c.Clause:
        """Hunger, thirst, sleep, fear, haste."""
        state = self.pick(self.states)
        self.use(state)
        if self.random() < 0.2 and state.english != "in a hurry":
            subject: p.Phrase = self.copula_subject(self.noun(self.generic_subjects))
        else:
            subject = self.human(short=True)
        very = state.english != "in a hurry" and self.random() < 0.25
        tense = PRESENT if self.random() < 0.72 else PAST
        clause = c.Copula(subject, c.State(state, very=very), tense)
        self.color_copula(clause)
        if clause.question == c.STATEMENT and not clause.negative and self.random() < 0.2:
            clause.frequency = self.pick(OFTEN) if tense == PRESENT else None
        elif self.random() < 0.25:
            clause.time = self.pick(STATE_TIMES[tense])
        return clause

    def age(self) -> c.Clause:
        """How old someone is."""
        self.use(self.book.nouns["year"])
        if self.random() < 0.12:
            subject: p.Phrase = self.copula_subject(self.noun(self.pets))
        else:
            subject = self.human(short=True)
        number = self.pick(self.ages(subject))
        roll = self.random()
        tense = PRESENT if roll < 0.75 else PAST if roll < 0.88 else FUTURE
        clause = c.Copula(subject, c.Age(number), tense)
        self.color_copula(clause, asked=0.1)
        return clause

    @staticmethod
    def ages(subject: p.Phrase) -> tuple[p.Determiner, ...]:
        """The ages that someone may have."""
        if not isinstance(subject, p.NounPhrase):
            return AGES
        classes = subject.noun.classes
        if not subject.noun.is_person:
            return (*SMALL, *AGES[:5])
        if "child" in classes:
            return AGES[:ADULT_AGE]
        if "elder" in classes:
            return AGES[OLD_AGE:]
        return AGES[ADULT_AGE:] if "adult" in classes or subject.noun.singular_only else AGES

    def comparison(self) -> c.Clause:
        """One is more, less or as ... as another."""
        random = self.random
        than: p.Phrase
        subject: p.Phrase
        if random() < 0.5:
            adjective = self.pick(self.human_grades)
            subject = self.pick(self.pronouns) if random() < 0.25 else self.someone()
            self.describe(adjective, subject)
            if not isinstance(subject, p.Pronoun) and random() < 0.3:
                than = self.pick(self.pronouns)
            else:
                than = self.someone()
                if isinstance(than, p.NounPhrase):
                    self.relate(adjective, than.noun)
        else:
            noun = self.noun(self.graded)
            adjective = self.pick(noun.gradable)
            self.use(adjective)
            self.relate(adjective, noun)
            subject, than = self.rival_phrases(noun, adjective)
        roll = random()
        relation = "more" if roll < 0.6 else "as"
        if roll > 0.75 and adjective.comparative.startswith("more "):
            relation = "less"
        predicate = c.Quality(adjective, than=than, relation=relation, ends=False)
        clause = c.Copula(subject, predicate, PRESENT if random() < 0.85 else PAST)
        self.color_copula(clause)
        return clause

    def someone(self) -> p.Phrase:
        """A person by name or a definite description."""
        if self.random() < 0.45:
            return self.person()
        noun = self.noun(self.people)
        return self.phrase(noun, DEFINITE, modified=0.0, plural=False)

    def rival_phrases(self, noun: Noun, adjective: Adjective) -> tuple[p.Phrase, p.Phrase]:
        """Two things that share a quality: of one kind, or of two kinds of one class."""
        roll = self.random()
        if roll < 0.55:
            first_class = self.rank[noun.key]
            rivals = [n for n in self.rivals[adjective.key] if n is not noun and self.rank[n.key] == first_class]
            if rivals:
                other = self.noun(rivals, adjective)
                return (
                    self.phrase(noun, DEFINITE, modified=0.0, plural=False),
                    self.phrase(other, DEFINITE, modified=0.0, plural=False),
                )
        if noun.is_owned and roll < 0.8:
            plural = self.random() < 0.2
            one, two = self.pick(self.owner_pairs)
            return tuple(  # type: ignore[return-value]
                self.phrase(noun, modified=0.0, determiner=d, plural=plural) for d in (one, two)
            )
        plural = self.random() < 0.25
        this, that = (self.phrase(noun, modified=0.0, determiner=d, plural=plural) for d in (p.THIS, p.THAT))
        return this, that

    def ranking(self) -> c.Clause:
        """Better and worse."""
        noun = self.noun(self.good_nouns)
        better = self.random() < 0.6
        adjective = self.good if better else self.bad
        self.use(adjective)
        self.relate(adjective, noun)
        plural = self.random() < 0.3 and not noun.singular_only
        one, two = self.pick((*self.owner_pairs, (p.THIS, p.THAT), (p.THIS, p.THAT)))
        if not noun.is_owned:
            one, two = p.THIS, p.THAT
        subject = self.phrase(noun, modified=0.0, determiner=one, plural=plural)
        than = self.phrase(noun, modified=0.0, determiner=two, plural=plural)
        forms = ("mejor", "mejores") if better else ("peor", "peores")
        predicate = c.Ranking("better" if better else "worse", forms, than)
        clause = c.Copula(subject, predicate, PRESENT)
        self.color_copula(clause)
        return clause

    def more_than(self) -> c.Clause:
        """*has more books than Ana*."""
        frame = self.pick(self.countable)
        verb = frame.verb
        self.use_verb(verb)
        subject = self.human(short=True)
        noun = self.noun(frame.objects, verb)
        thing = p.NounPhrase(noun, _MORE, plural=not noun.singular_only)
        person = self.someone()
        english, spanish, mask = person.render()
        than = p.Adverb(f"than {english}", f"que {spanish}", mask | BIT["comparative"])
        tense = PRESENT if self.random() < 0.6 else PAST
        action = c.Action(subject, verb, tense, object=thing, manner=than)
        roll = self.random()
        if roll < 0.14:
            action.negative = not isinstance(subject, p.NounPhrase) or subject.determiner is not p.ALL
        elif roll < 0.3 and self.may_ask(subject):
            action.question = c.YES_NO
        return action

    def price(self) -> c.Clause:
        """What a thing costs."""
        verb, euro = self.book.verbs["cost"], self.book.nouns["euro"]
        self.use_verb(verb)
        noun = self.noun(self.priced)
        self.use(euro)
        subject = self.phrase(noun, DEFINITE, modified=0.2)
        amounts = SMALL if "food" in noun.classes else AMOUNTS
        if "vehicle" in noun.classes:
            amounts = AMOUNTS[-3:]
        amount = p.NounPhrase(euro, self.pick(amounts), plural=True)
        roll = self.random()
        tense = PRESENT if roll < 0.65 else PAST if roll < 0.85 else FUTURE
        action = c.Action(subject, verb, tense, object=amount)
        roll = self.random()
        if roll < 0.12:
            action.negative = subject.determiner is not p.ALL
        elif roll < 0.25 and self.asks:
            action.question = c.YES_NO
        return action

    def existence(self) -> c.Clause:
        """There is something somewhere."""
        random = self.random
        noun = self.noun(self.placed)
        place = self.whereabouts(noun, definite=False)
        if noun.is_kin or not isinstance(place, p.Place):
            raise Unsuitable
        negative = random() < 0.15
        question = c.YES_NO if not negative and self.asks and random() < 0.2 else c.STATEMENT
        if negative:
            determiner = p.BARE
        elif noun.is_mass:
            determiner = self.pick((p.BARE, p.BARE, p.A_LOT_OF))
        else:
            determiner = self.pick((p.A, p.A, p.A, p.MANY, p.SOME, p.FEW, *SMALL[:4]))
            if question and determiner in (p.FEW, p.SOME):
                determiner = p.MANY
            if "big" in self.sites(place) and random() < 0.3:
                determiner = self.pick(COUNTS)
        plural = False if noun.is_mass else determiner is p.BARE or determiner.number == 1
        phrase = self.phrase(noun, modified=0.2, determiner=determiner, plural=plural)
        if phrase.determiner is not determiner:
            raise Unsuitable
        roll = random()
        tense = PRESENT if roll < 0.72 else PAST if roll < 0.95 else FUTURE
        return c.Existence(phrase, place, tense, negative, question)

    @staticmethod
    def sites(place: p.Place) -> frozenset[str]:
        """The classes of a place's noun."""
        phrase = place.phrase
        return phrase.noun.classes if isinstance(phrase, p.NounPhrase) else frozenset()
