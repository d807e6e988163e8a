"""Patterns of doing: someone does something, goes somewhere, gives something."""

from __future__ import annotations

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.derivation import Derivation, Unsuitable
from recambio.data.grammar.lexicon import (
    GOING_TO,
    PERFECT,
    PRESENT,
    WANT,
    Frame,
    Noun,
)
from recambio.data.grammar.pools import ANIMATE
from recambio.data.grammar.times import (
    ALREADY,
    MANNERS,
    NEVER,
    OFTEN,
    SMALL,
)

_NOT_NEGATED = frozenset((p.A, p.MANY, p.SOME, p.ALL, p.EVERY, *SMALL))


class Actions(Derivation):
    """Patterns of doing: someone does something, goes somewhere, gives something."""

    def color(self, action: c.Action, frame: Frame | None) -> None:
        """Make a clause negative or a question, or put an adverb of frequency before its verb."""
        roll = self.random()
        subject = action.subject
        counted = isinstance(subject, p.NounPhrase) and subject.determiner in _NOT_NEGATED
        long = isinstance(subject, p.NounPhrase) and subject.relative is not None
        if roll < 0.14:
            action.negative = not counted
        elif roll < 0.28:
            if self.may_ask(subject) and not long:
                action.question = c.YES_NO
        elif roll < 0.40 and not long:
            if action.tense == PRESENT and action.verb.aspect != "state":
                action.frequency = self.pick(OFTEN)
            elif action.tense == PERFECT:
                action.frequency = ALREADY if roll < 0.36 else NEVER
            if action.frequency is NEVER and counted:
                action.frequency = None
        elif (
            roll < 0.415
            and self.asks
            and frame is not None
            and frame.by_people
            and isinstance(subject, p.Person | p.Pronoun)
            and action.tense not in (WANT, GOING_TO)
        ):
            action.subject = p.NOBODY

    def circumstances(self, action: c.Action, frame: Frame, *, place: float = 0.28, time: float = 0.33) -> None:
        """Add manner, place and time."""
        random = self.random
        if frame.manners and random() < 0.2:
            action.manner = MANNERS[self.pick(frame.manners)]
        if frame.places and (random() < place or (action.verb.key == "live.v" and action.manner is None)):
            action.place = self.place(frame.places)
        if random() < time and action.frequency is None:
            action.time = self.time(action.tense, action.verb)
            if (
                action.time is not None
                and self.asks
                and action.question == c.STATEMENT
                and random() < 0.22
                and action.subject is not p.NOBODY
            ):
                action.time_first = True

    def add_object(self, action: c.Action, frame: Frame, noun: Noun | None = None) -> None:
        """Choose what the action is done to, unless `noun` is given."""
        random = self.random
        verb, subject = frame.verb, action.subject
        negated = action.negative or action.frequency is NEVER or subject is p.NOBODY
        having = verb.key == "have.v"
        roll = random() if noun is None else 1.0
        if frame.animate_object and not having:
            if roll < 0.2:
                action.object = self.pronoun_object(subject, frame)
                return
            if roll < 0.42 and self.friend in frame.objects:
                someone = self.person()
                action.object, action.personal = someone, True
                action.reversible = self.swaps(frame, subject, self.friend)
                return
        elif roll < 0.13 and not (having and frame.animate_object):
            action.object = self.thing_pronoun(subject)
            return
        elif roll < 0.21 and not (frame.animate_object or negated or len(frame.objects) < 4):
            action.object = self.two_things(frame, alternative=action.question == c.YES_NO)
            return
        noun = self.noun(frame.objects if noun is None else (noun,), verb)
        role = self.object_role(frame, noun, negated=negated)
        action.object = self.phrase(noun, role, related=0.3)
        action.personal = noun.is_animate and not having
        if action.personal:
            action.reversible = self.swaps(frame, subject, noun)

    def swaps(self, frame: Frame, subject: p.Phrase, other: Noun) -> bool:
        """Whether subject and object could change places."""
        if isinstance(subject, p.NounPhrase):
            return self.can_swap(frame, subject.noun, other)
        return isinstance(subject, p.Person) and self.can_swap(frame, self.friend, other)

    def two_things(self, frame: Frame, *, alternative: bool) -> p.Pair:
        """Two objects joined by *and*, or by *or* in a question."""
        first, second = self.noun(frame.objects, frame.verb), self.noun(frame.objects, frame.verb)
        if self.rank[first.key] != self.rank[second.key]:
            raise Unsuitable
        determiner = self.pick((p.THE, p.BARE, p.BARE, p.MY, p.A)) if first.is_mass or first.is_owned else p.THE
        if determiner is p.A and (first.singular_only or second.singular_only):
            determiner = p.BARE
        plural = determiner is p.BARE
        one, other = (self.phrase(n, modified=0.0, determiner=determiner, plural=plural) for n in (first, second))
        return p.Pair(one, other, is_or=alternative)

    def act(self, frame: Frame, *, noun: Noun | None = None, time: float = 0.33) -> c.Action:
        """A clause of a frame, with everything that may go with it; `noun` is its object, else one is drawn."""
        self.use_verb(frame.verb)
        subject = self.subject(frame)
        action = c.Action(subject, frame.verb, self.tense(frame))
        self.color(action, frame)
        if frame.objects:
            self.add_object(action, frame, noun)
            thing = action.object
            if not isinstance(thing, p.NounPhrase) or thing.relative is None:
                self.circumstances(action, frame, place=0.2, time=time)
        else:
            self.circumstances(action, frame, place=0.4, time=time)
        return action

    def deed(self) -> c.Clause:
        """Someone does something to a thing; a third of the time the thing is drawn first, so that all come up."""
        if self.random() < 0.35:
            noun = self.pick(self.acted_on)
            return self.act(self.pick(self.used_on[noun.key]), noun=noun)
        return self.act(self.pick(self.things))

    def encounter(self) -> c.Clause:
        """A person or an animal does something to another."""
        return self.act(self.pick(self.beings))

    def pastime(self) -> c.Clause:
        """Someone does something."""
        return self.act(self.pick(self.alone))

    def trip(self) -> c.Clause:
        """Someone goes, comes, returns, arrives, leaves or travels."""
        name = self.pick(("go", "go", "come", "return", "arrive", "leave", "travel"))
        verb = self.book.verbs[name]
        self.use_verb(verb)
        action = c.Action(self.human(), verb, self.pick(self.tenses_of(verb)))
        self.color(action, None)
        roll = self.random()
        if name == "travel" or (roll < 0.2 and name != "come"):
            before = {"arrive": p.ARRIVE_IN, "leave": p.LEAVING}.get(name, p.TO)
            action.place = p.Place(before, self.pick(self.named_cities))
        elif roll < 0.3 and name in ("go", "come", "return", "arrive"):
            action.place = p.HOME_TO
        else:
            noun = self.noun(self.destinations)
            before = {"arrive": p.ARRIVE_AT, "leave": p.LEAVING}.get(name, p.TO)
            action.place = p.Place(before, self.site(noun))
        if self.random() < 0.35 and action.frequency is None:
            self.add_time(action)
        return action

    def routine(self) -> c.Clause:
        """Reflexive verbs of daily life."""
        verb = self.pick(self.reflexives)
        self.use_verb(verb)
        action = c.Action(self.human(), verb, self.pick(self.tenses_of(verb)))
        self.color(action, None)
        if self.random() < 0.6 and action.frequency is None:
            self.add_time(action)
        return action

    def add_time(self, action: c.Action) -> None:
        """A time expression, sometimes at the front."""
        action.time = self.time(action.tense, action.verb)
        if action.time and self.asks and action.question == c.STATEMENT and self.random() < 0.22:
            action.time_first = True

    def gift(self) -> c.Clause:
        """Someone gives, sends, shows, tells ... something to someone."""
        frame = self.pick(self.giving)
        verb = frame.verb
        self.use_verb(verb)
        action = c.Action(self.human(), verb, self.tense(frame))
        self.color(action, frame)
        action.recipient = self.recipient(action.subject)
        roll = self.random()
        if roll < 0.15:
            action.object = self.thing_pronoun(action.subject)
        else:
            noun = self.noun(frame.objects, verb)
            negated = action.negative or action.frequency is NEVER or action.subject is p.NOBODY
            action.object = self.phrase(noun, self.object_role(frame, noun, negated=negated), modified=0.25)
        if self.random() < 0.25 and action.frequency is None:
            self.add_time(action)
        return action

    def recipient(self, subject: p.Phrase) -> p.Phrase:
        """To whom."""
        roll = self.random()
        if roll < 0.5:
            return self.personal_pronoun(subject)
        if roll < 0.72:
            return self.person()
        return self.phrase(self.noun(self.people), ANIMATE, modified=0.1)
