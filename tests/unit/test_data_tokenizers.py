"""Tokenizers: the way back is exact, the same text gives the same vocabulary, what is refused says what would do."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import recambio.data  # noqa: F401
from recambio.data.pairs import read_lines
from recambio.data.tokenizers import SIDES, Tokenizer, load_tokenizer
from recambio.errors import InputError
from recambio.registry import TOKENIZER

ENGLISH = [
    f"{who} {what} {how}."
    for who in ("The cat", "A dog", "My sister", "Nobody", "The old man")
    for what in ("eats", "sees", "has eaten", "doesn't like", "wanted")
    for how in ("fish", "the red house", "3.50 apples", "what I said", "it")
]
SPANISH = [
    f"{who} {what} {how}."
    for who in ("El gato", "Un perro", "Mi hermana", "¡Nadie", "¿El señor")
    for what in ("come", "ve", "ha comido", "no quiere", "quería")
    for how in ("pescado", "la casa roja", "3,50 manzanas", "lo que dije", "«eso»")
]
VARIANTS = [(name, joint) for name in ("unigram", "bpe") for joint in (True, False)]


def trained(name: str, **options: Any) -> Tokenizer:
    tokenizer: Tokenizer = TOKENIZER.create({"name": name, "vocabulary_size": 330, **options})
    tokenizer.train(iter(ENGLISH), iter(SPANISH), len(ENGLISH))
    return tokenizer


TRAINED = {(name, joint): trained(name, joint=joint) for name, joint in VARIANTS}

ANY_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=30)
AWKWARD_LINE = st.lists(
    st.sampled_from(
        [
            "▁",
            " ",
            "  ",
            "\U0010fffd",
            "0",
            "1",
            "\ufffd",
            "¿",
            "ñ",
            "<s>",
            "</s>",
            "<pad>",
            "<unk>",
            "<0x41>",
            "⁇",
            "\u2581\u2581",
            "😀",
            "👩‍👧",
            "\t",
            "\u00a0",
            "日",
            "El gato",
            "\x00",
            "\u2028",
            "\r",
        ]
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("side", SIDES)
@given(line=ANY_LINE | AWKWARD_LINE)
def test_every_line_comes_back_exactly(variant: tuple[str, bool], side: Any, line: str) -> None:
    tokenizer = TRAINED[variant]
    rows = tokenizer.encode([line, "x", line], side)
    assert tokenizer.decode(rows, side) == [line, "x", line]
    used = {i for row in rows for i in row}
    assert not used & {tokenizer.pad_id, tokenizer.unk_id, tokenizer.sos_id, tokenizer.eos_id}


@pytest.mark.parametrize("name", ["unigram", "bpe"])
def test_real_text_comes_back_exactly(shared_data: Path, name: str) -> None:
    lines = [line for path in sorted(shared_data.glob("t*/*.e[ns]")) for line in read_lines(path)]
    assert len(lines) > 40_000
    tokenizer = TRAINED[name, True]
    assert tokenizer.decode(tokenizer.encode(lines, "target", threads=2)) == lines


def test_ids_are_where_the_model_expects_them() -> None:
    for (_, joint), tokenizer in TRAINED.items():
        assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.sos_id, tokenizer.eos_id) == (0, 1, 2, 3)
        assert tokenizer.is_joint is joint
        assert tokenizer.pieces([0, 1, 2, 3], "source") == ["<pad>", "<unk>", "<s>", "</s>"]
        sizes = {"source": tokenizer.source_vocabulary_size, "target": tokenizer.target_vocabulary_size}
        for side, lines in (("source", ENGLISH), ("target", SPANISH)):
            # One side of this corpus alone has fewer subwords than asked for.
            assert sizes[side] == 330 if joint else 260 < sizes[side] <= 330
            assert max(max(row) for row in tokenizer.encode(lines, side)) < sizes[side]
            assert tokenizer.pieces([sizes[side] - 1], side)
        same = tokenizer.encode(["El gato come."], "source") == tokenizer.encode(["El gato come."], "target")
        assert same is joint


def test_special_ids_are_left_out_of_text_and_a_translation_is_one_line() -> None:
    tokenizer = TRAINED["unigram", True]
    (row,) = tokenizer.encode(["El gato come."], "target")
    assert tokenizer.decode([[2, *row, 3, 0, 0], [], [2, 3]]) == ["El gato come.", "", ""]
    line_break = next(i for i in range(330) if tokenizer.pieces([i], "target") == ["<0x0A>"])
    assert tokenizer.decode([[*row, line_break, *row]]) == ["El gato come.  El gato come."]
    assert tokenizer.decode([]) == []
    assert tokenizer.encode([], "source") == []


def test_pieces_spell_the_text() -> None:
    tokenizer = TRAINED["unigram", True]
    (row,) = tokenizer.encode(["The cat eats it."], "source")
    assert "".join(tokenizer.pieces(row, "source")) == "▁The▁cat▁eats▁it."


def test_the_number_of_threads_changes_nothing() -> None:
    tokenizer = TRAINED["unigram", True]
    assert tokenizer.encode(SPANISH * 20, "target", threads=3) == tokenizer.encode(SPANISH * 20, "target")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_text_gives_the_same_vocabulary_in_another_process(variant: tuple[str, bool]) -> None:
    name, joint = variant
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]]; import test_data_tokenizers as t; "
        f"print(t.TRAINED[{name!r}, {joint!r}].fingerprint)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], capture_output=True, text=True, env=environment
    )
    assert result.stdout.strip() == TRAINED[variant].fingerprint, result.stderr
    assert result.stderr == ""


def test_fingerprints_tell_vocabularies_apart() -> None:
    prints = {tokenizer.fingerprint for tokenizer in TRAINED.values()}
    prints |= {trained("bpe", vocabulary_size=331).fingerprint, trained("unigram", byte_fallback=False).fingerprint}
    assert len(prints) == 6


@pytest.mark.parametrize("name", ["unigram", "bpe"])
def test_training_is_silent(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    trained(name)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_bpe_names_the_largest_vocabulary_that_the_corpus_gives() -> None:
    with pytest.raises(InputError, match=r"data\.tokenizer\.vocabulary_size: 50000 is more than") as caught:
        trained("bpe", vocabulary_size=50_000)
    found = re.search(r"at most (\d+) is possible", str(caught.value))
    assert found is not None
    largest = int(found[1])
    assert trained("bpe", vocabulary_size=largest).target_vocabulary_size == largest
    with pytest.raises(InputError):
        trained("bpe", vocabulary_size=largest + 1)


def test_unigram_gives_what_a_small_corpus_has() -> None:
    tokenizer = trained("unigram", vocabulary_size=50_000)
    assert 300 < tokenizer.target_vocabulary_size < 50_000
    assert tokenizer.decode(tokenizer.encode(SPANISH, "target")) == SPANISH


@pytest.mark.parametrize("name", ["unigram", "bpe"])
def test_too_small_a_vocabulary_names_the_least(name: str) -> None:
    with pytest.raises(InputError, match=r"data\.tokenizer\.vocabulary_size: 270 is too few") as caught:
        trained(name, vocabulary_size=270)
    found = re.search(r"at least (\d+) is needed", str(caught.value))
    assert found is not None
    assert trained(name, vocabulary_size=int(found[1])).target_vocabulary_size == int(found[1])


def test_options_out_of_range_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        TOKENIZER.create({"name": "bpe", "vocabulary_size": 3, "character_coverage": 2.0, "max_train_sentences": 0})
    assert len(caught.value.problems) == 3


def test_a_sample_bounds_what_is_learnt_from_and_depends_on_its_seed_alone() -> None:
    options: dict[str, Any] = {"vocabulary_size": 320, "max_train_sentences": 60, "character_coverage": 0.99}
    first = trained("unigram", **options)
    assert first.fingerprint == trained("unigram", **options).fingerprint
    assert first.fingerprint != trained("unigram", **options, sample_seed=2).fingerprint
    assert first.fingerprint != trained("unigram", **{**options, "max_train_sentences": 1000}).fingerprint
    from recambio.data.tokenizers.sentencepiece import Unigram

    tokenizer = Unigram(max_train_sentences=60)
    assert tokenizer._sample(30, 30) is None
    flags = tokenizer._sample(1000, 30)
    assert flags is not None and len(flags) == 1000 and sum(flags) == 30


def test_without_byte_fallback_an_unknown_character_is_the_unknown_id() -> None:
    tokenizer = trained("unigram", byte_fallback=False, vocabulary_size=120)
    (row,) = tokenizer.encode(["El 日 gato."], "target")
    assert row.count(tokenizer.unk_id) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_saving_and_loading_gives_the_same_tokenizer(tmp_path: Path, variant: tuple[str, bool]) -> None:
    tokenizer = TRAINED[variant]
    tokenizer.save(tmp_path)
    files = {"tokenizer.json"} | (
        {"tokenizer.model"} if variant[1] else {"tokenizer.source.model", "tokenizer.target.model"}
    )
    assert {path.name for path in tmp_path.iterdir()} == files
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert (loaded.options, loaded.fingerprint, loaded.is_joint) == (
        tokenizer.options,
        tokenizer.fingerprint,
        tokenizer.is_joint,
    )
    assert loaded.encode(SPANISH, "target") == tokenizer.encode(SPANISH, "target")
    assert loaded.encode(ENGLISH, "source") == tokenizer.encode(ENGLISH, "source")


def test_a_saved_tokenizer_is_replaced_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    TRAINED["unigram", True].save(tmp_path)
    for path in [path for path in tmp_path.iterdir() if path.is_file()]:
        os.link(path, tmp_path / "first" / path.name)
    TRAINED["bpe", True].save(tmp_path)
    assert load_tokenizer(tmp_path / "first").fingerprint == TRAINED["unigram", True].fingerprint


def test_what_is_not_a_saved_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json: no such file"):
        load_tokenizer(tmp_path)
    TRAINED["bpe", True].save(tmp_path)
    model = tmp_path / "tokenizer.model"
    good = model.read_bytes()
    (other := tmp_path / "other").mkdir()
    TRAINED["unigram", True].save(other)
    for content in ((other / "tokenizer.model").read_bytes(), b"rubbish", b""):
        model.write_bytes(content)
        with pytest.raises(InputError, match=r"tokenizer\.json: "):
            load_tokenizer(tmp_path)
    model.unlink()
    with pytest.raises(InputError, match=r"tokenizer\.model: no such file"):
        load_tokenizer(tmp_path)
    model.write_bytes(good)
    load_tokenizer(tmp_path)
    path = tmp_path / "tokenizer.json"
    description = json.loads(path.read_text())
    for key, value, message in (
        ("format", 99, "format 99"),
        ("name", "unigramm", "Did you mean 'unigram'"),
        ("files", ["../tokenizer.model"], "outside its folder"),
    ):
        path.write_text(json.dumps({**description, key: value}))
        with pytest.raises(InputError, match=message):
            load_tokenizer(tmp_path)


def test_a_tokenizer_without_vocabulary_says_so() -> None:
    tokenizer: Tokenizer = TOKENIZER.create("unigram")
    assert not tokenizer.is_trained
    assert TRAINED["unigram", True].is_trained
    with pytest.raises(RuntimeError, match="no vocabulary yet"):
        tokenizer.encode(["a"], "source")
    with pytest.raises(InputError, match="no sentence"):
        tokenizer.train([], [], 0)
