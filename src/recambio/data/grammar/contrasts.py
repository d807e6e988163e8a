"""Minimally wrong translations of sentences of the grammar, by phenomenon, made from their derivations.

Sennrich 2017, "How Grammatical is Character-level Neural Machine Translation? Assessing MT Quality with Contrastive Translation
Pairs", and Burlot & Yvon 2017, "Evaluating the morphological competence of Machine Translation Systems", change reference
translations by tagger and lexicon. Here the derivation is known, so that what is wrong is wrong by construction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from recambio.data.grammar import clauses as c
from recambio.data.grammar import phrases as p
from recambio.data.grammar.corpus import CAPACITY, drawn, write
from recambio.data.grammar.lexicon import INFINITIVE_TENSES, stable_hash
from recambio.data.grammar.phenomena import BIT
from recambio.data.grammar.variations import VARIATIONS, Change, nodes

CONTRASTS: dict[str, str] = {
    "adjective_gender": "an adjective of the wrong gender: la camisa roja, not rojo",
    "adjective_number": "an adjective of the wrong number: los coches rojos, not rojo",
    "determiner_gender": "an article or determiner of the wrong gender: la casa, not el casa",
    "stressed_a": "la for el before stressed a: el agua, not la agua",
    "short_form": "a full form before a masculine noun: un buen libro, not un bueno libro",
    "subject_verb": "a verb of the wrong number: el perro duerme, not duermen",
    "verb_person": "a verb of the wrong person, its pronoun dropped: veo for I see, not ve",
    "tense": "a verb of the wrong tense: comió for ate, not comerá",
    "ser_estar": "the wrong verb of the two for be: está en la mesa, not es en la mesa",
    "tener_expression": "ser or estar for tener: tiene hambre, not está hambre",
    "gustar": "the wrong one who likes, or the wrong number: me gusta el café, not te gusta or me gustan",
    "role_reversal": "subject and object exchanged: Ana ve a Pedro, not Pedro ve a Ana",
    "personal_a": "no a before a definite person: ve a Pedro, not ve Pedro",
    "object_clitic": "an object pronoun of the wrong person, gender or number: la ve for sees her, not lo ve",
    "clitic_antecedent": "an object pronoun of the wrong gender for what it stands for: la manzana ... la comió, not lo",
    "indirect_object": "a recipient of the wrong person or number: me da for gives me, not te da",
    "clitic_position": "a pronoun on the wrong side of its verb: lo ve, not ve lo",
    "reflexive": "a reflexive pronoun of the wrong person: me levanto, not se levanto",
    "negation": "no or nunca left out: no trabaja for does not work, not trabaja",
    "possessive": "a possessive of the wrong person: mi casa for my house, not tu casa",
    "number": "another numeral or hour: tres tazas for three cups, not cuatro tazas",
    "comparative": "another comparison: más alto for taller, not menos alto",
    "generic_article": "no article before a whole kind: los gatos beben agua, not gatos beben agua",
    "imperative": "a statement for an order: cierra la puerta for close the door, not cierro",
    "contraction": "a el or de el for al and del",
    "euphonic_conjunction": "y before i, o before o: Ana e Isabel, not Ana y Isabel",
    "question_mark": "no opening question mark",
    "question_accent": "a question word without its accent: dónde, not donde",
}
"""Each phenomenon with what is wrong in its contrasts."""

LIMIT = 20_000
"""The most pairs of the corpus that are looked at."""

_CLITIC = "me|te|se|lo|la|los|las|le|les|nos"
_QUESTION_WORD = re.compile(r"\b(?:qué|quién|cómo|dónde|cuándo|cuántos|cuántas)\b")
_PLAIN = str.maketrans("áéíóú", "aeiou")
_EUPHONIC = re.compile(r" ([eu]) ")


@dataclass(frozen=True, slots=True)
class Contrast:
    """An English sentence, its translation, and a minimally wrong one.

    Attributes:
        phenomenon: A key of `CONTRASTS`.
        source, right: A pair of the grammar.
        wrong: Differs from `right` in one or two words; of `role_reversal`, in their order.
    """

    phenomenon: str
    source: str
    right: str
    wrong: str


def contrasts(n: int, seed: int = 1, split: str = "test") -> list[Contrast]:
    """Contrasts of every phenomenon, the same for the same arguments everywhere.

    Args:
        n: Of each phenomenon; a rare one has fewer if the first `LIMIT` pairs hold no more.
        seed: Of the sentences and of the choice among what could go wrong in them. Sentences of ``test`` share their
            combination of words with none of ``train``, whatever the seeds.
        split: The part of the corpus that the sentences are of.

    Returns:
        By phenomenon, in the order of `CONTRASTS`.
    """
    random = Random(stable_hash(f"contrasts {split} {seed}")).random
    found: dict[str, list[Contrast]] = {phenomenon: [] for phenomenon in CONTRASTS}
    for pair, clause, mirrored in drawn(split, min(LIMIT, CAPACITY[split]), seed):
        wanted = [phenomenon for phenomenon, of_it in found.items() if len(of_it) < n]
        if not wanted:
            break
        for phenomenon in wanted:
            options = wrong_translations(phenomenon, clause, mirrored)
            if options:
                wrong = options[int(random() * len(options))]
                found[phenomenon].append(Contrast(phenomenon, pair.source, pair.target, wrong))
    return [contrast for of_it in found.values() for contrast in of_it]


def wrong_translations(phenomenon: str, clause: c.Clause, mirrored: c.Clause | None = None) -> list[str]:
    """All wrong translations of a clause that a phenomenon offers, each once.

    Args:
        phenomenon: A key of `CONTRASTS`.
        clause: Its right translation is the one that it renders.
        mirrored: The clause with subject and object exchanged, if it has one.
    """
    english, spanish, mask = clause.render()
    right = write((english, spanish, mask))[1]
    if phenomenon == "question_mark":
        return [right[1:]] if right.startswith("¿") else []
    if phenomenon in VARIATIONS:
        changes = (change for node in nodes(clause) for change in VARIATIONS[phenomenon](node))
        texts = [_with(clause, change) for change in changes]
    elif phenomenon == "role_reversal":
        texts = _reversed(clause, mirrored)
    else:
        texts = list(_REWRITINGS[phenomenon](clause, spanish, mask))
    written = dict.fromkeys(write((english, text, mask))[1] for text in texts)
    return [text for text in written if text != right]


def _with(clause: c.Clause, change: Change) -> str:
    with _changed(change):
        return clause.render()[1]


@contextmanager
def _changed(change: Change) -> Iterator[None]:
    """Change a node, and put it back."""
    node, values = change
    before = {name: getattr(node, name) for name in values}
    try:
        for name, value in values.items():
            setattr(node, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(node, name, value)


def _reversed(clause: c.Clause, mirrored: c.Clause | None) -> list[str]:
    # "Veo a Ana" and "Ana me ve" are no minimal pair
    if mirrored is None or not isinstance(clause, c.Action):
        return []
    if isinstance(clause.subject, p.Pronoun) or isinstance(clause.object, p.Pronoun):
        return []
    return [mirrored.render()[1]]


def _uncontracted(clause: c.Clause, spanish: str, mask: int) -> Iterator[str]:
    for match in re.finditer(r"\b(a|de)l\b", spanish):
        yield f"{spanish[: match.start()]}{match[1]} el{spanish[match.end() :]}"


def _unaccented(clause: c.Clause, spanish: str, mask: int) -> Iterator[str]:
    if mask & BIT["wh_question"]:
        yield _QUESTION_WORD.sub(lambda match: match[0].translate(_PLAIN), spanish, count=1)


def _uneuphonic(clause: c.Clause, spanish: str, mask: int) -> Iterator[str]:
    if mask & BIT["euphonic_conjunction"]:
        for match in _EUPHONIC.finditer(spanish):
            yield f"{spanish[: match.start(1)]}{'y' if match[1] == 'e' else 'o'}{spanish[match.end(1) :]}"


def _misplaced(clause: c.Clause, spanish: str, mask: int) -> Iterator[str]:
    """*ve lo* for *lo ve*, *va a lo ver* for *va a verlo*."""
    for node in nodes(clause):
        if not isinstance(node, c.Action):
            continue
        if not (node.verb.reflexive or node.recipient is not None or isinstance(node.object, p.Pronoun)):
            continue
        finite, _, _ = node.verb.spanish_groups[node.tense * 5 + node.subject.person]
        if node.tense in INFINITIVE_TENSES:
            before, after = rf"\b{node.verb.spanish.infinitive}({_CLITIC})\b", rf"\1 {node.verb.spanish.infinitive}"
        else:
            before, after = rf"\b((?:{_CLITIC})(?: (?:{_CLITIC}))?) {finite}\b", rf"{finite} \1"
        # found twice, one could be an article and a noun: "La cocina en la cocina."
        if len(re.findall(before, spanish)) == 1:
            yield re.sub(before, after, spanish)


def _not_reflexive(clause: c.Clause, spanish: str, mask: int) -> Iterator[str]:
    """*se levanto* for *me levanto*, *Ana me levanta* for *Ana se levanta*."""
    for node in nodes(clause):
        if isinstance(node, c.Action) and node.verb.reflexive:
            clitic = p.REFLEXIVE_CLITICS[node.subject.person]
            other = "me" if clitic == "se" else "se"
            finite, _, _ = node.verb.spanish_groups[node.tense * 5 + node.subject.person]
            infinitive = node.verb.spanish.infinitive
            if node.tense in INFINITIVE_TENSES:
                before, after = rf"\b{infinitive}{clitic}\b", f"{infinitive}{other}"
            else:
                before, after = rf"\b{clitic} {finite}\b", f"{other} {finite}"
            if len(re.findall(before, spanish)) == 1:
                yield re.sub(before, after, spanish)


_REWRITINGS: dict[str, Callable[[c.Clause, str, int], Iterator[str]]] = {
    "clitic_position": _misplaced,
    "reflexive": _not_reflexive,
    "contraction": _uncontracted,
    "euphonic_conjunction": _uneuphonic,
    "question_accent": _unaccented,
}
"""What only the words show."""
