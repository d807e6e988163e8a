"""Sentences of two clauses."""

from __future__ import annotations

from collections.abc import Callable

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.choices import FAULTS, SEQUELS, causes
from recambio.data.grammar.derivation import Unsuitable
from recambio.data.grammar.lexicon import (
    FUTURE,
    PAST,
    PAST_PROGRESSIVE,
    PRESENT,
    WANT,
    Frame,
)
from recambio.data.grammar.pools import DEFINITE
from recambio.data.grammar.questions import Questions
from recambio.data.grammar.times import (
    NEVER,
)


class Compounds(Questions):
    """Sentences of two clauses."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.statements: tuple[Callable[[], c.Clause], ...] = (
            self.deed,
            self.deed,
            self.deed,
            self.encounter,
            self.encounter,
            self.pastime,
            self.trip,
            self.quality,
            self.location,
            self.gift,
        )

    def short_act(self, frame: Frame, subject: p.Phrase, tense: int) -> c.Action:
        """A clause with a given subject and little else."""
        self.use_verb(frame.verb)
        if isinstance(subject, p.NounPhrase):
            self.relate(frame.verb, subject.noun)
        action = c.Action(subject, frame.verb, tense)
        if frame.objects:
            noun = self.noun(frame.objects, frame.verb)
            role = self.object_role(frame, noun, negated=False)
            action.object = self.phrase(noun, role, modified=0.15)
            action.personal = noun.is_animate and frame.verb.key != "have.v"
            if action.personal:
                action.reversible = self.swaps(frame, subject, noun)
        elif frame.places and self.random() < 0.4:
            action.place = self.place(frame.places, modified=0.0)
        if frame.verb.key == "live.v" and action.place is None:
            action.place = self.place(frame.places, modified=0.0)
        return action

    def gap(self, subject: p.Phrase) -> p.Gap:
        """The same subject, not said again."""
        return p.Gap(subject.person, subject.feminine, subject.plural)

    def pronoun_for(self, subject: p.Phrase) -> p.Pronoun:
        """The pronoun that takes a subject up again."""
        if isinstance(subject, p.Pronoun):
            return subject
        if subject.person == 3:
            return p.WE
        if subject.plural:
            return p.THEY_FEMININE if subject.feminine else p.THEY
        if isinstance(subject, p.NounPhrase) and not subject.noun.is_person:
            return p.IT_FEMININE if subject.feminine else p.IT
        return p.SHE if subject.feminine else p.HE

    def two_deeds(self) -> c.Clause:
        """One does this and does that."""
        first, second = self.pick(self.done_by_people), self.pick(self.done_by_people)
        if "state" in (first.verb.aspect, second.verb.aspect):
            raise Unsuitable
        subject = self.human(short=True)
        tense = PRESENT if self.random() < 0.4 else PAST
        one = self.short_act(first, subject, tense)
        two = self.short_act(second, self.gap(subject), tense)
        if isinstance(subject, p.NounPhrase):
            self.relate(second.verb, subject.noun)
        return c.Compound(one, [(c.AND, two)])

    def deed_with_it(self) -> c.Clause:
        """One gets a thing and does something with it."""
        first = self.pick(self.first_deeds)
        subject = self.human(short=True)
        tense = PRESENT if self.random() < 0.4 else PAST
        one = self.short_act(first, subject, tense)
        thing = one.object
        if not isinstance(thing, p.NounPhrase) or one.personal:
            raise Unsuitable
        later = [frame for frame in self.used_on[thing.noun.key] if frame.verb.key in SEQUELS[first.verb.key]]
        if not later:
            raise Unsuitable
        second = self.pick(later)
        self.use_verb(second.verb, thing.noun)
        if isinstance(subject, p.NounPhrase):
            self.relate(second.verb, subject.noun)
        two = c.Action(self.gap(subject), second.verb, tense, object=self.pronoun_for_thing(thing))
        return c.Compound(one, [(c.AND, two)])

    def pronoun_for_thing(self, thing: p.NounPhrase) -> p.Pronoun:
        """*it* or *them*, with the gender of what it stands for."""
        if thing.plural:
            return p.THEY_FEMININE if thing.feminine else p.THEY
        return p.IT_FEMININE if thing.feminine else p.IT

    def reason(self) -> c.Clause:
        """Someone does something because of how they are."""
        frame = self.pick(self.acting)
        subject = (
            self.human(short=True)
            if frame.by_people
            else self.phrase(self.noun(frame.subjects), DEFINITE, modified=0.0)
        )
        action = self.short_act(frame, subject, self.tense(frame))
        roll = self.random()
        counted = isinstance(subject, p.NounPhrase) and subject.determiner is p.ALL
        action.negative = roll < 0.3 and not counted
        if action.negative and isinstance(action.object, p.NounPhrase) and not action.object.determiner.definite:
            raise Unsuitable
        tense = PAST if action.tense in (PAST, PAST_PROGRESSIVE) else PRESENT
        return c.Compound(action, [(c.BECAUSE, self.cause(action, tense))])

    def cause(self, action: c.Action, tense: int) -> c.Copula:
        """Why, said of the pronoun of the subject."""
        subject = action.subject
        negative = action.negative or action.frequency is NEVER
        fitting = causes(action.verb.key, negative=negative)
        adjectives = subject.noun.predicates if isinstance(subject, p.NounPhrase) else self.human_states
        animal = isinstance(subject, p.NounPhrase) and not subject.noun.is_person
        options = [a for a in adjectives if a.english in fitting]
        needs = [s for s in self.states if s.english in fitting and not (animal and s.english == "in a hurry")]
        predicate: c.Predicate
        if needs and (not options or self.random() < 0.5):
            state = self.pick(needs)
            self.use(state)
            predicate = c.State(state)
        elif options:
            adjective = self.pick(options)
            self.describe(adjective, subject)
            predicate = c.Quality(adjective, very=adjective.intensified and self.random() < 0.2)
        else:
            raise Unsuitable
        return c.Copula(self.pronoun_for(subject), predicate, tense)

    def reservation(self) -> c.Clause:
        """Someone wants a thing or to do something with it, but it has a fault."""
        frame = self.pick(self.coveting)
        subject = self.human(short=True)
        tense = WANT if frame.verb.progresses else PRESENT
        action = self.short_act(frame, subject, tense)
        thing = action.object
        if not isinstance(thing, p.NounPhrase) or not thing.determiner.definite or thing.adjective:
            raise Unsuitable
        faults = [a for a in thing.noun.predicates if a.english in FAULTS]
        if not faults:
            raise Unsuitable
        fault = self.pick(faults)
        self.describe(fault, thing)
        very = fault.intensified and self.random() < 0.4
        clause = c.Copula(self.pronoun_for(thing), c.Quality(fault, very=very))
        return c.Compound(action, [(c.BUT, clause)])

    def scene(self) -> c.Clause:
        """Someone was doing something when something happened."""
        first = self.pick(self.acting)
        subject = (
            self.human(short=True)
            if first.by_people
            else self.phrase(self.noun(first.subjects), DEFINITE, modified=0.0)
        )
        if not first.verb.progresses:
            raise Unsuitable
        one = self.short_act(first, subject, PAST_PROGRESSIVE)
        roll = self.random()
        if roll < 0.4:
            verb = self.book.verbs[self.pick(("arrive", "leave", "return", "come"))]
            self.use_verb(verb)
            two = c.Action(self.someone(), verb, PAST)
        else:
            second = self.pick(self.people_things)
            if second.verb.aspect == "state":
                raise Unsuitable
            other = self.someone()
            two = self.short_act(second, other, PAST)
        return c.Compound(one, [(c.WHEN, two)])

    def matrix(self, content: c.Clause) -> c.Opinion:
        """*Ana says that* before a statement."""
        verb = self.pick(self.opinions)
        self.use_verb(verb)
        roll = self.random()
        subject: p.Phrase
        if roll < 0.45:
            subject = self.pick(self.pronouns)
        elif roll < 0.75:
            subject = self.person()
        else:
            subject = self.phrase(self.noun(self.people), DEFINITE, modified=0.0, plural=False)
        opinion = c.Opinion(subject, verb, content)
        askable = verb.key == "know_that.v" and isinstance(subject, p.Pronoun) and subject is not p.I
        if askable and not self.period and self.random() < 0.3:
            opinion.question = c.YES_NO
        return opinion

    def opinion(self) -> c.Clause:
        """Someone says, thinks or knows that something is so."""
        self.asks = False
        return self.matrix(self.statement())

    def side_by_side(self) -> c.Clause:
        """Two statements of different subjects."""
        self.asks = False
        first, second = self.pick(self.done_by_people), self.pick(self.done_by_people)
        if "state" in (first.verb.aspect, second.verb.aspect):
            raise Unsuitable
        tense = self.pick((PRESENT, PAST, PAST, FUTURE))
        one, other = self.someone(), self.someone()
        link = self.pick((c.AND, c.AND, c.BUT))
        return c.Compound(
            self.short_act(first, one, tense),
            [(link, self.short_act(second, other, tense))],
        )

    def statement(self) -> c.Clause:
        """A plain statement, part of a longer sentence."""
        return self.pick(self.statements)()
