"""English word forms: plurals, verb forms, comparison, the indefinite article."""

from __future__ import annotations

from dataclasses import dataclass

_VOWELS = "aeiou"


@dataclass(frozen=True, slots=True)
class VerbForms:
    """The five forms of an English verb, particle included (*looks for*)."""

    base: str
    third: str
    past: str
    participle: str
    gerund: str


def verb_forms(principal_parts: str) -> VerbForms:
    """Derive all forms from ``"base"`` or ``"base past participle"``, with an optional particle after a plus sign.

    ``"look+for"`` gives *looks for*, *looked for*, *looking for*; ``"buy bought bought"`` is irregular.
    """
    parts, _, particle = principal_parts.partition("+")
    words = parts.split()
    base = words[0]
    past = words[1] if len(words) > 1 else _add_ed(base)
    participle = words[2] if len(words) > 2 else past
    forms = (base, _add_s(base), past, participle, _add_ing(base))
    return VerbForms(*(f"{form} {particle}" if particle else form for form in forms))


def _doubles(base: str) -> bool:
    """Whether the final consonant doubles before *-ed* and *-ing* (one vowel, one consonant, one syllable)."""
    groups = sum(letter in _VOWELS and (i == 0 or base[i - 1] not in _VOWELS) for i, letter in enumerate(base))
    if base == "forget":
        return True
    return (
        groups == 1
        and len(base) > 2
        and base[-1] not in _VOWELS + "wxy"
        and base[-2] in _VOWELS
        and base[-3] not in _VOWELS
    )


def _add_s(word: str) -> str:
    if word == "have":
        return "has"
    if word.endswith(("s", "x", "z", "ch", "sh", "go", "do")):
        return word + "es"
    if word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "ies"
    return word + "s"


def _add_ed(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in _VOWELS:
        return base[:-1] + "ied"
    return base + (base[-1] if _doubles(base) else "") + "ed"


def _add_ing(base: str) -> str:
    if base.endswith("e") and not base.endswith("ee"):
        return base[:-1] + "ing"
    return base + (base[-1] if _doubles(base) else "") + "ing"


def plural(noun: str) -> str:
    """The regular plural of a noun: *box* -> *boxes*, *city* -> *cities*, *tomato* -> *tomatoes*."""
    if noun.endswith(("tomato", "potato")):
        return noun + "es"
    return _add_s(noun)


def comparative(adjective: str) -> str:
    """The comparative in *-er*: *bigger*, *easier*, *nicer*."""
    return _grade(adjective, "er")


def superlative(adjective: str) -> str:
    """The superlative in *-est*."""
    return _grade(adjective, "est")


def _grade(adjective: str, suffix: str) -> str:
    if adjective.endswith("e"):
        return adjective + suffix[1:]
    if adjective.endswith("y") and adjective not in ("shy",):
        return adjective[:-1] + "i" + suffix
    return adjective + (adjective[-1] if _doubles(adjective) else "") + suffix


def indefinite_article(following: str) -> str:
    """*a* or *an*, by the sound of the following word."""
    if following.startswith(("hon", "hour")):
        return "an" if not following.startswith("honey") else "a"
    if following.startswith(("uni", "use", "eu")):
        return "a"
    return "an" if following[0].lower() in _VOWELS else "a"
