"""Adverbial phrases of time, frequency and manner, and the numerals that patterns choose from."""

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
)
from recambio.data.grammar.phenomena import BIT

_WEEKDAYS = (
    ("Monday", "lunes", "lunes"),
    ("Tuesday", "martes", "martes"),
    ("Wednesday", "miércoles", "miércoles"),
    ("Thursday", "jueves", "jueves"),
    ("Friday", "viernes", "viernes"),
    ("Saturday", "sábado", "sábados"),
    ("Sunday", "domingo", "domingos"),
)
_ON_DAY = tuple(p.when(f"on {day}", f"el {dia}") for day, dia, _ in _WEEKDAYS)
_ON_DAYS = tuple(p.when(f"on {day}s", f"los {dias}") for day, _, dias in _WEEKDAYS)
CLOCK = (
    p.when("at one o'clock", "a la una"),
    *(
        p.when(f"at {english} o'clock", f"a las {spanish}")
        for english, spanish in (
            ("two", "dos"),
            ("three", "tres"),
            ("four", "cuatro"),
            ("five", "cinco"),
            ("six", "seis"),
            ("seven", "siete"),
            ("eight", "ocho"),
            ("nine", "nueve"),
            ("ten", "diez"),
            ("eleven", "once"),
            ("twelve", "doce"),
        )
    ),
)

_HABIT = (
    p.when("every day", "todos los días"),
    p.when("in the morning", "por la mañana"),
    p.when("in the afternoon", "por la tarde"),
    p.when("at night", "por la noche"),
    *_ON_DAYS,
)
_BEFORE = (
    p.when("yesterday", "ayer"),
    p.when("yesterday", "ayer"),
    p.when("last night", "anoche"),
    p.when("last week", "la semana pasada"),
    p.when("last year", "el año pasado"),
    p.when("this morning", "esta mañana"),
    p.when("two days ago", "hace dos días"),
    p.when("three years ago", "hace tres años"),
    *_ON_DAY,
)
_AHEAD = (
    p.when("tomorrow", "mañana"),
    p.when("tomorrow", "mañana"),
    p.when("tonight", "esta noche"),
    p.when("next week", "la próxima semana"),
    p.when("next year", "el próximo año"),
    p.when("soon", "pronto"),
    *_ON_DAY,
)
_NOW = (p.when("now", "ahora"), p.when("right now", "ahora mismo"))
_LATELY = (
    p.when("today", "hoy"),
    p.when("this week", "esta semana"),
    p.when("this year", "este año"),
)
_RECENTLY = (
    p.when("yesterday", "ayer"),
    p.when("last night", "anoche"),
    p.when("this morning", "esta mañana"),
)
TIMES: dict[int, tuple[p.Adverb, ...]] = {
    PRESENT: _HABIT,
    PAST: _BEFORE,
    FUTURE: _AHEAD,
    PROGRESSIVE: _NOW,
    PAST_PROGRESSIVE: _RECENTLY,
    PERFECT: _LATELY,
    GOING_TO: _AHEAD,
    CAN: (),
    MUST: _AHEAD,
    WANT: (),
}
TRIP_TIMES = (
    *_HABIT,
    p.when("every week", "todas las semanas"),
    p.when("every summer", "todos los veranos"),
    p.when("every year", "todos los años"),
)
STATE_TIMES = {
    PRESENT: (p.when("today", "hoy"), p.when("now", "ahora")),
    PAST: _RECENTLY,
    FUTURE: _AHEAD[:3],
}

NEVER = p.Adverb("never", "nunca", BIT["negation"] | BIT["time_expression"])
ALREADY = p.when("already", "ya")
OFTEN = (
    p.when("always", "siempre"),
    p.when("often", "a menudo"),
    p.when("sometimes", "a veces"),
    p.when("usually", "normalmente"),
    NEVER,
    NEVER,
)
MANNERS = {
    "well": p.Adverb("well", "bien", early=True),
    "a_lot": p.Adverb("a lot", "mucho"),
    "slowly": p.Adverb("slowly", "despacio"),
    "quickly": p.Adverb("quickly", "rápidamente"),
    "carefully": p.Adverb("carefully", "con cuidado"),
}

_AGES = (
    "six seven eight nine ten eleven twelve fifteen twenty twenty-one thirty thirty-one forty fifty sixty seventy "
    "eighty ninety"
)
SMALL = tuple(p.NUMERALS[word] for word in ("two", "three", "four", "five", "six"))
COUNTS = (
    *SMALL,
    p.ONE,
    *(
        p.NUMERALS[word]
        for word in (
            "seven",
            "eight",
            "ten",
            "twelve",
            "twenty",
            "twenty-one",
            "thirty-one",
            "one hundred",
            "two hundred",
            "five hundred",
            "seven or eight",
        )
    ),
)
AMOUNTS = tuple(
    numeral for word, numeral in p.NUMERALS.items() if word not in ("two", "three", "four", "five", "seven or eight")
)
AGES = tuple(numeral for word, numeral in p.NUMERALS.items() if word in _AGES.split())
ADULT_AGE, OLD_AGE = AGES.index(p.NUMERALS["twenty"]), AGES.index(p.NUMERALS["fifty"])
"""Where in `AGES` the ages of grown-ups and of grandparents begin."""
