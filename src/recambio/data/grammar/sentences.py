"""The sentence patterns: one method a pattern, drawn with fixed weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.compounds import Compounds
from recambio.data.grammar.derivation import Unsuitable
from recambio.data.grammar.lexicon import (
    PAST,
    PRESENT,
)


class Sentences(Compounds):
    """Draws whole sentences; `draw` and `draw_long` are the entry points."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        weights: dict[Callable[[], c.Clause], float] = {
            self.deed: 17,
            self.encounter: 11.5,
            self.pastime: 6,
            self.trip: 5,
            self.routine: 4,
            self.quality: 9,
            self.profession: 3.5,
            self.location: 4,
            self.need: 3,
            self.age: 2.5,
            self.comparison: 4,
            self.ranking: 0.7,
            self.more_than: 1.2,
            self.price: 1.5,
            self.liking: 5,
            self.hurting: 2.8,
            self.gift: 5.5,
            self.inquiry: 9,
            self.existence: 3.2,
            self.order: 3.2,
            self.kind: 2.5,
            self.two_deeds: 2,
            self.deed_with_it: 2.2,
            self.reason: 2.5,
            self.reservation: 1.3,
            self.scene: 1.5,
            self.opinion: 2.8,
            self.side_by_side: 1.5,
        }
        self.templates = tuple(template for template, weight in weights.items() for _ in range(round(weight * 10)))

    def start(self) -> None:
        """Forget the clause drawn before."""
        self.words = []
        self.held_out = False
        self.nested = 0
        self.period = ""
        self.named = False
        self.named_people = []
        self.asks = True

    def draw(self) -> c.Clause:
        """A sentence of any pattern.

        Raises:
            Unsuitable: The draw led nowhere; draw again.
        """
        self.start()
        return self.pick(self.templates)()

    @staticmethod
    def mirrored(clause: c.Clause) -> c.Action | None:
        """The same clause with subject and object exchanged, where it has a counterpart worth having.

        *The dog follows the cat* and *The cat follows the dog* have the same words: only their order tells them apart.
        """
        if not isinstance(clause, c.Action) or not clause.reversible or clause.object is None:
            return None
        for phrase in (clause.subject, clause.object):
            if isinstance(phrase, p.NounPhrase) and not (phrase.determiner.definite or phrase.determiner is p.A):
                return None
        return replace(clause, subject=clause.object, object=clause.subject)

    def draw_long(self) -> c.Clause:
        """A sentence of several clauses of the same constructions, all of one period.

        Raises:
            Unsuitable: The draw led nowhere; draw again.
        """
        self.start()
        self.asks = False
        self.period = self.pick(("past", "past", "present", "present", "future"))
        first: c.Clause
        links: list[tuple[c.Link, c.Clause]] = []
        roll = self.random()
        if roll < 0.3:
            frame = self.pick(self.acting)
            action = self.act(frame, time=0.15)
            if action.subject is p.NOBODY:
                raise Unsuitable
            first = action
            tense = PAST if self.period == "past" else PRESENT
            cause = self.cause(action, tense)
            links.append((c.BECAUSE, cause))
        elif roll < 0.55 and self.period == "past":
            first = self.scene()
        else:
            first = self.statement()
            self.named = True
            second = self.statement()
            if isinstance(getattr(second, "subject", None), p.Pair):
                raise Unsuitable  # "... follows Ana and Pedro and Juan sleep": who sleeps?
            links.append((c.AND, second))
        self.named = True
        if self.random() < 0.75:
            links.append((c.BUT, self.statement()))
        self.named = False
        sentence: c.Clause = c.Compound(first, links) if links else first
        if self.random() < (0.35 if self.period != "past" else 0.2):
            return self.matrix(sentence)
        return sentence
