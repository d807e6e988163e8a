"""Word forms of the embedded grammar against hand-written ones."""

from __future__ import annotations

import pytest

from recambio.data.grammar import english, spanish
from recambio.data.grammar.lexicon import lexicon

# infinitive: stem change; present, preterite (yo tú él nosotros ellos); imperfect yo; future yo; gerund; participle
CONJUGATIONS = {
    "ser": ("", "soy eres es somos son", "fui fuiste fue fuimos fueron", "era", "seré", "siendo", "sido"),
    "estar": (
        "",
        "estoy estás está estamos están",
        "estuve estuviste estuvo estuvimos estuvieron",
        "estaba",
        "estaré",
        "estando",
        "estado",
    ),
    "ir": ("", "voy vas va vamos van", "fui fuiste fue fuimos fueron", "iba", "iré", "yendo", "ido"),
    "haber": (
        "",
        "he has ha hemos han",
        "hube hubiste hubo hubimos hubieron",
        "había",
        "habré",
        "habiendo",
        "habido",
    ),
    "tener": (
        "ie",
        "tengo tienes tiene tenemos tienen",
        "tuve tuviste tuvo tuvimos tuvieron",
        "tenía",
        "tendré",
        "teniendo",
        "tenido",
    ),
    "hacer": (
        "",
        "hago haces hace hacemos hacen",
        "hice hiciste hizo hicimos hicieron",
        "hacía",
        "haré",
        "haciendo",
        "hecho",
    ),
    "querer": (
        "ie",
        "quiero quieres quiere queremos quieren",
        "quise quisiste quiso quisimos quisieron",
        "quería",
        "querré",
        "queriendo",
        "querido",
    ),
    "poder": (
        "ue",
        "puedo puedes puede podemos pueden",
        "pude pudiste pudo pudimos pudieron",
        "podía",
        "podré",
        "pudiendo",
        "podido",
    ),
    "decir": (
        "i",
        "digo dices dice decimos dicen",
        "dije dijiste dijo dijimos dijeron",
        "decía",
        "diré",
        "diciendo",
        "dicho",
    ),
    "saber": (
        "",
        "sé sabes sabe sabemos saben",
        "supe supiste supo supimos supieron",
        "sabía",
        "sabré",
        "sabiendo",
        "sabido",
    ),
    "dar": ("", "doy das da damos dan", "di diste dio dimos dieron", "daba", "daré", "dando", "dado"),
    "ver": ("", "veo ves ve vemos ven", "vi viste vio vimos vieron", "veía", "veré", "viendo", "visto"),
    "venir": (
        "ie",
        "vengo vienes viene venimos vienen",
        "vine viniste vino vinimos vinieron",
        "venía",
        "vendré",
        "viniendo",
        "venido",
    ),
    "salir": (
        "",
        "salgo sales sale salimos salen",
        "salí saliste salió salimos salieron",
        "salía",
        "saldré",
        "saliendo",
        "salido",
    ),
    "traer": (
        "",
        "traigo traes trae traemos traen",
        "traje trajiste trajo trajimos trajeron",
        "traía",
        "traeré",
        "trayendo",
        "traído",
    ),
    "oír": (
        "",
        "oigo oyes oye oímos oyen",
        "oí oíste oyó oímos oyeron",
        "oía",
        "oiré",
        "oyendo",
        "oído",
    ),
    "leer": (
        "",
        "leo lees lee leemos leen",
        "leí leíste leyó leímos leyeron",
        "leía",
        "leeré",
        "leyendo",
        "leído",
    ),
    "creer": (
        "",
        "creo crees cree creemos creen",
        "creí creíste creyó creímos creyeron",
        "creía",
        "creeré",
        "creyendo",
        "creído",
    ),
    "dormir": (
        "ue",
        "duermo duermes duerme dormimos duermen",
        "dormí dormiste durmió dormimos durmieron",
        "dormía",
        "dormiré",
        "durmiendo",
        "dormido",
    ),
    "seguir": (
        "i",
        "sigo sigues sigue seguimos siguen",
        "seguí seguiste siguió seguimos siguieron",
        "seguía",
        "seguiré",
        "siguiendo",
        "seguido",
    ),
    "vestir": (
        "i",
        "visto vistes viste vestimos visten",
        "vestí vestiste vistió vestimos vistieron",
        "vestía",
        "vestiré",
        "vistiendo",
        "vestido",
    ),
    "elegir": (
        "i",
        "elijo eliges elige elegimos eligen",
        "elegí elegiste eligió elegimos eligieron",
        "elegía",
        "elegiré",
        "eligiendo",
        "elegido",
    ),
    "sonreír": (
        "",
        "sonrío sonríes sonríe sonreímos sonríen",
        "sonreí sonreíste sonrió sonreímos sonrieron",
        "sonreía",
        "sonreiré",
        "sonriendo",
        "sonreído",
    ),
    "conocer": (
        "",
        "conozco conoces conoce conocemos conocen",
        "conocí conociste conoció conocimos conocieron",
        "conocía",
        "conoceré",
        "conociendo",
        "conocido",
    ),
    "conducir": (
        "",
        "conduzco conduces conduce conducimos conducen",
        "conduje condujiste condujo condujimos condujeron",
        "conducía",
        "conduciré",
        "conduciendo",
        "conducido",
    ),
    "traducir": (
        "",
        "traduzco traduces traduce traducimos traducen",
        "traduje tradujiste tradujo tradujimos tradujeron",
        "traducía",
        "traduciré",
        "traduciendo",
        "traducido",
    ),
    "construir": (
        "",
        "construyo construyes construye construimos construyen",
        "construí construiste construyó construimos construyeron",
        "construía",
        "construiré",
        "construyendo",
        "construido",
    ),
    "proteger": (
        "",
        "protejo proteges protege protegemos protegen",
        "protegí protegiste protegió protegimos protegieron",
        "protegía",
        "protegeré",
        "protegiendo",
        "protegido",
    ),
    "buscar": (
        "",
        "busco buscas busca buscamos buscan",
        "busqué buscaste buscó buscamos buscaron",
        "buscaba",
        "buscaré",
        "buscando",
        "buscado",
    ),
    "pagar": (
        "",
        "pago pagas paga pagamos pagan",
        "pagué pagaste pagó pagamos pagaron",
        "pagaba",
        "pagaré",
        "pagando",
        "pagado",
    ),
    "abrazar": (
        "",
        "abrazo abrazas abraza abrazamos abrazan",
        "abracé abrazaste abrazó abrazamos abrazaron",
        "abrazaba",
        "abrazaré",
        "abrazando",
        "abrazado",
    ),
    "jugar": (
        "ue",
        "juego juegas juega jugamos juegan",
        "jugué jugaste jugó jugamos jugaron",
        "jugaba",
        "jugaré",
        "jugando",
        "jugado",
    ),
    "cerrar": (
        "ie",
        "cierro cierras cierra cerramos cierran",
        "cerré cerraste cerró cerramos cerraron",
        "cerraba",
        "cerraré",
        "cerrando",
        "cerrado",
    ),
    "mostrar": (
        "ue",
        "muestro muestras muestra mostramos muestran",
        "mostré mostraste mostró mostramos mostraron",
        "mostraba",
        "mostraré",
        "mostrando",
        "mostrado",
    ),
    "enviar": (
        "í",
        "envío envías envía enviamos envían",
        "envié enviaste envió enviamos enviaron",
        "enviaba",
        "enviaré",
        "enviando",
        "enviado",
    ),
    "romper": (
        "",
        "rompo rompes rompe rompemos rompen",
        "rompí rompiste rompió rompimos rompieron",
        "rompía",
        "romperé",
        "rompiendo",
        "roto",
    ),
    "volver": (
        "ue",
        "vuelvo vuelves vuelve volvemos vuelven",
        "volví volviste volvió volvimos volvieron",
        "volvía",
        "volveré",
        "volviendo",
        "vuelto",
    ),
    "hablar": (
        "",
        "hablo hablas habla hablamos hablan",
        "hablé hablaste habló hablamos hablaron",
        "hablaba",
        "hablaré",
        "hablando",
        "hablado",
    ),
    "escribir": (
        "",
        "escribo escribes escribe escribimos escriben",
        "escribí escribiste escribió escribimos escribieron",
        "escribía",
        "escribiré",
        "escribiendo",
        "escrito",
    ),
}


@pytest.mark.parametrize("infinitive", CONJUGATIONS)
def test_conjugation(infinitive: str) -> None:
    change, present, preterite, imperfect, future, gerund, participle = CONJUGATIONS[infinitive]
    forms = spanish.conjugate(infinitive, change)
    assert " ".join(forms.present) == present
    assert " ".join(forms.preterite) == preterite
    assert forms.imperfect[0] == imperfect
    assert forms.future[0] == future
    assert (forms.gerund, forms.participle) == (gerund, participle)


def test_the_lexicon_conjugates_its_verbs_as_listed() -> None:
    # The stem changes above are the ones that the vocabulary names.
    for verb in lexicon().verbs.values():
        if verb.spanish.infinitive in CONJUGATIONS:
            assert " ".join(verb.spanish.present) == CONJUGATIONS[verb.spanish.infinitive][1]


def test_imperfects_and_futures_by_person() -> None:
    assert spanish.conjugate("ir").imperfect == ("iba", "ibas", "iba", "íbamos", "iban")
    assert spanish.conjugate("ser").imperfect == ("era", "eras", "era", "éramos", "eran")
    assert spanish.conjugate("estar").imperfect[3] == "estábamos"
    assert spanish.conjugate("vivir").imperfect == ("vivía", "vivías", "vivía", "vivíamos", "vivían")
    assert spanish.conjugate("poner").future == ("pondré", "pondrás", "pondrá", "pondremos", "pondrán")


def test_irregular_persons() -> None:
    assert spanish.conjugate("hablar").irregular == dict.fromkeys(
        ("present", "preterite", "imperfect", "future"), frozenset()
    )
    assert spanish.conjugate("dormir", "ue").irregular["present"] == {0, 1, 2, 4}
    assert spanish.conjugate("buscar").irregular["preterite"] == {0}


@pytest.mark.parametrize(
    ("imperative", "one", "two"),
    [
        ("da", "dame", "dámelo"),
        ("di", "dime", "dímelo"),
        ("cierra", "ciérrame", "ciérramelo"),
        ("muestra", "muéstrame", "muéstramelo"),
        ("trae", "tráeme", "tráemelo"),
        ("envía", "envíame", "envíamelo"),
        ("limpia", "límpiame", "límpiamelo"),
        ("explica", "explícame", "explícamelo"),
        ("construye", "constrúyeme", "constrúyemelo"),
    ],
)
def test_imperative_with_enclitics(imperative: str, one: str, two: str) -> None:
    assert spanish.accent_imperative(imperative, 1) + "me" == one
    assert spanish.accent_imperative(imperative, 2) + "melo" == two


def test_infinitive_with_two_enclitics() -> None:
    assert [spanish.accent_infinitive(v) + "selo" for v in ("dar", "leer", "escribir")] == [
        "dárselo",
        "leérselo",
        "escribírselo",
    ]


PLURALS = {
    "casa": "casas",
    "café": "cafés",
    "sofá": "sofás",
    "lápiz": "lápices",
    "actriz": "actrices",
    "canción": "canciones",
    "autobús": "autobuses",
    "jardín": "jardines",
    "inglés": "ingleses",
    "alemán": "alemanes",
    "joven": "jóvenes",
    "reloj": "relojes",
    "árbol": "árboles",
    "azul": "azules",
    "difícil": "difíciles",
    "profesor": "profesores",
    "suéter": "suéteres",
    "rey": "reyes",
}


def test_plurals() -> None:
    assert {word: spanish.plural(word) for word in PLURALS} == PLURALS


def test_adjective_forms() -> None:
    forms = {word: spanish.adjective_forms(word) for word in ("rojo", "verde", "azul", "trabajador")}
    assert forms["rojo"] == ("rojo", "rojos", "roja", "rojas")
    assert forms["verde"] == ("verde", "verdes", "verde", "verdes")
    assert forms["azul"] == ("azul", "azules", "azul", "azules")
    assert forms["trabajador"] == ("trabajador", "trabajadores", "trabajadora", "trabajadoras")
    assert spanish.adjective_forms("francés") == ("francés", "franceses", "francesa", "francesas")
    assert spanish.adjective_forms("alemán") == ("alemán", "alemanes", "alemana", "alemanas")
    assert spanish.adjective_forms("español") == ("español", "españoles", "española", "españolas")


def test_small_words_by_sound() -> None:
    assert [spanish.and_before(w) for w in ("Isabel", "Irene", "hijos", "hielo", "Ana", "inteligente")] == [
        "e",
        "e",
        "e",
        "y",
        "y",
        "e",
    ]
    assert [spanish.or_before(w) for w in ("ocho", "Óscar", "hotel", "siete")] == ["u", "u", "u", "o"]
    assert spanish.with_a("el perro") == "al perro"
    assert spanish.with_a("él") == "a él"
    assert spanish.with_de("el médico") == "del médico"
    assert spanish.with_de("Elena") == "de Elena"


@pytest.mark.parametrize(
    ("parts", "forms"),
    [
        ("have had had", "have has had had having"),
        ("do did done", "do does did done doing"),
        ("go went gone", "go goes went gone going"),
        ("swim swam swum", "swim swims swam swum swimming"),
        ("cut cut cut", "cut cuts cut cut cutting"),
        ("carry", "carry carries carried carried carrying"),
        ("play", "play plays played played playing"),
        ("hug", "hug hugs hugged hugged hugging"),
        ("forget forgot forgotten", "forget forgets forgot forgotten forgetting"),
        ("write wrote written", "write writes wrote written writing"),
        ("visit", "visit visits visited visited visiting"),
        ("push", "push pushes pushed pushed pushing"),
        ("see saw seen", "see sees saw seen seeing"),
    ],
)
def test_english_verbs(parts: str, forms: str) -> None:
    verb = english.verb_forms(parts)
    assert " ".join((verb.base, verb.third, verb.past, verb.participle, verb.gerund)) == forms


def test_english_particles_nouns_and_adjectives() -> None:
    assert english.verb_forms("look+for").third == "looks for"
    assert english.verb_forms("wake woke woken+up").gerund == "waking up"
    assert [english.plural(w) for w in ("box", "city", "boy", "tomato", "photo", "church")] == [
        "boxes",
        "cities",
        "boys",
        "tomatoes",
        "photos",
        "churches",
    ]
    assert [english.comparative(w) for w in ("big", "easy", "brave", "tall", "noisy")] == [
        "bigger",
        "easier",
        "braver",
        "taller",
        "noisier",
    ]
    assert english.superlative("thin") == "thinnest"
    assert [english.indefinite_article(w) for w in ("apple", "honest man", "university", "useful map", "hotel")] == [
        "an",
        "an",
        "a",
        "a",
        "a",
    ]


def test_the_vocabulary_has_the_promised_size() -> None:
    book = lexicon()
    assert len(book.lexemes) == len({word.key for word in book.lexemes})
    assert len(book.nouns) >= 200
    assert len(book.adjectives) >= 80
    assert len(book.verbs) >= 90


# The gender of nouns whose ending does not tell, and some that do, written by hand.
FEMININE = (
    "mano flor llave foto moto leche carne calle canción lección ciudad universidad estación actriz madre mujer agua "
    "águila hacha aula manzana mesa camisa"
)
MASCULINE = (
    "mapa problema poema idioma lápiz pan café té avión camión jardín pie tren coche sofá guante padre "
    "hombre árbol hotel arroz pastel reloj perro libro zapato"
)


def test_gender_of_nouns() -> None:
    by_form = {noun.spanish[0][0]: noun for noun in lexicon().nouns.values()}
    wrong = [w for w in FEMININE.split() if w in by_form and not by_form[w].feminine]
    wrong += [w for w in MASCULINE.split() if w in by_form and by_form[w].feminine]
    assert not wrong
    assert sum(w in by_form for w in f"{FEMININE} {MASCULINE}".split()) >= 45
    stressed = {noun.spanish[0][0] for noun in by_form.values() if noun.has_stressed_a}
    assert stressed == {"agua", "águila", "hacha", "aula"}
