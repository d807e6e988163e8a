"""Verbs turned around, orders and whole kinds."""

from __future__ import annotations

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.being import Being
from recambio.data.grammar.choices import ACTIVITIES, PASSING
from recambio.data.grammar.derivation import Unsuitable
from recambio.data.grammar.lexicon import (
    FUTURE,
    PAST,
    PRESENT,
    Noun,
)
from recambio.data.grammar.pools import ANIMATE, DEFINITE
from recambio.data.grammar.times import (
    MANNERS,
    STATE_TIMES,
)

_POSSESSIVES = (
    ("my", p.I),
    ("your", p.YOU),
    ("his", p.HE),
    ("her", p.SHE),
    ("our", p.WE),
    ("their", p.THEY),
)


class Experience(Being):
    """Verbs turned around, orders and whole kinds."""

    def liking(self) -> c.Clause:
        """Someone likes something, a kind of things or an activity."""
        random = self.random
        adores = random() < 0.25
        verb = self.book.verbs["adore" if adores else "like"]
        self.use_verb(verb)
        who = self.human(short=True)
        tense = PRESENT
        stimulus: p.NounPhrase | p.Pair | tuple[str, str]
        roll = random()
        if roll < 0.4:
            stimulus = self.generic(self.kinds_of_thing)
        elif roll < 0.7:
            stimulus = self.phrase(self.noun(self.enjoyed), DEFINITE, modified=0.2)
            tense = self.pick((PRESENT, PRESENT, PAST, PAST, FUTURE))
            if adores and tense == FUTURE:
                tense = PAST
        else:
            stimulus = self.activity()
        clause = c.Liking(who, verb, stimulus, tense)
        roll = random()
        if roll < 0.16:
            clause.negative = not adores
        elif roll < 0.34 and self.may_ask(who) and not adores:
            clause.question = c.YES_NO
        elif roll < 0.45 and not adores and not isinstance(stimulus, tuple):
            clause.much = True
        return clause

    def generic(self, nouns: tuple[Noun, ...]) -> p.NounPhrase:
        """A whole kind: *cats*, *coffee*."""
        noun = self.noun(nouns)
        return self.phrase(noun, modified=0.12, determiner=p.GENERIC, plural=not noun.singular_only)

    def activity(self) -> tuple[str, str]:
        """An activity in the infinitive, in both languages."""
        if self.random() < 0.45:
            verb = self.book.verbs[self.pick(ACTIVITIES)]
            self.use_verb(verb)
            return verb.english.base, verb.spanish.infinitive
        frame = self.pick(self.hobbies)
        self.use_verb(frame.verb)
        noun = self.noun(frame.objects, frame.verb)
        plural = not noun.singular_only
        determiner = p.BARE
        if frame.verb.key == "play_music.v":
            determiner, plural = p.THE, False
        english, spanish, _ = p.NounPhrase(noun, determiner, plural=plural).render()
        return (
            f"{frame.verb.english.base} {english}",
            f"{frame.verb.spanish.infinitive} {spanish}",
        )

    def hurting(self) -> c.Clause:
        """A part of the body hurts."""
        verb = self.book.verbs["hurt"]
        self.use_verb(verb)
        part = self.noun(self.body)
        plural = "pair" in part.classes and self.random() < 0.5
        word = ""
        owner: p.Phrase
        if self.random() < 0.45:
            word, owner = self.pick(_POSSESSIVES)
            if owner.plural and not plural:
                raise Unsuitable
        else:
            owner = self.someone()
        clause = c.Hurting(owner, verb, part, plural, word)
        roll = self.random()
        if roll < 0.12:
            clause.negative = True
        elif roll < 0.35 and self.may_ask(owner):
            clause.question = c.YES_NO
        elif roll < 0.5:
            clause.much = True
        if self.random() < 0.2:
            clause.time = self.pick(STATE_TIMES[PRESENT])
        return clause

    def order(self) -> c.Clause:
        """An order to a friend."""
        random = self.random
        roll = random()
        recipient = None
        if roll < 0.35:
            frame = self.pick(self.giving)
            recipient = p.I if random() < 0.75 else p.WE
        elif roll < 0.9:
            frame = self.pick(self.orderable)
        else:
            frame = self.pick(self.friendly)
        verb = frame.verb
        self.use_verb(verb)
        order = c.Order(verb, recipient=recipient)
        if frame.animate_object:
            order.personal = True
            if random() < 0.4:
                order.object = self.person()
            else:
                noun = self.noun(frame.objects, verb)
                order.object = self.phrase(noun, ANIMATE, modified=0.1)
        elif random() < 0.1:
            order.object = p.IT if random() < 0.6 else p.THEY
        else:
            noun = self.noun(frame.objects, verb)
            order.object = self.phrase(noun, DEFINITE, modified=0.3)
        if recipient is None and random() < 0.25:
            if frame.manners:
                order.manner = MANNERS[self.pick(frame.manners)]
            elif frame.places:
                order.place = self.place(frame.places)
        roll = random()
        order.please = 1 if roll < 0.25 else 2 if roll < 0.5 else 0
        return order

    def kind(self) -> c.Clause:
        """What a whole kind does or is like."""
        random = self.random
        if random() < 0.4:
            noun = self.noun(self.generic_things)
            adjective = self.pick(noun.gradable or self.predicates)
            if not noun.gradable or adjective.english in PASSING:
                raise Unsuitable
            self.use(adjective)
            self.relate(adjective, noun)
            subject = p.NounPhrase(noun, p.GENERIC, plural=True)
            clause = c.Copula(subject, c.Quality(adjective, very=random() < 0.25))
            self.color_copula(clause)
            return clause
        frame = self.pick(self.natural)
        self.use_verb(frame.verb)
        noun = self.noun(frame.subjects, frame.verb)
        plain = random() < 0.7
        subject = self.phrase(noun, modified=0.12, determiner=p.GENERIC, plural=True)
        action = c.Action(subject, frame.verb, PRESENT)
        self.color(action, None)
        if frame.objects:
            other = self.noun(frame.objects, frame.verb)
            action.object = self.phrase(other, modified=0.1, determiner=p.BARE, plural=not other.singular_only)
        if frame.places and (plain or frame.verb.key == "live.v"):
            action.place = self.place(frame.places)
        elif frame.manners and random() < 0.5:
            action.manner = MANNERS[self.pick(frame.manners)]
        return action
