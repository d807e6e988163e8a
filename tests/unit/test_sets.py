"""Test sets by name: where they are looked for, in which forms they may lie there, and what is said of one that isn't."""

from __future__ import annotations

import gzip
import lzma
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recambio.config import Config
from recambio.config import load as load_config
from recambio.errors import InputError
from recambio.experiment import evaluate as evaluation
from recambio.experiment import run_folder
from recambio.experiment.job import one_by_one
from recambio.experiment.overlap import _config_sets
from recambio.experiment.sets import config_files, default_sets, file_name, file_set, named_set
from recambio.experiment.stream import Chunk

SOURCES, FIRST, SECOND = ["A dog.", "The cat."], ["Un perro.", "El gato."], ["Algún perro.", "La gata."]
Load = Callable[..., Config]


@pytest.fixture
def load(repository: Path, tmp_path: Path) -> Load:
    def loaded(*overrides: str) -> Config:
        given = [f"data.root={tmp_path}", *overrides]
        return load_config(repository / "experiments" / "tiny.yaml", given, check_hardware=False)

    return loaded


def write(path: Path, lines: list[str]) -> Path:
    """A file of lines, compressed by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        data = zstandard.compress(data)
    path.write_bytes({".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(data))
    return path


@pytest.mark.parametrize("end", ["", ".gz", ".xz", ".zst"])
def test_files_may_be_compressed_wherever_they_are_named(end: str, load: Load, tmp_path: Path) -> None:
    source = write(tmp_path / f"news.en{end}", SOURCES)
    references = [write(tmp_path / f"news.{which}{end}", side) for which, side in (("es", FIRST), ("es2", SECOND))]
    assert file_name(source) == "news"
    assert file_set("news", source, references).references == [FIRST, SECOND]
    found = named_set(load(), "news")
    assert (found.name, found.sources, found.references) == ("news", SOURCES, [FIRST])
    # The config may name the plain file, of which there is the compressed form: so a corpus is named too.
    config = load("evaluation.sets.mine={source: news.en, reference: [news.es, news.es2]}")
    assert config_files(config, "mine") == (source, references)
    found = named_set(config, "mine")
    assert (found.name, found.sources, found.references) == ("mine", SOURCES, [FIRST, SECOND])
    (held_out,) = _config_sets(config, set(), tmp_path / "cache")
    assert list(held_out.read()) == [(SOURCES[i], [FIRST[i], SECOND[i]]) for i in range(2)]
    assert [one.name for one in default_sets(config)] == ["test", "recombination", "length", "mine"]


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("flores200-devtest", "flores200_dataset/devtest/{}_Latn.devtest"),
        ("flores200-dev", "flores200_dataset/dev/{}_Latn.dev"),
        ("flores101-devtest", "flores101_dataset/devtest/{}.devtest"),
        ("flores101-dev", "flores101_dataset/dev/{}.dev.gz"),
        ("flores200-devtest", "devtest/{}_Latn.devtest"),
        ("flores101-dev", "dev/{}.dev"),
    ],
)
def test_flores_as_it_is_published(name: str, files: str, load: Load, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"--set {name}: no .*eng(_Latn)?\.dev\w*; unpack FLORES-\d+ there, or name its files"
    ):
        named_set(load(), name)
    for language, lines in (("eng", SOURCES), ("spa", FIRST), ("fra", ["Un chien.", "Le chat."])):
        write(tmp_path / files.format(language), lines)
    found = named_set(load(), name)
    assert (found.name, found.sources, found.references) == (name, SOURCES, [FIRST])


def test_a_folder_of_test_sets_needn_t_be_named(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "testsets/news.en.gz", SOURCES)
    write(tmp_path / "testsets/news.es", FIRST)
    assert named_set(load(), "news").references == [FIRST]
    assert named_set(load(), "testsets/news").sources == SOURCES
    write(tmp_path / "news.en", ["Mine."])
    write(tmp_path / "news.es", ["Mío."])
    assert named_set(load(), "news").sources == ["Mine."]


def test_a_set_of_ones_own_comes_before_the_published_one(load: Load, tmp_path: Path) -> None:
    write(tmp_path / "flores200_dataset/devtest/eng_Latn.devtest", SOURCES)
    write(tmp_path / "flores200-devtest.en", ["Mine."])
    write(tmp_path / "flores200-devtest.es", ["Mío."])
    assert named_set(load(), "flores200-devtest").sources == ["Mine."]


def test_what_isnt_there_is_said(load: Load, tmp_path: Path) -> None:
    source = write(tmp_path / "a.en", SOURCES)
    write(tmp_path / "b.es.gz", FIRST[:1])
    for config, name, problem in (
        (load(), "a", f"{tmp_path}/a.es: no such file; give the two sides of a test set"),
        (load("evaluation.sets.a={source: a.en, reference: b.es}"), "a",
         f"{tmp_path}/b.es.gz: has 1 lines but {source} has 2; they must match line by line"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            named_set(config, name)
        assert error.value.problems == [problem]
    with pytest.raises(
        InputError, match=r"wmt13/en-de: no such test set .* sacreBLEU has wmt08, wmt08/europarl, .*wmt13.* for en-es"
    ):
        named_set(load(), "wmt13/en-de")


def test_two_sets_of_one_name_would_overwrite_each_other(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("one", "two"):
        for language, lines in (("en", SOURCES), ("es", FIRST)):
            write(tmp_path / folder / f"news.{language}", lines)
    monkeypatch.setattr(evaluation.Job, "without_model", lambda _: (load(f"data.root={tmp_path}/one"), None, None))
    run_folder.write_manifest(tmp_path, run_folder.Manifest("tiny", 1))
    source, reference = tmp_path / "two" / "news.en", tmp_path / "two" / "news.es"
    with pytest.raises(
        InputError, match=r"--set news: two sets would be written to eval/news\.\*; score them one after"
    ):
        evaluation.run(tmp_path, sets=["news"], source=source, reference=[reference])


def test_every_sentence_is_scored_with_its_own_translation() -> None:
    """Sets are shared out by length, one after the other."""
    draw = random.Random(3)
    lines = ["".join(draw.choices("ab c", k=draw.randint(0, 30))) for _ in range(900)]
    sets = [
        evaluation.TestSet("news", lines[:600], [lines[600:] * 2]),
        evaluation.TestSet("few", lines[600:603], [lines[:3]]),
        evaluation.TestSet("talks", lines[603:], [lines[:297]]),
    ]
    asked = []

    def reverse(chunk: Chunk) -> list[str]:
        asked.append(str(chunk))
        return [
            line[::-1] if number > 1 else "two\nlines" for number, line in zip(chunk.numbers, chunk.lines, strict=True)
        ]

    results = evaluation.evaluate(sets, {}, one_by_one(reverse))
    assert asked == [
        *("256 lines of news", "256 lines of news", "88 lines of news", "3 lines of few", "256 lines of talks"),
        "41 lines of talks",
    ]
    for one, result in zip(sets, results, strict=True):
        assert result.sources == one.sources and result.references == one.references
        assert result.hypotheses == ["two lines", *(line[::-1] for line in one.sources[1:])]
        assert "line_breaks: 1 hypotheses held a line break, written as a blank" in result.warnings


SCRIPT = """
import socket, sys
def refuse(*arguments, **options):
    raise OSError("Network is unreachable")
socket.create_connection = refuse
from recambio.errors import InputError
from recambio.experiment.sets import sacrebleu_set
for name in sys.argv[1:]:
    try:
        found = sacrebleu_set(name, None)
        print(found.name, found.sources, found.references)
    except InputError as error:
        print(*error.problems)
"""


def test_sacrebleus_own_sets_offline(tmp_path: Path) -> None:
    """In a process of its own: sacreBLEU reads SACREBLEU when it is imported. One set is there, in its layout, the others aren't."""
    for field, lines in {
        "src": SOURCES,
        "ref": FIRST,
        "docid": ["d"] * 2,
        "genre": ["news"] * 2,
        "origlang": ["en"] * 2,
    }.items():
        write(tmp_path / "wmt13" / f"wmt13.en-es.{field}", lines)
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, "wmt13/en-es", "wmt13", "wmt12/en-es", "wmt08/europarl"],
        env={**os.environ, "SACREBLEU": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert found[:2] == [f"{name} {SOURCES} {[FIRST]}" for name in ("wmt13/en-es", "wmt13")]
    for line, name, short in zip(
        found[2:], ("wmt12/en-es", "wmt08/europarl"), ("wmt12", "wmt08/europarl"), strict=True
    ):
        assert line.startswith(f"--set {name}: isn't under {tmp_path}, and sacreBLEU couldn't fetch it (")
        assert "Network is unreachable" in line
        assert line.endswith(
            f"; run sacrebleu -t {short} -l en-es --echo src with a network and copy that folder here, "
            "or give files with --source and --reference"
        )
