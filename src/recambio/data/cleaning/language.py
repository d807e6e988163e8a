"""English on one side, Spanish on the other."""

from __future__ import annotations

import re

from recambio.data.cleaning.base import CleaningStep
from recambio.data.pairs import Pair
from recambio.errors import InputError
from recambio.registry import CLEANING, Card

# Frequent words that the other language hardly has. What both write alike is in neither list: a, al, as, come, dice, hay, he, le, me, no,
# once, red, sea, sin, sobre, son, ten, use...
_ENGLISH_WORDS = """
    the of and to in is that it for was with you not be are this have from or had by but what all were we when your can there
    an which their if will each about how up out them then she many these so into would like him more could my than first been
    who its now did get made may over new take only know where after back little very our just also any because does should
    most why they his her on at do i us i'll i'm i've i'd it's that's don't doesn't didn't isn't wasn't can't couldn't won't
    wouldn't you're you'll you've we're we'll we've they're he's she's there's what's let's here's must being those own such
    other through while before under between both against during without within upon until some nothing something anything
    everything never always here think there want go going see say said got give good too much still even off down away
"""
_SPANISH_WORDS = """
    de la que el en y los se del las un por con una su para es lo como más o pero sus ya este sí porque esta entre cuando
    muy también mi hasta donde quien desde todo nos durante todos uno les ni contra otros ese eso ante ellos esto mí antes
    algunos qué unos yo otro otras otra él tanto esa estos mucho quienes nada muchos cual poco ella estar estas algunas algo
    nosotros tú te ti tu tus ellas está están estoy estaba fue era eran ser soy eres somos fueron había han hemos tiene tengo
    tienes tienen puede puedo pueden quiero quiere si cada así sólo solo aquí ahí allí ahora nunca siempre después hace hacer
    cómo cuándo dónde quién cuál cuánto aunque mientras según sino hacia ha voy va vamos usted ustedes mis debe deben
"""
_ENGLISH, _SPANISH = frozenset(_ENGLISH_WORDS.split()), frozenset(_SPANISH_WORDS.split())
# é is left out, for "café" and "résumé" are English; a word with a capital may be a name.
_SPANISH_MARKS = re.compile(r"[¿¡]|\b(?=[a-záíóúñ])\w*[áíóúñ]")

_WORD = re.compile(r"\b[^\W\d_]+(?:'[a-z]+)?\b")
_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(
    "[A-Za-zªºÀ-ÖØ-öø-\u02af\u1e00-\u1eff\u2c60-\u2c7f\ua720-\ua7ff\ufb00-\ufb06\uff21-\uff3a\uff41-\uff5a]"
)

_QUOTED = re.compile(r"«[^»]*»|“[^”]*”|\"[^\"]*\"|(?<!\w)[‘'][^’']*[’'](?!\w)")
# What links the words of a name: "Rio de Janeiro", "Juan de la Cruz y López", "House of Lords"; and articles within a sentence that
# belong to one: "in Los Angeles", "de The Beatles".
_LINKS = re.compile(r"\b([A-ZÀ-Þ][\w.'-]*)(?:\s+(?:de|del|la|las|los|el|y|of|the|and|for|in|on))+\s+(?=[A-ZÀ-Þ])")
_ARTICLES = re.compile(r"(?<=[\w,] )(?:El|La|Los|Las|De|Del|The)(?= [A-ZÀ-Þ])")


@CLEANING.register(
    "language",
    card=Card(
        claim="Drops pairs whose first side is not English or whose second is not Spanish: too few Latin letters ('script'), or the "
        "other language's function words and hardly its own ('language').",
        formula="drop if other >= min_words and other > max_ratio * own, counting function words of a side; "
        "or if other >= 1 and own = 0 among at least bare_words words; or if latin letters / letters < min_latin",
    ),
)
class Language(CleaningStep):
    """Drop pairs whose sides are not English and Spanish.

    Each side is judged by itself: how many of its words are frequent words of its own language, and how many of the other's. A
    short sentence with few of either passes, for nothing speaks against it. Before a pair is dropped the side is looked at again without
    what stands in quotation marks and without the words that link a name, so that neither makes it foreign.

    Args:
        min_words: Words of the other language that it takes.
        max_ratio: How many there may be of them for each word of its own language.
        bare_words: A side of at least so many words, none of which is frequent in its own language, takes one word of the other.
        min_latin: Least share of Latin letters among the letters of a side.
    """

    def __init__(self, min_words: int = 2, max_ratio: float = 1.5, bare_words: int = 6, min_latin: float = 0.5) -> None:
        if min_words < 1 or not max_ratio >= 1 or bare_words < 1 or not 0 <= min_latin <= 1:
            raise InputError(
                f"data.cleaning: 'language' has min_words {min_words}, max_ratio {max_ratio}, bare_words {bare_words}, "
                f"min_latin {min_latin}; min_words >= 1, max_ratio >= 1, bare_words >= 1 and min_latin in [0, 1] are needed"
            )
        self.min_words = min_words
        self.max_ratio = max_ratio
        self.bare_words = bare_words
        self.min_latin = min_latin

    def __call__(self, pair: Pair) -> Pair | str:
        for text in (pair.source, pair.target):
            # Nothing below U+0250 is a letter of another script.
            if not text.isascii() and max(text) >= "\u0250" and self._is_foreign_script(text):
                return "script"
        if self._is_foreign(pair.source, _ENGLISH, _SPANISH) or self._is_foreign(pair.target, _SPANISH, _ENGLISH):
            return "language"
        return pair

    def _is_foreign_script(self, text: str) -> bool:
        return len(_LATIN.findall(text)) < self.min_latin * len(_LETTER.findall(text))

    def _is_foreign(self, text: str, own: frozenset[str], other: frozenset[str]) -> bool:
        if not self._decide(text, own, other):
            return False
        bare = _ARTICLES.sub("", _LINKS.sub(r"\1 ", _QUOTED.sub(" ", text)))
        # A sentence that is all quotation is judged as it stands.
        return not _WORD.search(bare) or self._decide(bare, own, other)

    def _decide(self, text: str, own: frozenset[str], other: frozenset[str]) -> bool:
        words = _WORD.findall(text.lower().replace("’", "'"))
        foreign = sum(map(other.__contains__, words))
        if other is _SPANISH and not text.isascii() and _SPANISH_MARKS.search(text):
            foreign += 1
        if not foreign:
            return False
        native = sum(map(own.__contains__, words))
        if native:
            return foreign >= self.min_words and foreign > self.max_ratio * native
        return foreign >= self.min_words or len(words) >= self.bare_words
