"""The markup step: what counts as markup, what disagrees, and entities of plain text only."""

from __future__ import annotations

import html
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recambio.data  # noqa: F401
from recambio.data.cleaning import Cleaner, CleaningReport
from recambio.data.cleaning.markup import Markup
from recambio.data.pairs import Pair, read_moses
from recambio.errors import InputError

STEP = Markup()
MARKED = st.lists(
    st.sampled_from(
        [
            *(
                "&",
                "amp;",
                "&amp;",
                "&lt;",
                "&gt;",
                "&#39;",
                "&#x26;",
                "&nbsp;",
                "&shy;",
                "&ntilde;",
                "n",
                "&#771;",
                "&#0;",
            ),
            *("<b>", "</b>", "b", ";", "#", " "),
        ]
    ),
    max_size=10,
).map("".join)


def after(source: str, target: str) -> tuple[str, str] | str:
    result = STEP(Pair(source, target))
    return result if isinstance(result, str) else (result.source, result.target)


def test_entities_of_plain_text_are_unescaped() -> None:
    assert after("Tom &amp; Jerry", "Tom y Jerry") == ("Tom & Jerry", "Tom y Jerry")
    assert after("&quot;It&#39;s&quot;", "&laquo;Ma&ntilde;ana&raquo; &#8212; 3,50&nbsp;&euro;") == (
        '"It\'s"',
        "«Mañana» — 3,50 €",
    )
    # Escaped twice on the way through a web page.
    assert after("A &amp;amp; B", "A y B") == ("A & B", "A y B")
    assert after("x &lt; y", "x &lt; y") == ("x < y", "x < y")
    # What is no entity of HTML, or lacks its semicolon, is text.
    for text in ("AT&T; R&D; &copy 2020; a && b;", "http://a.org/?x=1&copy=2 is the address here, as you see", "Q&A;"):
        assert after(text, text) == (text, text)
    pair = STEP(Pair("a &amp; b", "c", ("tag",), 3, "f"))
    assert isinstance(pair, Pair) and (pair.tags, pair.line, pair.file) == (("tag",), 3, "f")


def test_a_text_about_markup_keeps_its_entities() -> None:
    pair = ("Write &lt;b&gt; for bold &amp; so on.", "Escriba &lt;b&gt; para la negrita &amp; demás.")
    assert after(*pair) == pair
    tagged = ("The <b>bold</b> &amp; the brave.", "Los <b>audaces</b> &amp; los valientes.")
    assert after(*tagged) == tagged
    assert STEP.normalize_line("Write &lt;b&gt; here &amp; there") == "Write &lt;b&gt; here &amp; there"
    assert STEP.normalize_line("Tom &amp; Jerry") == "Tom & Jerry"


@given(MARKED)
def test_a_line_is_unescaped_once_and_for_all_into_the_normal_form(text: str) -> None:
    cleaner = Cleaner(["normalize", "markup"])
    line = cleaner.normalize_line(text)
    assert cleaner.normalize_line(line) == line
    assert Cleaner(["markup", "normalize"]).normalize_line(line) == line


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc", "Cf"]), min_size=1, max_size=20))
def test_what_was_escaped_comes_back(text: str) -> None:
    cleaner = Cleaner(["normalize", "markup"])
    plain = cleaner.normalize_line(text)
    if "<" not in plain:  # else it may hold a tag
        assert cleaner.normalize_line(html.escape(plain)) == plain


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Click <b>here</b>.", "Haga clic <b>aquí</b>."),
        ("<i>earlier</i> then <b>afterwards</b>", "<b>después</b> tras lo <i>anterior</i>"),
        (
            'For more of this see the <a href="en.html">manual</a> that comes with it.',
            'Para saber más de esto véase el <a href="es.html" lang="es">manual</a> que lo acompaña.',
        ),
        ("%d of %s files", "%2$s: %1$d ficheros"),
        ("Hello {name}, you have {0:.2f} coins", "Hola {name}, tienes {0:.1f} monedas"),
        ("%(count)s items were found", "%(count)s elementos hallados"),
        # None of these is markup.
        ("50 % discount, 100% sure, 5% de", "50 % de descuento, 100% seguro"),
        ("if a < b and c > d", "si a<b y c>d"),
        ("Open <file> with a program", "Abrir <archivo> con un programa"),
        ("Write to <tom@example.com>.", "Escribe."),
        ("the set {1, 2, 3} and {{x}}", "el conjunto"),
        ("100%", "100 %"),
    ],
)
def test_markup_that_agrees_stays(source: str, target: str) -> None:
    assert after(source, target) == (source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Click <b>here</b>.", "Haga clic aquí."),
        ("Click <b>here</b>.", "Haga clic <i>aquí</i>."),
        ("Click the button called <guilabel>here</guilabel>.", "Haga clic en el botón <guilabel>aquí."),
        ("a line<br/> break", "un salto de línea"),
        ("%d of %s files were here", "%s ficheros había aquí"),
        ("Hello {name}, how are you?", "Hola {nombre}, ¿qué tal?"),
        ("Hello there ${user}", "Hola, usuario"),
        ("%(count)s items found", "%(cuenta)s elementos hallados"),
    ],
)
def test_markup_that_disagrees_goes(source: str, target: str) -> None:
    assert after(source, target) == "markup differs"
    assert after(target, source) == "markup differs"
    assert isinstance(Markup(differing=True)(Pair(source, target)), Pair)


def test_a_side_that_is_mostly_markup_goes() -> None:
    assert after("https://www.example.com/a/b.html", "La página") == "markup"
    assert after("The page", "Véase www.example.com/una/pagina/larga") == "markup"
    assert after("%s: %d", "%s: %d") == "markup"
    assert after("<p><b>x</b></p>", "<p><b>y</b></p>") == "markup"
    assert after("&lt;p&gt;x&lt;/p&gt;", "La página") == "markup"
    kept = ("Read more about that at http://a.org today.", "Hoy puede leer más sobre eso en http://a.org ya.")
    assert after(*kept) == kept
    # 13 of 26 characters, white space not counted.
    half = "http://abc.de and thirteen mo"
    assert after(half, half) == (half, half)
    assert after(half.replace("mo", "m"), half) == "markup"
    assert isinstance(Markup(max_share=1.0)(Pair("http://a.org", "http://a.org")), Pair)
    with pytest.raises(InputError, match="'markup' has max_share 2; it is a share, from 0 to 1"):
        Markup(max_share=2)


@pytest.mark.parametrize("name", ["tatoeba", "europarl-sample", "gnome", "python-docs", "php-manual"])
def test_real_text_without_markup_stays(name: str, shared_data: Path) -> None:
    folder = shared_data / name
    report = CleaningReport("train")
    pairs = read_moses(folder / "train.en.xz", folder / "train.es.xz", strict=True)
    for _ in Cleaner(["markup"]).clean(pairs, report):
        pass
    assert sum(report.dropped.values()) < 0.005 * report.read


@pytest.mark.parametrize("again", ["amp;", "#38;", "#x26;"])
def test_a_line_of_nested_entities_takes_no_time(again: str) -> None:
    line = f"A &{again * 200_000}lt; B"
    since = time.process_time()
    assert Markup().normalize_line(line) == "A < B"
    assert time.process_time() - since < 2
