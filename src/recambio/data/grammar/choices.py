"""Which words go together in ways that classes of nouns do not say: causes, sequels, sets of qualities."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


def _verbs(text: str) -> frozenset[str]:
    return frozenset(f"{word}.v" for word in text.split())


CLOCK_VERBS = _verbs("wake_up get_up go_to_bed arrive leave come return take_a_shower eat")
"""Verbs that take *at seven o'clock*."""

TRIP_VERBS = _verbs("go come return arrive leave travel visit work swim")
"""Verbs that take *every summer*."""

CONTRADICTIONS: dict[str, frozenset[str]] = {
    "broken.a": _verbs("break"),
    "open.a": _verbs("open"),
    "closed.a": _verbs("close"),
    "clean.a": _verbs("clean wash"),
}
"""Adjectives that an object of these verbs does not have."""

PASSING = frozenset(_words("new old"))
"""Qualities that no whole kind has."""

NEED_RECIPIENT = _verbs("give lend show tell")
"""Verbs that sound odd without a recipient."""

NO_ORDERS = _verbs("find hear see understand sell")
"""Verbs that one does not order to do."""

COUNTABLE = _verbs("have buy read sell eat drink need")
"""Verbs of *more books than*."""

HOBBIES = _verbs("read sing write eat drink cook learn draw buy play_music translate visit drive")
"""Verbs that one likes to do with an object."""

COVETING = _verbs("buy sell wear carry read eat drink use drive clean visit learn translate repair want need like")
"""What one may want to do with a thing that has a fault."""

FRIENDLY = _verbs("help call wait_for listen_to invite greet")
"""What one may ask of a friend to do to another."""

ACTIVITIES = _words("swim dance sing read cook travel sleep run paint work study walk write rest play")
"""What one likes to do."""

FAULTS = frozenset(
    _words(
        "expensive ugly heavy old slow dirty broken big small difficult boring strange dangerous noisy closed long "
        "empty cold hot"
    )
)
"""Reasons against a thing."""

HARMONY: tuple[tuple[str, ...], ...] = (
    _words("intelligent kind friendly funny honest brave elegant tall thin serious hardworking shy strong"),
    _words("modern comfortable elegant expensive big new"),
    _words("interesting important difficult long useful"),
    _words("tired sad worried nervous sick bored"),
    _words("old ugly cheap slow noisy small"),
)
"""Qualities that go together, so that nothing is both tall and short."""

_USES = "read eat drink cut wash clean sell hide repair translate lose use cook forget paint break close"

SEQUELS: dict[str, frozenset[str]] = {
    "buy.v": _verbs(_USES),
    "find.v": _verbs(_USES),
    "bring.v": _verbs(_USES),
    "choose.v": _verbs("read eat drink buy wash use cook forget lose"),
    "make.v": _verbs("eat cut sell hide wash break"),
    "write.v": _verbs("read translate hide lose forget send"),
    "open.v": _verbs("read close clean"),
    "look_for.v": _verbs("find"),
    "carry.v": _verbs("clean open wash use repair"),
}
"""What one can do with a thing after the first deed."""

_CAUSES: dict[str, str] = {
    "eat": "hungry nervous happy bored",
    "cook": "hungry happy bored",
    "prepare": "hungry thirsty",
    "cut": "hungry",
    "drink": "thirsty nervous happy",
    "sleep": "tired sick sleepy bored",
    "rest": "tired sick sleepy sad",
    "run": "afraid nervous happy angry",
    "fly": "afraid hungry",
    "shout": "afraid angry nervous happy",
    "cry": "sad sick afraid worried alone tired hungry",
    "bark": "afraid nervous hungry",
    "chase": "hungry angry",
    "attack": "hungry afraid angry",
    "follow": "worried hungry bored",
    "dance": "happy bored",
    "sing": "happy bored sad",
    "smile": "happy nervous",
    "play": "happy bored",
    "walk": "bored worried nervous happy",
    "swim": "bored happy",
    "drive": "nervous happy bored",
    "work": "worried happy",
    "help": "worried happy alone",
    "protect": "worried afraid",
    "wait_for": "worried nervous alone",
    "call": "worried nervous alone sad",
    "look_for": "worried nervous alone",
}
_OTHER_CAUSES = "happy bored worried nervous sad"
_CAUSES_AGAINST_REST = "afraid nervous worried hungry"
_CAUSES_AGAINST = "tired sick busy sad angry nervous sleepy afraid bored worried in_a_hurry"


def causes(verb_key: str, *, negative: bool) -> frozenset[str]:
    """The English adjectives that give a reason for doing something, or for not doing it."""
    if negative:
        return frozenset(_words(_CAUSES_AGAINST_REST if verb_key in ("sleep.v", "rest.v") else _CAUSES_AGAINST))
    return frozenset(_words(_CAUSES.get(verb_key[:-2], _OTHER_CAUSES)))
