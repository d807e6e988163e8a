"""The language step: what is not English and Spanish goes, names and quotations stay, and real text keeps nearly all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import recambio.data  # noqa: F401
from recambio.data.cleaning.language import Language
from recambio.data.pairs import Pair, read_lines, read_moses
from recambio.errors import InputError
from recambio.registry import CLEANING


def verdict(source: str, target: str, **options: object) -> str | None:
    result = CLEANING.create({"name": "language", **options})(Pair(source, target))
    return result if isinstance(result, str) else None


ENGLISH = "The minister said that he would not go there with them."
SPANISH = "El ministro dijo que no iría allí con ellos."


def test_each_side_must_be_in_its_language() -> None:
    assert verdict(ENGLISH, SPANISH) is None
    assert verdict(SPANISH, ENGLISH) == "language"
    assert verdict(ENGLISH, ENGLISH.replace("there", "here")) == "language"
    assert verdict(SPANISH.replace("allí", "ahí"), SPANISH) == "language"
    assert verdict("THE CAT IS ON THE TABLE", "THE CAT IS UNDER THE TABLE") == "language"
    # Spanish without accents, and with one only.
    assert verdict("La casa de mi padre", SPANISH) == "language"
    assert verdict("¿Quiere venir?", SPANISH) == "language"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("Yes.", "Sí."),
        ("Windows 11", "Windows 11"),
        ("Copyright 2019-2024", "Copyright 2019-2024"),
        ("OK", "OK"),
        ("Madrid, Los Angeles, Rio de Janeiro, La Paz", "Madrid, Los Ángeles, Río de Janeiro, La Paz"),
        ("Tom met Juan de la Cruz y López.", "Tom conoció a Juan de la Cruz y López."),
        ("Have you read 'La casa de los espíritus'?", "¿Has leído «La casa de los espíritus»?"),
        ('"The Lord of the Rings" won.', 'Ganó "The Lord of the Rings".'),
        ("The Beatles played.", "Tocaron The Beatles."),
        ("José Núñez sings.", "José Núñez canta."),
        ("Peña Nieto, Muñoz", "Peña Nieto, Muñoz"),
        ("Cristóbal Colón, Andrés Iniesta, José Mourinho", "Cristóbal Colón, Andrés Iniesta, José Mourinho"),
        ("Café Zoé sells crème brûlée tonight", "El café Zoé vende crème brûlée esta noche"),
        ("The House of Lords debated.", "Debatió la House of Lords."),
        ("“¿Dónde está?” means “Where is it?”", "«Where is it?» significa «¿Dónde está?»"),
    ],
)
def test_names_numbers_and_quotations_dont_make_a_side_foreign(source: str, target: str) -> None:
    assert verdict(source, target) is None


def test_script_is_the_share_of_latin_letters() -> None:
    assert verdict("Привет, как дела?", SPANISH) == "script"
    assert verdict(ENGLISH, "彼は行かないと言った。") == "script"
    assert verdict("The letter α comes before β.", "La letra α va antes que la β.") is None
    assert verdict("Ｆｕｌｌ ｗｉｄｔｈ", "ﬁn, Ǻ, ḿ, ɏ, ª, º, ½ — … € 😀") is None
    assert verdict("12:30 — 3,50 €", "12:30 — 3,50 €") is None
    # Two of four letters are Latin.
    assert verdict("ab αβ", "ab") is None
    assert verdict("ab αβγ", "ab") == "script"
    assert verdict("ab αβγ", "ab", min_latin=0.4) is None


def test_its_options() -> None:
    assert verdict("de la", "de la") == "language"
    assert verdict("de la", "de la", min_words=3) is None
    # Three Spanish words beside two English ones.
    mixed = "de la que the of"
    assert verdict(mixed, SPANISH, max_ratio=1.4) == "language"
    assert verdict(mixed, SPANISH, max_ratio=1.5) is None
    # One Spanish word among six, none of them one of the frequent English ones.
    bare = "Maria sings songs para Tom tonight"
    assert verdict(bare, SPANISH) == "language"
    assert verdict(bare, SPANISH, bare_words=7) is None
    assert verdict(bare.replace("tonight", "now"), SPANISH) is None
    with pytest.raises(InputError, match=r"'language' has min_words 0, .*min_words >= 1"):
        Language(min_words=0)
    with pytest.raises(InputError, match=r"min_latin in \[0, 1\] are needed"):
        Language(min_latin=1.5)


CORPORA = (
    *("tatoeba", "europarl-sample", "php-manual", "python-docs", "gnome", "software-docs", "tldr-pages"),
    "mozilla-web",
)


def pairs_of(folder: Path, share: float = 1.0) -> list[Pair]:
    draw = random.Random(1)
    pairs = read_moses(folder / "train.en.xz", folder / "train.es.xz", strict=True)
    return [pair for pair in pairs if share == 1 or draw.random() < share]


def dropped(pairs: list[Pair]) -> float:
    """Per cent of pairs that the step drops with its defaults."""
    step = Language()
    return 100 * sum(isinstance(step(pair), str) for pair in pairs) / len(pairs)


@pytest.mark.parametrize("name", CORPORA)
def test_real_text_stays(name: str, shared_data: Path) -> None:
    assert dropped(pairs_of(shared_data / name)) < 0.05


@pytest.mark.parametrize("name", ["tatoeba", "europarl-sample", "php-manual", "python-docs", "gnome"])
def test_real_text_in_the_wrong_place_goes(name: str, shared_data: Path) -> None:
    pairs = [p for p in pairs_of(shared_data / name, 0.1) if min(len(p.source.split()), len(p.target.split())) >= 6]
    assert dropped([Pair(p.target, p.source) for p in pairs]) > 99
    # In pairs of one language a single side tells.
    assert dropped([Pair(p.source, f"{p.source} ") for p in pairs]) > 95
    assert dropped([Pair(f"{p.target} ", p.target) for p in pairs]) > 95


def test_test_sets_stay(shared_data: Path) -> None:
    for name in ("newstest2013", "flores200-devtest", "wmt24", "ntrex128", "tico19-test"):
        sides = [list(read_lines(shared_data / f"testsets/{name}.{language}")) for language in ("en", "es")]
        assert dropped([Pair(*pair) for pair in zip(*sides, strict=True)]) < 0.25, name
