"""Hand-written pairs that the grammar must produce exactly, from structures built by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recambio.data.grammar import PHENOMENA, realise
from recambio.data.grammar import clauses as c
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
    Verb,
    lexicon,
)
from recambio.data.grammar.times import ALREADY, CLOCK, MANNERS, NEVER, OFTEN

BOOK = lexicon()
NAMES = {name.english: name for name in BOOK.names}
YESTERDAY = p.when("yesterday", "ayer")
ON_MONDAY = p.when("on Monday", "el lunes")


def v(key: str) -> Verb:
    return BOOK.verbs[key]


def who(name: str) -> p.Person:
    return p.Person(NAMES[name])


def np(
    noun: str,
    determiner: p.Determiner = p.THE,
    adjective: str = "",
    *,
    plural: bool = False,
    degree: int = p.PLAIN,
    of: p.Phrase | None = None,
    relative: c.Relative | None = None,
) -> p.NounPhrase:
    return p.NounPhrase(
        BOOK.nouns[noun],
        p.POSSESSOR if of is not None else determiner,
        plural=plural,
        adjective=BOOK.adjectives[adjective] if adjective else None,
        degree=degree,
        possessor=of,
        relative=relative,
    )


def do(
    subject: p.Phrase,
    verb: str,
    thing: p.Phrase | None = None,
    *,
    tense: int = PRESENT,
    to: p.Phrase | None = None,
    a: bool = False,
    no: bool = False,
    ask: bool = False,
    wh: tuple[str, str] | None = None,
    place: p.Place | p.Adverb | None = None,
    how: str = "",
    time: p.Adverb | None = None,
    first: bool = False,
    often: p.Adverb | None = None,
) -> c.Action:
    return c.Action(
        subject,
        v(verb),
        tense,
        negative=no,
        question=c.WH if wh else c.YES_NO if ask else c.STATEMENT,
        object=thing,
        personal=a,
        recipient=to,
        place=place,
        manner=MANNERS[how] if how else None,
        time=time,
        time_first=first,
        frequency=often,
        asked=wh,
    )


def be(
    subject: p.Phrase,
    predicate: c.Predicate | str,
    *,
    tense: int = PRESENT,
    no: bool = False,
    ask: bool = False,
    wh: tuple[str, str] | None = None,
    very: bool = False,
    often: p.Adverb | None = None,
) -> c.Copula:
    if isinstance(predicate, str):
        predicate = c.Quality(BOOK.adjectives[predicate], very=very)
    question = c.WH if wh else c.YES_NO if ask else c.STATEMENT
    return c.Copula(subject, predicate, tense, no, question, often, asked=wh)


def compare(
    subject: p.Phrase, adjective: str, than: p.Phrase, relation: str = "more", *, ask: bool = False
) -> c.Copula:
    quality = c.Quality(BOOK.adjectives[adjective], than=than, relation=relation, ends=False)
    return be(subject, quality, ask=ask)


def at(noun: str, preposition: p.Preposition = p.IN, determiner: p.Determiner = p.THE, adjective: str = "") -> p.Place:
    return p.Place(preposition, np(noun, determiner, adjective))


NUMBER = p.NUMERALS
PAIRS: list[tuple[str, str, Callable[[], c.Clause]]] = [
    # agreement and adjective order
    (
        "The red cars are new.",
        "Los coches rojos son nuevos.",
        lambda: be(np("car", adjective="red", plural=True), "new"),
    ),
    ("The red shirt is dirty.", "La camisa roja está sucia.", lambda: be(np("shirt", adjective="red"), "dirty")),
    (
        "These green jackets are ugly.",
        "Estas chaquetas verdes son feas.",
        lambda: be(np("jacket", p.THIS, "green", plural=True), "ugly"),
    ),
    (
        "A good doctor helps my mother.",
        "Un buen médico ayuda a mi madre.",
        lambda: do(np("doctor", p.A, "good"), "help", np("mother", p.MY), a=True),
    ),
    (
        "She is a great writer.",
        "Es una gran escritora.",
        lambda: be(p.SHE, c.Profession(BOOK.nouns["writer"], BOOK.adjectives["great"])),
    ),
    ("We read the first book.", "Leemos el primer libro.", lambda: do(p.WE, "read", np("book", adjective="first"))),
    (
        "He opened the third letter.",
        "Abrió la tercera carta.",
        lambda: do(p.HE, "open", np("letter", adjective="third"), tense=PAST),
    ),
    (
        "The tallest girl sings.",
        "La niña más alta canta.",
        lambda: do(np("girl", adjective="tall", degree=p.SUPERLATIVE), "sing"),
    ),
    (
        "A very old man sleeps.",
        "Un hombre muy viejo duerme.",
        lambda: do(np("man", p.A, "old", degree=p.VERY), "sleep"),
    ),
    # ser, estar, tener
    ("The house is big.", "La casa es grande.", lambda: be(np("house"), "big")),
    ("We are tired.", "Estamos cansados.", lambda: be(p.WE, "tired")),
    (
        "Ana and Isabel are tired.",
        "Ana e Isabel están cansadas.",
        lambda: be(p.Pair(who("Ana"), who("Isabel")), "tired"),
    ),
    (
        "Ana and Pedro are not busy.",
        "Ana y Pedro no están ocupados.",
        lambda: be(p.Pair(who("Ana"), who("Pedro")), "busy", no=True),
    ),
    ("Was the soup cold?", "¿Estaba fría la sopa?", lambda: be(np("soup"), "cold", tense=PAST, ask=True)),
    ("The key is on the table.", "La llave está en la mesa.", lambda: be(np("key"), c.Located(at("table", p.ON)))),
    (
        "The cat is under the bed.",
        "El gato está debajo de la cama.",
        lambda: be(np("cat"), c.Located(at("bed", p.UNDER))),
    ),
    (
        "The bank is next to the hotel.",
        "El banco está al lado del hotel.",
        lambda: be(np("bank"), c.Located(at("hotel", p.NEXT_TO))),
    ),
    ("Ana is a doctor.", "Ana es médica.", lambda: be(who("Ana"), c.Profession(BOOK.nouns["doctor"]))),
    (
        "Pedro wants to be an engineer.",
        "Pedro quiere ser ingeniero.",
        lambda: be(who("Pedro"), c.Profession(BOOK.nouns["engineer"]), tense=WANT),
    ),
    ("They are teachers.", "Son profesores.", lambda: be(p.THEY, c.Profession(BOOK.nouns["teacher"]))),
    (
        "Is she very hungry?",
        "¿Tiene mucha hambre?",
        lambda: be(p.SHE, c.State(BOOK.states["hungry"], very=True), ask=True),
    ),
    ("The dog was afraid.", "El perro tenía miedo.", lambda: be(np("dog"), c.State(BOOK.states["afraid"]), tense=PAST)),
    (
        "My sister is twenty-one years old.",
        "Mi hermana tiene veintiún años.",
        lambda: be(np("sister", p.MY), c.Age(NUMBER["twenty-one"])),
    ),
    ("Laura is always sad.", "Laura siempre está triste.", lambda: be(who("Laura"), "sad", often=OFTEN[0])),
    (
        "Olga is kind and intelligent.",
        "Olga es amable e inteligente.",
        lambda: be(who("Olga"), c.Quality(BOOK.adjectives["kind"], also=BOOK.adjectives["intelligent"])),
    ),
    # tenses, irregular verbs, dropped pronouns
    ("I sleep in the garden.", "Duermo en el jardín.", lambda: do(p.I, "sleep", place=at("garden"))),
    (
        "He brought a gift yesterday.",
        "Trajo un regalo ayer.",
        lambda: do(p.HE, "bring", np("gift", p.A), tense=PAST, time=YESTERDAY),
    ),
    ("I looked for the keys.", "Busqué las llaves.", lambda: do(p.I, "look for", np("key", plural=True), tense=PAST)),
    ("I paid for the coffee.", "Pagué el café.", lambda: do(p.I, "pay for", np("coffee"), tense=PAST)),
    (
        "She had a black horse.",
        "Tenía un caballo negro.",
        lambda: do(p.SHE, "have", np("horse", p.A, "black"), tense=PAST),
    ),
    ("You will make a cake.", "Harás un pastel.", lambda: do(p.YOU, "make", np("cake", p.A), tense=FUTURE)),
    ("They have broken the window.", "Han roto la ventana.", lambda: do(p.THEY, "break", np("window"), tense=PERFECT)),
    (
        "Juan has already written the letter.",
        "Juan ya ha escrito la carta.",
        lambda: do(who("Juan"), "write", np("letter"), tense=PERFECT, often=ALREADY),
    ),
    (
        "The boys are reading poems.",
        "Los niños están leyendo poemas.",
        lambda: do(np("boy", plural=True), "read", np("poem", p.BARE, plural=True), tense=PROGRESSIVE),
    ),
    (
        "I was translating a song.",
        "Estaba traduciendo una canción.",
        lambda: do(p.I, "translate", np("song", p.A), tense=PAST_PROGRESSIVE),
    ),
    (
        "We are going to close the door.",
        "Vamos a cerrar la puerta.",
        lambda: do(p.WE, "close", np("door"), tense=GOING_TO),
    ),
    ("You must study the lesson.", "Debes estudiar la lección.", lambda: do(p.YOU, "study", np("lesson"), tense=MUST)),
    ("The bird cannot fly.", "El pájaro no puede volar.", lambda: do(np("bird"), "fly", tense=CAN, no=True)),
    (
        "Yesterday Rosa heard the song.",
        "Ayer Rosa oyó la canción.",
        lambda: do(who("Rosa"), "hear", np("song"), tense=PAST, time=YESTERDAY, first=True),
    ),
    (
        "My friends live in Seville.",
        "Mis amigos viven en Sevilla.",
        lambda: do(np("friend", p.MY, plural=True), "live", place=p.Place(p.IN, p.Word("Seville", "Sevilla"))),
    ),
    (
        "The nurse knows the city well.",
        "El enfermero conoce bien la ciudad.",
        lambda: do(np("nurse"), "know", np("city"), how="well"),
    ),
    # negation
    ("Ana does not eat meat.", "Ana no come carne.", lambda: do(who("Ana"), "eat", np("meat", p.BARE), no=True)),
    (
        "Luis never drinks wine.",
        "Luis nunca bebe vino.",
        lambda: do(who("Luis"), "drink", np("wine", p.BARE), often=NEVER),
    ),
    ("Nobody saw the fox.", "Nadie vio al zorro.", lambda: do(p.NOBODY, "see", np("fox"), tense=PAST, a=True)),
    # questions
    ("Does the girl sing well?", "¿Canta bien la niña?", lambda: do(np("girl"), "sing", ask=True, how="well")),
    (
        "Did Carmen buy the dress?",
        "¿Compró Carmen el vestido?",
        lambda: do(who("Carmen"), "buy", np("dress"), tense=PAST, ask=True),
    ),
    (
        "Has Diego seen the film?",
        "¿Ha visto Diego la película?",
        lambda: do(who("Diego"), "see", np("film"), tense=PERFECT, ask=True),
    ),
    ("Does the cat eat fish?", "¿Come pescado el gato?", lambda: do(np("cat"), "eat", np("fish", p.BARE), ask=True)),
    (
        "Is Hector explaining the poem to me?",
        "¿Me está explicando Héctor el poema?",
        lambda: do(who("Hector"), "explain", np("poem"), tense=PROGRESSIVE, to=p.I, ask=True),
    ),
    (
        "Is the boy eating an apple?",
        "¿Está el niño comiendo una manzana?",
        lambda: do(np("boy"), "eat", np("apple", p.A), tense=PROGRESSIVE, ask=True),
    ),
    (
        "What is Maria drawing?",
        "¿Qué está dibujando María?",
        lambda: do(who("Maria"), "draw", tense=PROGRESSIVE, wh=("what", "qué")),
    ),
    ("Who does the dog follow?", "¿A quién sigue el perro?", lambda: do(np("dog"), "follow", wh=("who", "a quién"))),
    ("Who follows the dog?", "¿Quién sigue al perro?", lambda: do(p.WHO, "follow", np("dog"), a=True)),
    (
        "Where does your uncle work?",
        "¿Dónde trabaja tu tío?",
        lambda: do(np("uncle", p.YOUR), "work", wh=("where", "dónde")),
    ),
    ("When will they arrive?", "¿Cuándo llegarán?", lambda: do(p.THEY, "arrive", tense=FUTURE, wh=("when", "cuándo"))),
    (
        "Why is the princess sad?",
        "¿Por qué está triste la princesa?",
        lambda: be(np("princess"), "sad", wh=("why", "por qué")),
    ),
    (
        "How old is Irene?",
        "¿Cuántos años tiene Irene?",
        lambda: be(who("Irene"), c.Asked("tener", 0), wh=("how old", "cuántos años")),
    ),
    (
        "How many chairs does she have?",
        "¿Cuántas sillas tiene?",
        lambda: do(p.SHE, "have", wh=np("chair", p.HOW_MANY, plural=True).render()[:2]),
    ),
    (
        "Which book did you choose?",
        "¿Qué libro elegiste?",
        lambda: do(p.YOU, "choose", tense=PAST, wh=np("book", p.WHICH).render()[:2]),
    ),
    # clitics and recipients
    ("Ana sees him.", "Ana lo ve.", lambda: do(who("Ana"), "see", p.HE)),
    ("Do you love me?", "¿Me quieres?", lambda: do(p.YOU, "love", p.I, ask=True)),
    ("We want to help her.", "Queremos ayudarla.", lambda: do(p.WE, "help", p.SHE, tense=WANT)),
    ("Pedro is reading it.", "Pedro lo está leyendo.", lambda: do(who("Pedro"), "read", p.IT, tense=PROGRESSIVE)),
    (
        "I gave Ana's book to Pedro.",
        "Le di el libro de Ana a Pedro.",
        lambda: do(p.I, "give", np("book", of=who("Ana")), tense=PAST, to=who("Pedro")),
    ),
    ("She sends us a photo.", "Nos envía una foto.", lambda: do(p.SHE, "send", np("photo", p.A), to=p.WE)),
    (
        "He explained the problem to me.",
        "Me explicó el problema.",
        lambda: do(p.HE, "explain", np("problem"), tense=PAST, to=p.I),
    ),
    ("Elena gave it to them.", "Elena se lo dio.", lambda: do(who("Elena"), "give", p.IT, tense=PAST, to=p.THEY)),
    ("I am going to lend it to you.", "Voy a prestártelo.", lambda: do(p.I, "lend", p.IT, tense=GOING_TO, to=p.YOU)),
    (
        "Maria bought the apple and ate it.",
        "María compró la manzana y la comió.",
        lambda: c.Compound(
            do(who("Maria"), "buy", np("apple"), tense=PAST),
            [(c.AND, do(p.Gap(2, True, False), "eat", p.IT_FEMININE, tense=PAST))],
        ),
    ),
    # gustar and doler
    ("I like coffee.", "Me gusta el café.", lambda: c.Liking(p.I, v("like"), np("coffee", p.GENERIC))),
    (
        "The boy does not like onions.",
        "Al niño no le gustan las cebollas.",
        lambda: c.Liking(np("boy"), v("like"), np("onion", p.GENERIC, plural=True), negative=True),
    ),
    (
        "Does Laura like to swim?",
        "¿Le gusta nadar a Laura?",
        lambda: c.Liking(who("Laura"), v("like"), ("swim", "nadar"), question=c.YES_NO),
    ),
    ("They loved the film.", "Les encantó la película.", lambda: c.Liking(p.THEY, v("adore"), np("film"), PAST)),
    ("My feet hurt.", "Me duelen los pies.", lambda: c.Hurting(p.I, v("hurt"), BOOK.nouns["foot"], True, "my")),
    (
        "The doctor's hand hurts.",
        "Al médico le duele la mano.",
        lambda: c.Hurting(np("doctor"), v("hurt"), BOOK.nouns["hand"]),
    ),
    # possession, comparison, numbers
    ("Our houses are old.", "Nuestras casas son viejas.", lambda: be(np("house", p.OUR, plural=True), "old")),
    ("The doctor's car is slow.", "El coche del médico es lento.", lambda: be(np("car", of=np("doctor")), "slow")),
    ("Ana is taller than Pedro.", "Ana es más alta que Pedro.", lambda: compare(who("Ana"), "tall", who("Pedro"))),
    (
        "Is the train as fast as the car?",
        "¿Es el tren tan rápido como el coche?",
        lambda: compare(np("train"), "fast", np("car"), "as", ask=True),
    ),
    ("He is less famous than her.", "Es menos famoso que ella.", lambda: compare(p.HE, "famous", p.SHE, "less")),
    (
        "These books are better than those books.",
        "Estos libros son mejores que esos libros.",
        lambda: be(
            np("book", p.THIS, plural=True), c.Ranking("better", ("mejor", "mejores"), np("book", p.THAT, plural=True))
        ),
    ),
    (
        "The chair costs two hundred euros.",
        "La silla cuesta doscientos euros.",
        lambda: do(np("chair"), "cost", np("euro", NUMBER["two hundred"], plural=True)),
    ),
    (
        "Ivan has twenty-one cups.",
        "Iván tiene veintiuna tazas.",
        lambda: do(who("Ivan"), "have", np("cup", NUMBER["twenty-one"], plural=True)),
    ),
    (
        "We saw thirty-one boats.",
        "Vimos treinta y un barcos.",
        lambda: do(p.WE, "see", np("boat", NUMBER["thirty-one"], plural=True), tense=PAST),
    ),
    (
        "She needs seven or eight candles.",
        "Necesita siete u ocho velas.",
        lambda: do(p.SHE, "need", np("candle", NUMBER["seven or eight"], plural=True)),
    ),
    # relative clauses, order, personal a, contractions, el agua
    (
        "The man who sells fish has a dog.",
        "El hombre que vende pescado tiene un perro.",
        lambda: do(
            np("man", relative=c.Relative("who", do(p.Gap(2, False, False), "sell", np("fish", p.BARE)))),
            "have",
            np("dog", p.A),
        ),
    ),
    (
        "I lost the ring that Juan bought.",
        "Perdí el anillo que Juan compró.",
        lambda: do(
            p.I, "lose", np("ring", relative=c.Relative("that", do(who("Juan"), "buy", tense=PAST))), tense=PAST
        ),
    ),
    ("The dog follows the cat.", "El perro sigue al gato.", lambda: do(np("dog"), "follow", np("cat"), a=True)),
    ("The cat follows the dog.", "El gato sigue al perro.", lambda: do(np("cat"), "follow", np("dog"), a=True)),
    ("We go to the park.", "Vamos al parque.", lambda: do(p.WE, "go", place=at("park", p.TO))),
    (
        "Hector left the museum.",
        "Héctor salió del museo.",
        lambda: do(who("Hector"), "leave", tense=PAST, place=at("museum", p.LEAVING)),
    ),
    (
        "The cold water is in the glass.",
        "El agua fría está en el vaso.",
        lambda: be(np("water", adjective="cold"), c.Located(at("glass"))),
    ),
    ("The eagles see the axe.", "Las águilas ven el hacha.", lambda: do(np("eagle", plural=True), "see", np("axe"))),
    ("This classroom is noisy.", "Esta aula es ruidosa.", lambda: be(np("classroom", p.THIS), "noisy")),
    ("The first eagle flew.", "La primera águila voló.", lambda: do(np("eagle", adjective="first"), "fly", tense=PAST)),
    # reflexive, generic, existential, imperative, compound
    (
        "I get up at seven o'clock.",
        "Me levanto a las siete.",
        lambda: do(p.I, "get up", time=next(t for t in CLOCK if t.english == "at seven o'clock")),
    ),
    (
        "My father wants to wake up.",
        "Mi padre quiere despertarse.",
        lambda: do(np("father", p.MY), "wake up", tense=WANT),
    ),
    (
        "Cats drink water.",
        "Los gatos beben agua.",
        lambda: do(np("cat", p.GENERIC, plural=True), "drink", np("water", p.BARE)),
    ),
    (
        "There are three spoons on the table.",
        "Hay tres cucharas en la mesa.",
        lambda: c.Existence(np("spoon", NUMBER["three"], plural=True), at("table", p.ON)),
    ),
    (
        "There was no bread in the kitchen.",
        "No había pan en la cocina.",
        lambda: c.Existence(np("bread", p.BARE), at("kitchen"), PAST, negative=True),
    ),
    ("Close the window.", "Cierra la ventana.", lambda: c.Order(v("close"), np("window"))),
    (
        "Give me the key, please.",
        "Dame la llave, por favor.",
        lambda: c.Order(v("give"), np("key"), recipient=p.I, please=2),
    ),
    ("Bring it to us.", "Tráenoslo.", lambda: c.Order(v("bring"), p.IT, recipient=p.WE)),
    (
        "Please help Elena.",
        "Por favor, ayuda a Elena.",
        lambda: c.Order(v("help"), who("Elena"), personal=True, please=1),
    ),
    (
        "I think that the horse is sick.",
        "Creo que el caballo está enfermo.",
        lambda: c.Opinion(p.I, v("think"), be(np("horse"), "sick")),
    ),
    (
        "Oscar sleeps because he is tired.",
        "Óscar duerme porque está cansado.",
        lambda: c.Compound(do(who("Oscar"), "sleep"), [(c.BECAUSE, be(p.HE, "tired"))]),
    ),
    (
        "She wants the blouse, but it is expensive.",
        "Quiere la blusa, pero es cara.",
        lambda: c.Compound(do(p.SHE, "want", np("blouse")), [(c.BUT, be(p.IT_FEMININE, "expensive"))]),
    ),
    (
        "Rosa was reading when Luis came.",
        "Rosa estaba leyendo cuando Luis vino.",
        lambda: c.Compound(
            do(who("Rosa"), "read", tense=PAST_PROGRESSIVE), [(c.WHEN, do(who("Luis"), "come", tense=PAST))]
        ),
    ),
    (
        "On Monday Ana and I will travel to London.",
        "El lunes Ana y yo viajaremos a Londres.",
        lambda: do(
            p.Pair(who("Ana"), p.I),
            "travel",
            tense=FUTURE,
            place=p.Place(p.TO, p.Word("London", "Londres")),
            time=ON_MONDAY,
            first=True,
        ),
    ),
]


@pytest.mark.parametrize(("english", "spanish", "clause"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_gold_pair(english: str, spanish: str, clause: Callable[[], c.Clause]) -> None:
    source, target, phenomena = realise(clause())
    assert (source, target) == (english, spanish)
    assert set(phenomena) <= set(PHENOMENA)


def tagged(clause: c.Clause) -> set[str]:
    return set(realise(clause)[2])


def test_tags_mark_what_a_sentence_shows() -> None:
    assert tagged(do(who("Ana"), "see", p.HE)) == {"present", "object_clitic"}
    assert tagged(be(np("car"), "big")) == {"present", "ser", "irregular_verb"}
    assert tagged(be(np("house", p.MY), "clean")) == {
        "present",
        "estar",
        "possessive",
        "gender_agreement",
        "irregular_verb",
    }
    assert tagged(do(p.I, "eat", np("apple", p.A, "fresh"))) == {
        "present",
        "dropped_pronoun",
        "gender_agreement",
        "adjective_after_noun",
    }
    assert "gender_agreement" not in tagged(do(p.I, "drink", np("water")))
    assert "stressed_a" in tagged(do(p.I, "drink", np("water")))
    assert "stressed_a" not in tagged(do(p.I, "drink", np("water", p.THIS)))
    assert "contraction" in tagged(do(who("Ana"), "see", np("dog"), a=True))
    assert "contraction" not in tagged(do(who("Ana"), "see", np("cow"), a=True))
    assert "irregular_verb" in tagged(do(p.I, "sleep"))
    assert "irregular_verb" not in tagged(do(p.WE, "sleep"))
    assert "dropped_pronoun" not in tagged(c.Liking(p.I, v("like"), np("coffee", p.GENERIC)))
    assert "euphonic_conjunction" not in tagged(be(p.Pair(who("Ana"), who("Pedro")), "tall"))
    assert "profession" not in tagged(be(p.SHE, c.Profession(BOOK.nouns["writer"], BOOK.adjectives["good"])))


def test_every_phenomenon_is_shown_by_a_gold_pair() -> None:
    shown: set[str] = {"word_order"}  # a property of the words chosen, tested on the corpus
    for _, _, clause in PAIRS:
        shown |= tagged(clause())
    assert shown == set(PHENOMENA)
