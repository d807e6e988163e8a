"""Spanish word forms: plurals, adjective agreement, conjugation, contractions, the euphonic *el*, *e* and *u*.

Everything is derived from the dictionary form by rule; what no rule gives is listed in `_IRREGULAR`.
Persons are numbered 0 to 4: *yo*, *tú*, *él/ella*, *nosotros*, *ellos*.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

_PLAIN = str.maketrans("áéíóú", "aeiou")
_ACUTE = str.maketrans("aeiou", "áéíóú")
_VOWELS = "aeiouáéíóú"

STRESSED_PERSONS = (0, 1, 2, 4)
"""The persons whose present tense stresses the stem, where a stem vowel changes (*duermo*, *dormimos*)."""

_PRESENT = {
    "ar": ("o", "as", "a", "amos", "an"),
    "er": ("o", "es", "e", "emos", "en"),
    "ir": ("o", "es", "e", "imos", "en"),
}
_PRETERITE = {
    "ar": ("é", "aste", "ó", "amos", "aron"),
    "er": ("í", "iste", "ió", "imos", "ieron"),
    "ir": ("í", "iste", "ió", "imos", "ieron"),
}
_STRONG_PRETERITE = ("e", "iste", "o", "imos", "ieron")
_IMPERFECT = {
    "ar": ("aba", "abas", "aba", "ábamos", "aban"),
    "er": ("ía", "ías", "ía", "íamos", "ían"),
    "ir": ("ía", "ías", "ía", "íamos", "ían"),
}
_FUTURE = ("é", "ás", "á", "emos", "án")

# Keys: `present` and `preterite` give all five forms, `yo` the first person of the present, `strong` the stem of a
# preterite without stress on its ending, `future` the stem of the future, the others one form each.
_IRREGULAR: dict[str, dict[str, str]] = {
    "abrir": {"participle": "abierto"},
    "caer": {"yo": "caigo"},
    "conducir": {"strong": "conduj"},
    "dar": {
        "present": "doy das da damos dan",
        "preterite": "di diste dio dimos dieron",
    },
    "decir": {
        "yo": "digo",
        "strong": "dij",
        "future": "dir",
        "participle": "dicho",
        "imperative": "di",
    },
    "escribir": {"participle": "escrito"},
    "estar": {"present": "estoy estás está estamos están", "strong": "estuv"},
    "haber": {"present": "he has ha hemos han", "strong": "hub", "future": "habr"},
    "hacer": {
        "yo": "hago",
        "strong": "hic",
        "future": "har",
        "participle": "hecho",
        "imperative": "haz",
    },
    "ir": {
        "present": "voy vas va vamos van",
        "preterite": "fui fuiste fue fuimos fueron",
        "imperfect": "iba ibas iba íbamos iban",
        "gerund": "yendo",
        "imperative": "ve",
    },
    "oír": {
        "present": "oigo oyes oye oímos oyen",
        "preterite": "oí oíste oyó oímos oyeron",
        "gerund": "oyendo",
    },
    "poder": {"strong": "pud", "future": "podr", "gerund": "pudiendo"},
    "poner": {
        "yo": "pongo",
        "strong": "pus",
        "future": "pondr",
        "participle": "puesto",
        "imperative": "pon",
    },
    "querer": {"strong": "quis", "future": "querr"},
    "romper": {"participle": "roto"},
    "saber": {"yo": "sé", "strong": "sup", "future": "sabr"},
    "salir": {"yo": "salgo", "future": "saldr", "imperative": "sal"},
    "ser": {
        "present": "soy eres es somos son",
        "preterite": "fui fuiste fue fuimos fueron",
        "imperfect": "era eras era éramos eran",
        "imperative": "sé",
    },
    "sonreír": {
        "present": "sonrío sonríes sonríe sonreímos sonríen",
        "preterite": "sonreí sonreíste sonrió sonreímos sonrieron",
        "gerund": "sonriendo",
        "imperative": "sonríe",
    },
    "tener": {
        "yo": "tengo",
        "strong": "tuv",
        "future": "tendr",
        "imperative": "ten",
    },
    "traducir": {"strong": "traduj"},
    "traer": {"yo": "traigo", "strong": "traj"},
    "venir": {
        "yo": "vengo",
        "strong": "vin",
        "future": "vendr",
        "gerund": "viniendo",
        "imperative": "ven",
    },
    "ver": {
        "yo": "veo",
        "preterite": "vi viste vio vimos vieron",
        "imperfect": "veía veías veía veíamos veían",
        "participle": "visto",
    },
    "volver": {"participle": "vuelto"},
}


@dataclass(frozen=True, slots=True)
class Conjugation:
    """The forms of one verb that the grammar uses; tuples are indexed by person.

    `irregular` holds, for each of the four tenses, the persons whose form departs from the regular model.
    """

    infinitive: str
    present: tuple[str, ...]
    preterite: tuple[str, ...]
    imperfect: tuple[str, ...]
    future: tuple[str, ...]
    gerund: str
    participle: str
    imperative: str
    irregular: dict[str, frozenset[int]]


@cache
def conjugate(infinitive: str, change: str = "") -> Conjugation:
    """Conjugate a Spanish verb.

    Args:
        infinitive: The dictionary form without a reflexive ending, such as ``dormir``.
        change: The stem vowel under stress: ``ie``, ``ue``, ``i`` or ``í`` (*envío*); empty for none.

    Returns:
        The forms; spelling changes (*busqué*, *sigo*, *construyó*) are applied.
    """
    ending = infinitive[-2:].translate(_PLAIN)
    stem = infinitive[:-2]
    special = _IRREGULAR.get(infinitive, {})

    stressed = _change_stem(stem, change) if change else stem
    present = tuple(
        (stressed if person in STRESSED_PERSONS else stem) + suffix for person, suffix in enumerate(_PRESENT[ending])
    )
    present = (_first_person(infinitive, present[0]), *present[1:])
    if infinitive.endswith("uir") and not infinitive.endswith("guir"):
        present = (stem + "yo", stem + "yes", stem + "ye", stem + "imos", stem + "yen")
    if "yo" in special:
        present = (special["yo"], *present[1:])
    if "present" in special:
        present = tuple(special["present"].split())

    preterite = _preterite(infinitive, stem, ending, change)
    if "strong" in special:
        strong = special["strong"]
        preterite = tuple(strong + suffix for suffix in _STRONG_PRETERITE)
        if strong.endswith("j"):
            preterite = (*preterite[:4], strong + "eron")
        if strong == "hic":
            preterite = (*preterite[:2], "hizo", *preterite[3:])
    if "preterite" in special:
        preterite = tuple(special["preterite"].split())

    imperfect = tuple(stem + suffix for suffix in _IMPERFECT[ending])
    if "imperfect" in special:
        imperfect = tuple(special["imperfect"].split())

    future_stem = special.get("future", infinitive.translate(_PLAIN))
    future = tuple(future_stem + suffix for suffix in _FUTURE)

    regular = {
        "present": tuple(stem + suffix for suffix in _PRESENT[ending]),
        "preterite": tuple(stem + suffix for suffix in _PRETERITE[ending]),
        "imperfect": tuple(stem + suffix for suffix in _IMPERFECT[ending]),
        "future": tuple(infinitive.translate(_PLAIN) + suffix for suffix in _FUTURE),
    }
    actual = {"present": present, "preterite": preterite, "imperfect": imperfect, "future": future}
    irregular = {
        tense: frozenset(p for p in range(5) if forms[p] != regular[tense][p]) for tense, forms in actual.items()
    }
    return Conjugation(
        infinitive=infinitive,
        present=present,
        preterite=preterite,
        imperfect=imperfect,
        future=future,
        gerund=special.get("gerund") or _gerund(infinitive, stem, ending, change),
        participle=special.get("participle") or _participle(stem, ending),
        imperative=special.get("imperative") or present[2],
        irregular=irregular,
    )


def _change_stem(stem: str, change: str) -> str:
    """Replace the last stem vowel that the change applies to: *dorm* -> *duerm*, *jug* -> *jueg*."""
    old = {"ie": "e", "i": "e", "í": "i"}.get(change, "")
    if change == "ue":
        old = "o" if stem.rfind("o") > stem.rfind("u") else "u"
    at = stem.rindex(old)
    return stem[:at] + change + stem[at + 1 :]


def _first_person(infinitive: str, form: str) -> str:
    """Spelling of the first person of the present: *protejo*, *sigo*, *conozco*."""
    if infinitive.endswith(("ger", "gir")):
        return form[:-2] + "jo"
    if infinitive.endswith("guir"):
        return form[:-3] + "go"
    if infinitive.endswith(("cer", "cir")) and infinitive[-4] in _VOWELS:
        return form[:-2] + "zco"
    return form


def _weak_stem(stem: str, ending: str, change: str) -> str:
    """The stem of *-ir* verbs in the third persons of the preterite and in the gerund: *durmió*, *pidiendo*."""
    if ending != "ir" or change not in ("ie", "i", "ue"):
        return stem
    return _change_stem(stem, "i") if change in ("ie", "i") else _replace_last(stem, "o", "u")


def _replace_last(text: str, old: str, new: str) -> str:
    at = text.rindex(old)
    return text[:at] + new + text[at + 1 :]


def _hiatus(infinitive: str, stem: str) -> bool:
    """Whether the stem ends in a vowel before *i*, which is then accented or turns into *y*: *leí*, *leyó*."""
    return len(stem) > 1 and stem[-1] in _VOWELS and not infinitive.endswith(("guir", "quir"))


def _preterite(infinitive: str, stem: str, ending: str, change: str) -> tuple[str, ...]:
    forms = [stem + suffix for suffix in _PRETERITE[ending]]
    if ending == "ar":
        for old, new in (("c", "qu"), ("g", "gu"), ("z", "c")):
            if stem.endswith(old):
                forms[0] = stem[:-1] + new + "é"
                break
        return tuple(forms)
    weak = _weak_stem(stem, ending, change)
    forms[2], forms[4] = weak + "ió", weak + "ieron"
    if _hiatus(infinitive, stem):
        accent = "i" if stem.endswith("u") else "í"
        forms = [
            stem + "í",
            stem + accent + "ste",
            stem + "yó",
            stem + accent + "mos",
            stem + "yeron",
        ]
    return tuple(forms)


def _gerund(infinitive: str, stem: str, ending: str, change: str) -> str:
    if ending == "ar":
        return stem + "ando"
    if _hiatus(infinitive, stem):
        return stem + "yendo"
    return _weak_stem(stem, ending, change) + "iendo"


def _participle(stem: str, ending: str) -> str:
    if ending == "ar":
        return stem + "ado"
    return stem + ("ído" if stem and stem[-1] in "aeo" else "ido")


def accent_infinitive(infinitive: str) -> str:
    """The infinitive as written before two enclitics: *dar* -> *dár* (*dármelo*)."""
    return infinitive[:-2] + infinitive[-2].translate(_ACUTE) + infinitive[-1]


def accent_imperative(imperative: str, clitics: int) -> str:
    """The imperative as written before enclitics, which keep the stress where it was: *cierra* -> *ciérra* (*-la*).

    Args:
        imperative: The form of *tú*.
        clitics: How many pronouns follow; one leaves words of one syllable as they are (*dame*, *dámelo*).
    """
    if any(letter in "áéíóú" for letter in imperative):
        return imperative
    nuclei = [i for i, letter in enumerate(imperative) if letter in "aeo"]
    weak = [
        i
        for i, letter in enumerate(imperative)
        if letter in "iu"
        and not (i + 1 < len(imperative) and imperative[i + 1] in "aeo")
        and not (i and imperative[i - 1] in "aeo")
    ]
    nuclei = sorted(nuclei + weak)
    if len(nuclei) == 1 and clitics == 1:
        return imperative
    at = nuclei[-1] if len(nuclei) == 1 else nuclei[-2]
    return imperative[:at] + imperative[at].translate(_ACUTE) + imperative[at + 1 :]


def plural(word: str) -> str:
    """The plural of a noun or adjective: *luz* -> *luces*, *canción* -> *canciones*, *joven* -> *jóvenes*."""
    if word == "joven":
        return "jóvenes"
    if word[-1] in "aeiouáéó":
        return word + "s"
    if word.endswith("z"):
        return word[:-1] + "ces"
    if word[-1] in "ns" and word[-2] in "áéíóú":
        return word[:-2] + word[-2].translate(_PLAIN) + word[-1] + "es"
    return word + "es"


def adjective_forms(masculine: str) -> tuple[str, str, str, str]:
    """Masculine singular, masculine plural, feminine singular, feminine plural.

    Adjectives in *-o* and *-or* change, and those of origin in *-és*, *-án*, *-ol*; all others agree in number only.
    """
    if masculine.endswith("o"):
        feminine = masculine[:-1] + "a"
    elif masculine.endswith(("dor", "ñol")):
        feminine = masculine + "a"
    elif masculine.endswith(("és", "án")):
        feminine = masculine[:-2] + masculine[-2].translate(_PLAIN) + masculine[-1] + "a"
    else:
        feminine = masculine
    return masculine, plural(masculine), feminine, plural(feminine)


def with_a(phrase: str) -> str:
    """*a* before a noun phrase, contracted to *al* before the article *el*."""
    return "al " + phrase[3:] if phrase.startswith("el ") else "a " + phrase


def with_de(phrase: str) -> str:
    """*de* before a noun phrase, contracted to *del* before the article *el*."""
    return "del " + phrase[3:] if phrase.startswith("el ") else "de " + phrase


def and_before(phrase: str) -> str:
    """The conjunction *y*, or *e* before the sound *i* (*e Isabel*, *e hijos*)."""
    start = phrase[:3].lower()
    return "e" if start.startswith(("i", "í", "hi")) and start not in ("hie", "hia") else "y"


def or_before(phrase: str) -> str:
    """The conjunction *o*, or *u* before the sound *o* (*siete u ocho*)."""
    return "u" if phrase[:2].lower().startswith(("o", "ó", "ho")) else "o"
