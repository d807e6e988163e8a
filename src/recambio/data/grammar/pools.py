"""What may be drawn, and how often: tenses by aspect, determiners by role and kind of noun. Repetition is weight."""

from __future__ import annotations

from recambio.data.grammar import phrases as p
from recambio.data.grammar.lexicon import (
    CAN,
    FUTURE,
    GOING_TO,
    MUST,
    PAST,
    PAST_PROGRESSIVE,
    PERFECT,
    PRESENT,
    PROGRESSIVE,
    WANT,
    Noun,
)
from recambio.data.grammar.times import COUNTS, SMALL

TENSES: dict[str, tuple[int, ...]] = {
    "action": (
        *[PRESENT] * 10,
        *[PAST] * 10,
        *[FUTURE] * 4,
        *[PROGRESSIVE] * 6,
        *[PAST_PROGRESSIVE] * 2,
        *[PERFECT] * 4,
        *[GOING_TO] * 2,
        *[CAN] * 2,
        *[WANT] * 2,
        MUST,
    ),
    "feeling": (*[PRESENT] * 4, *[PAST] * 4, FUTURE, *[PROGRESSIVE] * 3, PAST_PROGRESSIVE, PERFECT),
    "event": (
        *[PRESENT] * 10,
        *[PAST] * 12,
        *[FUTURE] * 4,
        *[PERFECT] * 4,
        *[GOING_TO] * 2,
        *[CAN] * 2,
        *[WANT] * 2,
        MUST,
    ),
    "accident": (*[PRESENT] * 2, *[PAST] * 6, *[PERFECT] * 3),
    "state": (*[PRESENT] * 5, *[PAST] * 2),
    "lasting": (*[PRESENT] * 6, *[PAST] * 2, FUTURE),
}

PERIODS: dict[str, dict[str, tuple[int, ...]]] = {
    "past": {
        "action": (PAST, PAST, PAST, PAST_PROGRESSIVE),
        "feeling": (PAST, PAST_PROGRESSIVE),
        "event": (PAST,),
        "accident": (PAST,),
        "state": (PAST,),
        "lasting": (PAST,),
    },
    "present": {
        "action": (PRESENT, PRESENT, PROGRESSIVE),
        "feeling": (PRESENT, PROGRESSIVE),
        "event": (PRESENT,),
        "accident": (PRESENT,),
        "state": (PRESENT,),
        "lasting": (PRESENT,),
    },
    "future": {
        "action": (FUTURE, FUTURE, GOING_TO),
        "feeling": (FUTURE,),
        "event": (FUTURE,),
        "accident": (FUTURE,),
        "state": (PRESENT,),
        "lasting": (FUTURE,),
    },
}
"""The tenses of sentences that keep to one period."""

SUBJECT, DEFINITE, OBJECT, NEGATED, ANIMATE, RELATIONS, NO_RELATIONS = range(7)
"""Roles of noun phrases; each has its own determiners."""

OWNERS = (p.MY, p.YOUR, p.HIS, p.HER, p.OUR, p.THEIR)
_KIN, _OWN_PERSON, _PERSON, _OWN_ANIMAL, _ANIMAL, _MASS, _OWN_THING, _THING = range(8)
"""What determiners tell apart among nouns."""

_THIS_THAT = (p.THIS, p.THAT)
_KIN_POOL = (*OWNERS * 2, *[p.POSSESSOR] * 4)
_SUBJECT_MANY = (p.MANY, p.SOME, p.ALL, p.EVERY, *SMALL[:2])
POOLS: dict[int, dict[int, tuple[p.Determiner, ...]]] = {
    SUBJECT: {
        _KIN: _KIN_POOL,
        _OWN_PERSON: (*[p.THE] * 14, p.A, p.A, *_THIS_THAT, *OWNERS, p.POSSESSOR, *_SUBJECT_MANY),
        _PERSON: (*[p.THE] * 14, p.A, p.A, *_THIS_THAT, *_THIS_THAT, *_SUBJECT_MANY),
        _OWN_ANIMAL: (*[p.THE] * 10, p.A, *_THIS_THAT, *OWNERS, p.POSSESSOR, *_SUBJECT_MANY),
        _ANIMAL: (*[p.THE] * 10, p.A, *_THIS_THAT, *_SUBJECT_MANY),
        _MASS: (*[p.THE] * 5, *_THIS_THAT, *OWNERS),
        _OWN_THING: (*[p.THE] * 8, *_THIS_THAT, *OWNERS, p.POSSESSOR, p.POSSESSOR),
        _THING: (*[p.THE] * 6, *_THIS_THAT),
    },
    OBJECT: {
        _KIN: _KIN_POOL,
        _MASS: (
            *[p.THE] * 8,
            *[p.BARE] * 8,
            p.A_LOT_OF,
            p.A_LOT_OF,
            *_THIS_THAT,
            *OWNERS,
            p.POSSESSOR,
        ),
        _OWN_THING: (
            *[p.THE] * 14,
            *[p.A] * 12,
            *[p.BARE] * 2,
            *_THIS_THAT,
            *_THIS_THAT,
            *OWNERS,
            *[p.POSSESSOR] * 3,
            p.MANY,
            p.SOME,
            p.SOME,
            p.ALL,
            *COUNTS[:6],
            *COUNTS[6::3],
        ),
        _THING: (
            *[p.THE] * 10,
            *[p.A] * 6,
            *_THIS_THAT,
            p.MANY,
            p.SOME,
            p.ALL,
            *SMALL[:2],
        ),
    },
    NEGATED: {
        _KIN: _KIN_POOL,
        _MASS: (*[p.THE] * 4, *[p.BARE] * 5, *_THIS_THAT, *OWNERS),
        _OWN_THING: (*[p.THE] * 6, *_THIS_THAT, *OWNERS, p.POSSESSOR, p.BARE, p.BARE),
        _THING: (*[p.THE] * 6, *_THIS_THAT),
    },
    ANIMATE: {
        _KIN: _KIN_POOL,
        _OWN_PERSON: (*[p.THE] * 10, p.A, *_THIS_THAT, *OWNERS, p.POSSESSOR),
        _PERSON: (*[p.THE] * 10, p.A, *_THIS_THAT),
        _OWN_ANIMAL: (*[p.THE] * 8, p.A, *_THIS_THAT, *OWNERS, p.POSSESSOR),
        _ANIMAL: (*[p.THE] * 8, p.A, *_THIS_THAT),
    },
}
POOLS[DEFINITE] = {
    kind: tuple(determiner for determiner in pool if determiner.definite and (determiner is not p.ALL or kind != _MASS))
    for kind, pool in POOLS[SUBJECT].items()
}
for _role in (OBJECT, NEGATED):
    for _row in (_OWN_PERSON, _PERSON, _OWN_ANIMAL, _ANIMAL):
        POOLS[_role][_row] = POOLS[ANIMATE][_row]
for _row in (_MASS, _OWN_THING, _THING):
    POOLS[ANIMATE][_row] = POOLS[NEGATED][_row]
POOLS[RELATIONS] = {kind: (p.A, p.A, p.A, *SMALL[:3], p.MANY) for kind in (_KIN, _OWN_ANIMAL, _ANIMAL)}

POOLS[NO_RELATIONS] = {kind: (p.BARE,) for kind in (_KIN, _OWN_ANIMAL, _ANIMAL)}


def kind_of(noun: Noun) -> int:
    """The kind of a noun, a key of each role's entry in `POOLS`."""
    if noun.is_kin:
        return _KIN
    if noun.is_person:
        return _OWN_PERSON if noun.is_owned else _PERSON
    if noun.is_animate:
        return _OWN_ANIMAL if noun.is_owned else _ANIMAL
    if noun.is_mass:
        return _MASS
    return _OWN_THING if noun.is_owned else _THING
