"""Questions with a question word."""

from __future__ import annotations

from collections.abc import Callable

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.derivation import Unsuitable
from recambio.data.grammar.experience import Experience
from recambio.data.grammar.lexicon import (
    FUTURE,
    GOING_TO,
    PAST,
    PRESENT,
    Frame,
)
from recambio.data.grammar.phenomena import BIT
from recambio.data.grammar.pools import DEFINITE
from recambio.data.grammar.times import (
    STATE_TIMES,
)


class Questions(Experience):
    """Questions with a question word."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.inquiries: tuple[Callable[[], c.Clause], ...] = (
            self.ask_who,
            self.ask_who,
            self.ask_what,
            self.ask_what,
            self.ask_which,
            self.ask_which,
            self.ask_circumstance,
            self.ask_circumstance,
            self.ask_where,
            self.ask_why,
            self.ask_how,
        )

    def inquiry(self) -> c.Clause:
        """A question with a question word."""
        clause = self.pick(self.inquiries)()
        asked_of = clause.experiencer if isinstance(clause, c.Liking) else getattr(clause, "subject", None)
        if asked_of is p.I:
            raise Unsuitable
        return clause

    def ask_who(self) -> c.Clause:
        """*Who sees the dog?*"""
        frame = self.pick(self.done_by_people)
        self.use_verb(frame.verb)
        tense = self.tense(frame)
        action = c.Action(p.WHO, frame.verb, tense)
        if frame.objects:
            self.add_object(action, frame)
            if isinstance(action.object, p.NounPhrase) and action.object.relative is not None:
                raise Unsuitable
            action.reversible = False
        self.circumstances(action, frame)
        action.time_first = False
        return action

    def asking_action(self, frame: Frame) -> c.Action:
        """A clause to be asked about, with a short subject."""
        self.use_verb(frame.verb)
        return c.Action(self.subject(frame, short=True), frame.verb, self.tense(frame), question=c.WH)

    def ask_what(self) -> c.Clause:
        """*What does Ana eat?*, *Who does Ana see?*"""
        frame = self.pick(self.people_things if self.random() < 0.6 else self.human_meetings)
        action = self.asking_action(frame)
        if frame.animate_object:
            action.asked, action.asked_mask = ("who", "a quién"), BIT["personal_a"]
        else:
            action.asked = ("what", "qué")
        self.circumstances(action, frame, place=0.3, time=0.3)
        action.time_first = False
        return action

    def ask_which(self) -> c.Clause:
        """*Which book ...?*, *How many books ...?*"""
        frame = self.pick(self.people_things)
        action = self.asking_action(frame)
        noun = self.noun(frame.objects, frame.verb)
        if self.random() < 0.5 and not noun.is_mass:
            phrase = self.phrase(noun, modified=0.1, determiner=p.HOW_MANY, plural=True)
        else:
            plural = not noun.is_mass and self.random() < 0.3
            phrase = self.phrase(noun, modified=0.1, determiner=p.WHICH, plural=plural)
        if phrase.determiner not in (p.HOW_MANY, p.WHICH):
            raise Unsuitable
        english, spanish, action.asked_mask = phrase.render()
        action.asked = (english, spanish)
        if self.random() < 0.3:
            action.time = self.time(action.tense, action.verb)
        return action

    def ask_circumstance(self) -> c.Clause:
        """*Where*, *when* and *why* of an action."""
        frame = self.pick(self.done_by_people)
        action = self.asking_action(frame)
        words = [("why", "por qué")]
        if frame.places:
            words += [("where", "dónde")] * 2
        if action.tense in (PAST, FUTURE, GOING_TO) and frame.verb.aspect != "state":
            words += [("when", "cuándo")] * 2
        action.asked = self.pick(words)
        if action.asked[0] == "why" and self.random() < 0.25:
            action.negative = True
        if frame.objects:
            self.add_object(action, frame)
            if isinstance(action.object, p.NounPhrase) and action.object.relative is not None:
                raise Unsuitable
        if action.asked[0] != "when" and self.random() < 0.2:
            action.time = self.time(action.tense, action.verb)
        return action

    def ask_where(self) -> c.Clause:
        """*Where is ...?*, *Where does ... live?*"""
        if self.random() < 0.3:
            verb = self.book.verbs["live"]
            self.use_verb(verb)
            return c.Action(
                self.human(short=True),
                verb,
                PRESENT if self.random() < 0.7 else PAST,
                question=c.WH,
                asked=("where", "dónde"),
            )
        subject = (
            self.human(short=True)
            if self.random() < 0.35
            else self.phrase(self.noun(self.placed), DEFINITE, modified=0.2)
        )
        tense = PRESENT if self.random() < 0.75 else PAST
        clause = c.Copula(subject, c.Asked(), tense, question=c.WH, asked=("where", "dónde"))
        if tense == PAST and self.random() < 0.3:
            clause.time = self.pick(STATE_TIMES[PAST])
        return clause

    def ask_why(self) -> c.Clause:
        """*Why is Ana sad?*, *Why does Ana like coffee?*"""
        self.asks = False
        clause = self.pick((self.quality, self.quality, self.need, self.liking))()
        if isinstance(clause, c.Copula | c.Liking):
            if isinstance(clause, c.Copula):
                clause.frequency = clause.time = None
            clause.question, clause.asked = c.WH, ("why", "por qué")
        return clause

    def ask_how(self) -> c.Clause:
        """*How is ...?*, *How old is ...?*, *How much does ... cost?*, *How many ... are there?*"""
        roll = self.random()
        if roll < 0.2:
            return c.Copula(
                self.human(short=True),
                c.Asked(mask=BIT["estar"]),
                PRESENT if self.random() < 0.8 else PAST,
                question=c.WH,
                asked=("how", "cómo"),
            )
        if roll < 0.45:
            self.use(self.book.nouns["year"])
            return c.Copula(
                self.human(short=True),
                c.Asked("tener", BIT["tener_expression"]),
                PRESENT if self.random() < 0.85 else PAST,
                question=c.WH,
                asked=("how old", "cuántos años"),
            )
        if roll < 0.75:
            verb = self.book.verbs["cost"]
            self.use_verb(verb)
            return c.Action(
                self.phrase(self.noun(self.priced), DEFINITE, modified=0.35),
                verb,
                PRESENT if self.random() < 0.7 else self.pick((PAST, FUTURE)),
                question=c.WH,
                asked=("how much", "cuánto"),
            )
        noun = self.noun(self.counted)
        phrase = self.phrase(noun, modified=0.1, determiner=p.HOW_MANY, plural=True)
        if phrase.determiner is not p.HOW_MANY:
            raise Unsuitable
        place = self.whereabouts(noun, definite=False)
        if noun.is_kin or not isinstance(place, p.Place):
            raise Unsuitable
        tense = PRESENT if self.random() < 0.75 else PAST
        return c.Existence(phrase, place, tense, question=c.WH)
