"""Translation memories: what of a unit is a pair, what of a segment is text, and that a document names no file in vain."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recambio.data  # noqa: F401
from recambio.data.pairs import BadLine, Pair
from recambio.errors import InputError
from recambio.registry import CORPUS

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
# What XML can hold and doesn't change: no controls, no noncharacters, white space only as single spaces within.
WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufffe\uffff"), min_size=1
)
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


def unit(**segments: str) -> str:
    """A unit of segments by language; ``_`` in a language stands for a hyphen."""
    variants = "".join(
        f'<tuv xml:lang="{language.replace("_", "-")}"><seg>{segment}</seg></tuv>'
        for language, segment in segments.items()
    )
    return f"<tu>{variants}</tu>"


def document(*units: str, head: str = HEAD) -> str:
    header = '<header creationtool="t" segtype="sentence" adminlang="en" srclang="en" datatype="plaintext" o-tmf="x"/>'
    return f'{head}<tmx version="1.4">{header}<body>\n' + "\n".join(units) + "\n</body></tmx>\n"


def reading(path: Path, split: str = "train") -> tuple[list[Pair], list[BadLine]]:
    bad: list[BadLine] = []
    options: dict[str, Any] = {"train": path.name, split: path.name}
    corpus = CORPUS.create({"name": "tmx", **options}, root=path.parent, source_language="en", target_language="es")
    return list(corpus.read(split, bad.append)), bad


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "a.tmx"
    path.write_bytes(text.encode(encoding))
    return path


@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5))
def test_pairs_come_back_as_they_were_written(
    pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    units = [unit(en=escape(source), es=escape(target)) for source, target in pairs]
    found, bad = reading(written(tmp_path_factory.mktemp("tmx"), document(*units)))
    assert [(p.source, p.target, p.line) for p in found] == [(s, t, n) for n, (s, t) in enumerate(pairs, start=1)]
    assert not bad


def test_languages_match_by_their_primary_tag_and_the_first_variant_counts(tmp_path: Path) -> None:
    units = [
        unit(en_US="color", es_MX="color"),
        unit(ES="gris", fr="gris", EN="grey"),
        unit(en_GB="grey", en_US="gray", es="gris", es_419="plomo"),
        '<tu><tuv lang="en_GB"><seg>old</seg></tuv><tuv xml:lang="es"><note>n</note><seg>viejo</seg></tuv></tu>',
        unit(eng="no", ens="no", est="no", es="sí", en="yes"),
    ]
    found, bad = reading(written(tmp_path, document(*units)))
    assert [(p.source, p.target) for p in found] == [
        ("color", "color"), ("grey", "gris"), ("grey", "gris"), ("old", "viejo"), ("yes", "sí")
    ]  # fmt: skip
    assert not bad


@pytest.mark.parametrize(
    "segment, text",
    [
        ('The <bpt i="1" x="1">&lt;b&gt;</bpt>big<ept i="1">&lt;/b&gt;</ept> cat.', "The big cat."),
        ('Press <ph x="1">{0}</ph>now<it pos="begin">&lt;i&gt;</it>!', "Press now!"),
        ('A <hi type="term">token <hi>store</hi></hi>.', "A token store."),
        ('See<ph>\\footnote{<sub>the note <bpt i="1">b</bpt>here</sub>}</ph> it.', "See the note here it."),
        ("<ut>\\par</ut>Old <ut>{</ut>tool", "Old tool"),
        ("  One\n   two\tthree \n", "One two three"),
        ("5 &lt; 6 &amp; &#241; &#x1F408;<!-- no --> <![CDATA[<raw>]]>", "5 < 6 & ñ 🐈 <raw>"),
        ("no-break\u00a0space", "no-break\u00a0space"),
    ],
)
def test_a_segment_is_its_text(tmp_path: Path, segment: str, text: str) -> None:
    ((pair,), _) = reading(written(tmp_path, document(unit(en=segment, es="x"))))
    assert pair.source == text


def test_deep_markup_is_no_trouble(tmp_path: Path) -> None:
    segment = "<hi>" * 20_000 + "deep" + "</hi>" * 20_000
    assert reading(written(tmp_path, document(unit(en=segment, es="hondo"))))[0] == [Pair("deep", "hondo")]


def test_units_without_a_pair_are_named_by_their_number(tmp_path: Path) -> None:
    units = [
        unit(en="one", es="uno"),
        unit(en="two", fr="deux"),
        unit(en=" ", es="tres"),
        "<tu/>",
        unit(en="a", es="b"),
    ]
    path = written(tmp_path, document(*units))
    found, bad = reading(path)
    assert [(p.source, p.line) for p in found] == [("one", 1), ("a", 5)]
    reasons = {2: "missing language", 3: "empty side", 4: "missing language"}
    assert bad == [BadLine(str(path), number, reason) for number, reason in reasons.items()]
    with pytest.raises(InputError, match=r"a\.tmx:2: has no es but en, fr; every unit of a split that is scored"):
        reading(path, "dev")
    written(tmp_path, document(units[0], units[2]))
    assert reading(path, "dev")[0] == [Pair("one", "uno"), Pair("", "tres")]


def test_a_memory_of_other_languages_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, document(unit(de="eins", fr="un"), unit(de="zwei", fr="deux")))
    with pytest.raises(InputError, match=r"a\.tmx: none of its 2 units holds en and es; one has de, fr"):
        reading(path)
    with pytest.raises(InputError, match=r"a\.tmx: is empty; a corpus needs at least one unit"):
        reading(written(tmp_path, document()))


@pytest.mark.parametrize(
    "encoding, declared", [("utf-16", "UTF-16"), ("latin-1", "ISO-8859-1"), ("utf-8-sig", "UTF-8")]
)
def test_encodings_are_xmls_affair(tmp_path: Path, encoding: str, declared: str) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>\n'
    path = written(tmp_path, document(unit(en="tomorrow", es="mañana"), head=head), encoding)
    assert reading(path)[0] == [Pair("tomorrow", "mañana")]


def test_a_namespace_and_compression_change_nothing(tmp_path: Path) -> None:
    text = document(unit(en="one", es="uno")).replace("<tmx ", '<tmx xmlns="http://www.lisa.org/tmx14" ')
    path = tmp_path / "a.tmx.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert reading(path)[0] == [Pair("one", "uno")]


def test_what_is_no_tmx_is_refused_with_its_place(tmp_path: Path) -> None:
    good = document(unit(en="one", es="uno"), unit(en="two", es="dos"))
    cases = {
        "": r"a\.tmx:1: not well-formed XML \(no element found\)",
        "one\tuno\n": r"a\.tmx:1: not well-formed XML \(syntax error\)",
        "<html/>": r"a\.tmx: is no TMX file: its root is <html>, not <tmx>",
        good[:-40]: r"a\.tmx:5: not well-formed XML",
        good.replace("two", "t&wo"): r"a\.tmx:5: not well-formed XML \(not well-formed \(invalid token\)\)",
        good.replace("two", "t&nbsp;wo"): r"a\.tmx:5: not well-formed XML \(undefined entity",
        good.replace(
            "UTF-8", "klingon"
        ): r"a\.tmx: has an encoding that can't be read|a\.tmx:1: not well-formed XML \(unknown enc",
    }
    for text, expected in cases.items():
        with pytest.raises(InputError, match=expected):
            reading(written(tmp_path, text))
    path = tmp_path / "a.tmx.gz"
    path.write_bytes(
        gzip.compress(document(*[unit(en=f"n {n * 7919}", es="x") for n in range(9_000)]).encode())[:-9_000]
    )
    with pytest.raises(InputError, match=r"a\.tmx\.gz: damaged after unit \d+"):
        reading(path)


BOMB = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    "declarations, entity",
    [
        ('<!ENTITY x SYSTEM "{secret}">', "x"),
        ('<!ENTITY x SYSTEM "http://127.0.0.1:9/x">', "x"),
        ('<!ENTITY % x SYSTEM "{secret}"> %x;', "x"),
        ('<!ENTITY b0 "ha">' + BOMB, "b0"),
        ('<!ENTITY x "harmless">', "x"),
    ],
)
def test_a_document_that_declares_entities_is_refused(tmp_path: Path, declarations: str, entity: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    declared = declarations.replace("{secret}", secret.as_uri())
    head = f'<?xml version="1.0"?>\n<!DOCTYPE tmx [{declared}]>\n'
    used = "b11" if entity == "b0" else entity
    path = written(tmp_path, document(unit(en=f"&{used};", es="x"), unit(en="one", es="uno"), head=head))
    for split in ("train", "dev"):
        with pytest.raises(InputError, match=rf"a\.tmx:2: declares the entity '{entity}', which is refused") as caught:
            reading(path, split)
        assert "secret" not in re.sub(re.escape(str(tmp_path)), "", str(caught.value))


def test_the_declarations_of_another_file_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmx14.dtd").write_text('<!ENTITY x "from the file">')
    monkeypatch.chdir(tmp_path)
    head = f'<?xml version="1.0"?>\n<!DOCTYPE tmx SYSTEM "{(tmp_path / "tmx14.dtd").as_uri()}">\n'
    for text in (document(unit(en="&x;", es="x")), document(unit(en="&x;", es="x"), head=head)):
        with pytest.raises(InputError, match=r"undefined entity"):
            reading(written(tmp_path, text))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    written(tmp_path, document(*[unit(en=f"{n} {'x' * 80}", es=f"{n} {'y' * 80}") for n in range(20_000)]))
    corpus = CORPUS.create({"name": "tmx", "train": "a.tmx"}, root=tmp_path)
    tracemalloc.start()
    count = sum(1 for _ in corpus.read("train"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 1e6, peak
