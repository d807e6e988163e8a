"""From lines to lines, with a small random model: what is long, empty, unknown, forbidden or prescribed."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_data_tokenizers import trained

from recambio.config import load as load_config
from recambio.data.tokenizers.base import Tokenizer
from recambio.errors import InputError
from recambio.experiment import job
from recambio.experiment import translate as translation
from recambio.experiment.build import build_model
from recambio.experiment.details import Details
from recambio.experiment.progress import counted
from recambio.experiment.translator import Translator, _search
from recambio.model import Transformer

SMALL = [
    "model.d_model=32", "model.n_heads=2", "model.d_ff=48", "model.encoder.n_layers=1", "model.decoder.n_layers=2",
    "model.positions=rope", "data.max_length=40", "decoding.max_extra=4", "decoding.max_ratio=1.0",
]  # fmt: skip
LINES = ["The cat eats fish.", "", "Nobody sees it.", "   ", "My sister 😀 wanted 猫 the red house.", "A dog."]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return trained("unigram")


@pytest.fixture(scope="module")
def make(tokenizer: Tokenizer, repository: Path):  # type: ignore[no-untyped-def]
    def translator(*overrides: str, seed: int = 0, n_best: int | None = None, **options: Any) -> Translator:
        config = load_config(repository / "experiments" / "tiny.yaml", [*SMALL, *overrides], check_hardware=False)

        def model(seed: int) -> Transformer:
            built = build_model(config, tokenizer).double()
            g = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for p in built.parameters():
                    p.add_(torch.randn(p.shape, generator=g, dtype=p.dtype) * 0.3)
            return built

        others = [model(s) for s in options.pop("others", [])]
        search = _search(config, tokenizer, n_best)
        return Translator(config, model(seed), tokenizer, Path(), search, others=others, **options)

    return translator


def test_lines_in_lines_out(make) -> None:  # type: ignore[no-untyped-def]
    translator = make("decoding.search=greedy")
    found = translator.translate(LINES)
    assert [bool(text) for text in found] == [True, False, True, False, True, True]
    assert not any("\n" in text for text in found)
    for chunk in (1, 2, 100):
        assert list(translator.stream(iter(LINES), chunk=chunk)) == found
    assert translator.translate(LINES[::-1]) == found[::-1]


def test_a_stream_is_read_a_chunk_at_a_time(make) -> None:  # type: ignore[no-untyped-def]
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "A dog."

    stream = make("decoding.search=greedy").stream(endless(), chunk=4)
    for n in range(9):
        assert next(stream) is not None
        assert read == 4 * (n // 4 + 1), "no further ahead than the chunk"


def test_a_very_long_line_is_split_at_sentence_ends_and_says_so(make, caplog) -> None:  # type: ignore[no-untyped-def]
    translator = make("decoding.search=greedy")
    sentences = [
        "The cat eats fish.",
        "A dog sees the red house.",
        "Nobody has eaten it.",
        "My sister sees it.",
        "Why?",
    ]
    with caplog.at_level(logging.WARNING, "recambio"):
        found = list(translator.stream(iter(["A dog.", " ".join(sentences), ""])))
    assert found == [translator.translate(["A dog."])[0], " ".join(translator.translate(sentences)), ""]
    (record,) = caplog.records
    n = len(translator.tokenizer.encode([" ".join(sentences)], "source")[0]) + 1
    assert record.getMessage() == f"line 2: has {n} tokens, more than the 40 of training; split into 5 pieces"
    # Learned positions can't count further: what no sentence end divides is divided all the same.
    learned = make("decoding.search=greedy", "model.positions=learned")
    assert learned.translate(["fish " * 100 + "x" * 300])[0]


def test_emoji_and_chinese_pass_as_bytes(make, tokenizer: Tokenizer) -> None:  # type: ignore[no-untyped-def]
    """The model reads and may write them: none becomes the unknown id, and a prefix of them stands in the translation."""
    text = "😀 猫が魚"
    assert tokenizer.unk_id not in tokenizer.encode([text], "source")[0]
    (found,) = make("decoding.search=greedy", "decoding.max_extra=40").translate(["A dog."], [text])
    assert found.startswith(text)


def test_prefixes(make) -> None:  # type: ignore[no-untyped-def]
    translator = make("decoding.search={name: beam, width: 3}")
    free = translator.translate(LINES)
    found = translator.translate(LINES, ["El gato", "El gato", "", "", "¿El", "Un"])
    assert found[0].startswith("El gato") and found[4].startswith("¿El") and found[5].startswith("Un")
    assert found[1] == "" and found[2:4] == free[2:4]
    with pytest.raises(
        InputError, match=r"line 6: the prefix '(El gato ?)+' has \d+ tokens, but the translation of \d+ may"
    ):
        translator.translate(LINES, [""] * 5 + ["El gato " * 30])
    assert list(translator.stream(iter(LINES), iter(["Un"] * 6), chunk=4))[5].startswith("Un")
    assert list(translator.stream(iter(LINES), "Un", chunk=4)) == translator.translate(LINES, ["Un"] * 6)
    with pytest.raises(InputError, match="ends before line 3; it must have a line for each source line"):
        list(translator.stream(iter(LINES), iter(["Un"] * 2)))
    with pytest.raises(InputError, match="goes on after line 6, the last of the source"):
        list(translator.stream(iter(LINES), iter(["Un"] * 7)))


def test_forbidden_words(make) -> None:  # type: ignore[no-untyped-def]
    node, lines = "decoding.search=sample", [f"The cat eats {n} fish." for n in range(60)]
    said = [word for text in make(node).translate(lines) for word in text.split() if word.isalpha()]
    word = max(said, key=said.count)
    translator = make(node, forbid=[word])
    assert not any(word in text.split() for text in translator.translate(lines))
    with pytest.raises(InputError, match=f"line 1: the prefix 'x {word}' holds a forbidden phrase"):
        translator.translate(["A dog."], [f"x {word}"])
    with pytest.raises(InputError, match="--forbid: a phrase is empty"):
        make(forbid=[" "])


def words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def test_required_words(make, caplog) -> None:  # type: ignore[no-untyped-def]
    options = ("decoding.search={name: beam, width: 3, n_best: 3}", "decoding.max_extra=20")
    free = make(*options).translate(LINES)
    translator = make(*options, require=["gato"])
    parts = translator.parts(LINES, required=[["la casa", "¿El señor", ""], [], [], [], ["😀"], ["gato", "gato come"]])
    found = [translator.text(p) for p in parts]
    assert not any("gato" in words(text) for text in free), "it wouldn't be said"
    assert found[1] == found[3] == "", "an empty line stays empty"
    for line in (0, 2, 4, 5):
        for h in parts[line][0].hypotheses:
            assert not h.is_finished or "gato" in words(translator.tokenizer.decode([h.tokens])[0])
    assert "la casa" in found[0] and "¿El señor" in found[0] and "😀" in found[4] and "gato come" in found[5]
    assert not caplog.records
    assert make(*options).translate(LINES, required=[[]] * 6) == free
    # Beside a prefix, a prohibition and another model.
    both = make(*options, require=["gato"], forbid=["perro"], others=[1]).translate(LINES, ["Un"] * 6)
    assert all(text.startswith("Un") and "gato" in words(text) for text in both if text)


def test_a_required_phrase_that_finds_no_room_is_warned_of(make, caplog) -> None:  # type: ignore[no-untyped-def]
    translator = make("decoding.max_ratio=0.1", "decoding.max_extra=4")
    (parts,) = translator.parts(["A dog."], required=[["Un", "xyz" * 9]], names=["wmt13, line 7"])
    assert not parts[0].hypotheses[0].is_finished
    (record,) = caplog.records
    assert record.getMessage() == (
        f"wmt13, line 7: lacks 1 of 2 required phrases ('{'xyz' * 9}'): the length limit came first; raise decoding.max_extra or "
        "decoding.max_ratio"
    )


def test_the_longest_piece_of_a_line_carries_what_is_required(make, caplog) -> None:  # type: ignore[no-untyped-def]
    sentences = [
        "The cat eats fish.",
        "A dog sees the red house of my sister.",
        "Nobody has eaten it.",
        "My sister sees it.",
    ]
    (parts,) = make().parts([" ".join(sentences)], required=[["gato"]])
    free = make().parts([" ".join(sentences)])[0]
    assert [p.source for p in parts] == sentences
    assert "gato" in words(make().text(parts[1:2]))
    assert [p.hypotheses for p in (parts[0], *parts[2:])] == [p.hypotheses for p in (free[0], *free[2:])]
    assert "line 1: piece 2 of 4, the longest, must hold what is required" in [r.getMessage() for r in caplog.records]


def test_what_cant_be_required_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        InputError,
        match=r"share out the places of search 'beam', but decoding\.search is 'greedy'; add decoding\.search=beam",
    ):
        make("decoding.search=greedy", require=["gato"])
    with pytest.raises(InputError, match=r"decoding\.search is 'mbr'; add decoding\.search=beam"):
        make("decoding.search=mbr").translate(["A dog."], required=[["gato"]])
    with pytest.raises(InputError, match="--require: a phrase is empty; name a word, or several in a row"):
        make(require=["gato", " "])
    with pytest.raises(InputError, match="--require: 'El gato' can't be said without a forbidden phrase; change one"):
        make(require=["El gato"], forbid=["gato"])
    with pytest.raises(InputError) as caught:
        make(forbid=["gato"]).translate(["A dog.", ""], required=[["un gato", "casa"], ["casa"]])
    assert caught.value.problems == [
        "line 1: 'un gato' can't be said without a forbidden phrase; change one of the two",
        "line 2: is empty, but 'casa' is required of it; require nothing there",
    ]
    with pytest.raises(
        InputError, match="--require-file: ends before line 3; it must have a line for each source line"
    ):
        list(make().stream(iter(LINES), required=iter([["gato"], []])))
    with pytest.raises(InputError, match="--require-file: goes on after line 6, the last of the source"):
        list(make().stream(iter(LINES), required=iter([[]] * 7)))


def test_phrases_come_from_a_file(make, monkeypatch, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    translator = make("decoding.search={name: beam, width: 3}")
    monkeypatch.setattr(job, "load", lambda run, **_: translator)
    (tmp_path / "in.txt").write_text("A dog.\nThe cat eats fish.\n")
    (tmp_path / "phrases.txt").write_text("\nla casa\tgato\n")
    translation.run(Path(), file=tmp_path / "in.txt", require_file=tmp_path / "phrases.txt")
    first, second = capsys.readouterr().out.splitlines()
    assert first == translator.translate(["A dog."])[0] and "la casa" in second and "gato" in words(second)
    with pytest.raises(InputError, match=r"nowhere\.txt: no such file"):
        translation.run(Path(), file=tmp_path / "in.txt", require_file=tmp_path / "nowhere.txt")
    monkeypatch.setattr(job, "load", lambda run, **_: make("decoding.search=greedy"))
    with pytest.raises(InputError, match=r"add decoding\.search=beam"):
        translation.run(Path(), file=tmp_path / "in.txt", require_file=tmp_path / "phrases.txt")


def test_an_ensemble(make) -> None:  # type: ignore[no-untyped-def]
    alone = make().translate(LINES)
    assert make(others=[0, 0]).translate(LINES) == alone, "of equals is each of them"
    assert make(others=[1]).translate(LINES) == make(seed=1, others=[0]).translate(LINES), "in any order"
    assert make(others=[1]).translate(LINES) != alone


def test_details(make) -> None:  # type: ignore[no-untyped-def]
    """Tokens' log-probabilities sum to the reported one, and alignment has a row a token."""
    for others in ([], [1]):
        translator = make("decoding.search={name: beam, width: 3}", n_best=3, others=others)
        details = Details(translator, 3, True, True, -1)
        for number, (line, parts) in enumerate(zip(LINES, translator.parts(LINES), strict=True), start=1):
            found = json.loads(json.dumps(details(parts, number)))
            assert found["line"] == number and found["text"] == found["translations"][0]["text"]
            if not line.strip():
                assert found["text"] == ""
                continue
            assert len(found["translations"]) == 3
            for t in found["translations"]:
                assert len(t["tokens"]) == len(t["log_probabilities"]) == len(t["alignment"])
                assert sum(t["log_probabilities"]) == pytest.approx(t["log_probability"], abs=1e-4)
                assert (t["tokens"][-1] == "</s>") == t["is_finished"]
                assert "".join(t["tokens"]).replace("▁", " ").removesuffix("</s>").strip() == t["text"] or "<0x" in str(
                    t
                )
                for row in t["alignment"]:
                    assert len(row) == len(found["source_tokens"]) and sum(row) == pytest.approx(1, abs=0.01)


def test_a_split_line_has_parts(make) -> None:  # type: ignore[no-untyped-def]
    translator = make("decoding.search=greedy")
    sentences = [
        "The cat eats fish.",
        "A dog sees the red house.",
        "Nobody has eaten it.",
        "My sister sees it.",
        "Why?",
    ]
    found = Details(translator, 1, False, False, -1)(translator.parts([" ".join(sentences)])[0], 1)
    assert [part["source"] for part in found["parts"]] == sentences
    assert found["text"] == " ".join(part["translations"][0]["text"] for part in found["parts"])


def test_what_cant_be_done_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="--n-best 3: search 'greedy' gives one translation; choose another"):
        make("decoding.search=greedy", n_best=3)
    with pytest.raises(InputError, match=r"decoding\.search: `n_best` must be between 1 and `width` \(2\), but is 3"):
        make("decoding.search={name: beam, width: 2}", n_best=3)
    assert make("decoding.search=sample", n_best=3).search.width == 3
    linear = make("model.decoder.cross_attention=linear")
    with pytest.raises(InputError, match="--align: cross-attention 'linear' doesn't compute weights"):
        Details(linear, 1, False, True, -1)
    with pytest.raises(InputError, match="--align: there is no decoder layer 5"):
        Details(make(), 1, False, True, 5)


def test_an_interrupt_leaves_whole_lines(make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """What has been written when ctrl-C comes is whole lines, and nothing waits in a buffer."""
    translator = make("decoding.search=greedy")
    wanted = translator.translate(LINES)
    written = io.BytesIO()

    class Interrupted(io.TextIOWrapper):
        def write(self, text: str) -> int:
            if written.getvalue().count(b"\n") == 3:
                raise KeyboardInterrupt
            return super().write(text)

    (tmp_path / "in.txt").write_text("\n".join(LINES) + "\n")
    monkeypatch.setattr(job, "load", lambda run, **_: translator)
    monkeypatch.setattr("sys.stdout", Interrupted(written, encoding="utf-8"))
    with pytest.raises(KeyboardInterrupt):
        translation.run(Path(), file=tmp_path / "in.txt")
    assert written.getvalue().decode() == "".join(text + "\n" for text in wanted[:3])


def test_lines_are_counted_for_a_person_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for is_terminal, shown in ((False, True), (True, False)):
        errors = Terminal()
        monkeypatch.setattr("sys.stderr", errors)
        monkeypatch.setattr("sys.stdout", Terminal() if is_terminal else io.StringIO())
        assert list(counted(iter(["a", "b"]))) == ["a", "b"]
        assert ("2 lines" in errors.getvalue()) == shown
