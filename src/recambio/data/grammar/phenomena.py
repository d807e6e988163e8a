"""The phenomena that sentences are tagged with, and their bit masks.

Rendering a sentence collects a mask, one bit a phenomenon that its words really show; `tags` turns it into names.
"""

from __future__ import annotations

from functools import cache

PHENOMENA: dict[str, str] = {
    "number_agreement": "a plural noun with a determiner or adjective in the plural: the red cars -> los coches rojos",
    "gender_agreement": "a feminine form that a feminine noun or person demands: the red shirt -> la camisa roja",
    "adjective_after_noun": "an adjective that follows its noun: a tall man -> un hombre alto",
    "adjective_before_noun": "an adjective that precedes its noun, often shortened: a good book -> un buen libro",
    "ser": "be as identity or lasting quality: The house is big. -> La casa es grande.",
    "estar": "be as state or place: The house is clean. -> La casa está limpia.",
    "present": "simple present, by person: we eat -> comemos",
    "preterite": "simple past of actions, by person: we ate -> comimos",
    "imperfect": "past of states and of the progressive: she had, she was eating -> tenía, estaba comiendo",
    "future": "will: she will eat -> comerá",
    "present_perfect": "have done: she has eaten -> ha comido",
    "progressive": "be doing: she is eating -> está comiendo",
    "infinitive_group": "going to, can, must, want to: she wants to eat -> quiere comer",
    "irregular_verb": "a simple tense that departs from the regular model: he sleeps -> duerme",
    "dropped_pronoun": "a subject pronoun that Spanish leaves out: I see the house. -> Veo la casa.",
    "negation": "not, never, no: Ana does not work. -> Ana no trabaja.",
    "yes_no_question": "¿...? without a question word: Does Ana work? -> ¿Trabaja Ana?",
    "wh_question": "¿...? with an accented question word: Where is Ana? -> ¿Dónde está Ana?",
    "object_clitic": "an object pronoun, before the verb or joined to it: Ana sees it. -> Ana lo ve.",
    "indirect_object": "a recipient, doubled by le or les: She gives a book to Ana. -> Le da un libro a Ana.",
    "gustar": "verbs turned around: I like coffee. -> Me gusta el café.",
    "possessive": "my, your, Ana's: Ana's book -> el libro de Ana",
    "comparative": "more, less, as, most: taller than Ana -> más alto que Ana",
    "number": "numerals, also with gender: two hundred cups -> doscientas tazas",
    "relative_clause": "who and that: the man who sings -> el hombre que canta",
    "word_order": "subject and object that could change places: The dog sees the cat. -> El perro ve al gato.",
    "personal_a": "a before a person or animal as object: Ana sees Pedro. -> Ana ve a Pedro.",
    "contraction": "al and del: to the park -> al parque",
    "stressed_a": "el and un before feminine nouns in stressed a: the cold water -> el agua fría",
    "euphonic_conjunction": "e for y, u for o: Ana and Isabel -> Ana e Isabel",
    "tener_expression": "be as tener: Ana is hungry. -> Ana tiene hambre.",
    "profession": "what one is, without article: Ana is a doctor. -> Ana es médica.",
    "location": "where something is: The key is on the table. -> La llave está en la mesa.",
    "reflexive": "reflexive verbs: I get up. -> Me levanto.",
    "generic_article": "the article of whole kinds: Cats drink water. -> Los gatos beben agua.",
    "existential": "there is, there are: There is a cat. -> Hay un gato.",
    "coordination": "and, or, but: Ana and Pedro -> Ana y Pedro",
    "subordination": "that, because, when: I think that Ana is sick. -> Creo que Ana está enferma.",
    "imperative": "orders: Close the door. -> Cierra la puerta.",
    "time_expression": "when and how often: on Monday, every day -> el lunes, todos los días",
}
"""Each tag with one line that says what it marks and gives an example."""

BIT: dict[str, int] = {name: 1 << index for index, name in enumerate(PHENOMENA)}
"""The mask of each phenomenon."""


UNSETTLED = 1 << len(PHENOMENA)
"""A bit beside the phenomena: the English leaves the translation open (*I read the book.*: present or past)."""


@cache
def tags(mask: int) -> tuple[str, ...]:
    """The names in a mask, in the order of `PHENOMENA`."""
    return tuple(name for name, bit in BIT.items() if mask & bit)
