"""Test sets by name: of the config, of the corpus, under ``data.root``, in FLORES's layout, and sacreBLEU's own."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recambio.config import Config, data_root
from recambio.data.corpora.base import Corpus
from recambio.data.pairs import SUFFIXES, find_file, read_lines
from recambio.errors import InputError
from recambio.experiment.build import build_corpus

_FLORES = re.compile(r"flores(101|200)-(dev|devtest)")
_SECONDS = 30.0
"""Without an answer for so long, there is no network."""

_FOLDER = "testsets"
"""Under ``data.root``: its files are found without it being named."""


@dataclass(frozen=True)
class TestSet:
    """A set to score.

    Attributes:
        references: One list for each reference set.
        tags: Phenomena of each sentence, where the corpus has them.
    """

    name: str
    sources: list[str]
    references: list[list[str]]
    tags: list[tuple[str, ...]] | None = None


def default_sets(config: Config) -> list[TestSet]:
    """The test sets of the corpus, then those of the config; there may be none."""
    corpus = build_corpus(config)
    names = [s for s in corpus.splits() if s not in ("train", "dev")]
    found = [corpus_set(corpus, name) for name in names]
    return found + [named_set(config, s) for s in config.values.evaluation.sets if s not in names]


def named_set(config: Config, name: str) -> TestSet:
    """A set by name.

    Args:
        config: Of the run.
        name: A key of ``evaluation.sets``; a split of the corpus; NAME of ``NAME.{en,es}`` under ``data.root`` or its folder
            ``testsets``, plain or compressed; ``flores200-devtest`` and its like; or one of sacreBLEU's, as ``wmt13`` or
            ``wmt13/en-es``.

    Raises:
        InputError: No such set.
    """
    root = data_root(config)
    if name in config.values.evaluation.sets:
        return file_set(name, *config_files(config, name))
    corpus = build_corpus(config)
    if name in corpus.splits():
        return corpus_set(corpus, name)
    for folder in (root, root / _FOLDER) if root is not None else ():
        if source := find_file(folder / f"{name}.en"):
            return file_set(name, source, [_found(folder / f"{name}.es")])
    if match := _FLORES.fullmatch(name):
        return flores_set(name, match[1], match[2], root)
    return sacrebleu_set(name, root)


def config_files(config: Config, name: str) -> tuple[Path, list[Path]]:
    """Source and references of a set of ``evaluation.sets``; where only the compressed form of a file is there, that."""
    entry, base = config.values.evaluation.sets[name], data_root(config) or Path()
    references = [entry.reference] if isinstance(entry.reference, str) else entry.reference
    return _found(base / entry.source), [_found(base / reference) for reference in references]


def file_name(path: Path) -> str:
    """What a set is called that is known by its source file: without the language, and how it is compressed."""
    stem = path.stem if path.suffix in SUFFIXES[1:] else path.name
    return Path(stem).stem


def corpus_set(corpus: Corpus, split: str) -> TestSet:
    """A split of the run's corpus, with its tags if it has any."""
    pairs = list(corpus.read(split))
    tags = [p.tags for p in pairs]
    return TestSet(split, [p.source for p in pairs], [[p.target for p in pairs]], tags if any(tags) else None)


def file_set(name: str, source: Path, references: Sequence[Path]) -> TestSet:
    """A set in files of one sentence a line, plain or compressed.

    Raises:
        InputError: A file is missing, isn't UTF-8, is empty, or has another number of lines than the source.
    """
    for path in (source, *references):
        if not path.is_file():
            raise InputError(f"{path}: no such file; give the two sides of a test set")
    lines = list(read_lines(source))
    sides = [list(read_lines(p)) for p in references]
    if not lines:
        raise InputError(f"{source}: is empty; a test set has at least one line")
    for path, side in zip(references, sides, strict=True):
        if len(side) != len(lines):
            raise InputError(
                f"{path}: has {len(side):,} lines but {source} has {len(lines):,}; they must match line by line"
            )
    return TestSet(name, lines, sides)


def flores_set(name: str, version: str, split: str, root: Path | None) -> TestSet:
    """A set of FLORES as it is published: ``flores200_dataset/devtest/eng_Latn.devtest``, ``flores101_dataset/devtest/eng.devtest``.

    Args:
        name: Of the set.
        version: 101 or 200.
        split: ``dev`` or ``devtest``.
        root: The folder that holds the data set's, or is it.

    Raises:
        InputError: It isn't there.
    """
    script = "_Latn" if version == "200" else ""
    inside = f"{split}/eng{script}.{split}"
    places = [root / f"flores{version}_dataset", root] if root is not None else []
    for folder in places:
        if source := find_file(folder / inside):
            return file_set(name, source, [_found(folder / split / f"spa{script}.{split}")])
    where = f"{places[0]}/{inside}" if places else f"data.root (unset) for flores{version}_dataset/{inside}"
    raise InputError(
        f"--set {name}: no {where}; unpack FLORES-{version} there, or name its files with --source and --reference"
    )


def sacrebleu_set(name: str, root: Path | None) -> TestSet:
    """One of sacreBLEU's own test sets, as ``wmt13`` or ``wmt13/en-es``; downloaded by it at first use.

    Raises:
        InputError: It has no such set, or it isn't there yet and can't be fetched.
    """
    from sacrebleu.dataset import DATASETS
    from sacrebleu.utils import SACREBLEU_DIR, get_reference_files, get_source_file

    short = name.removesuffix("/en-es")
    if short not in DATASETS or "en-es" not in DATASETS[short].langpairs:
        where = f"{root} ({name}.en, {_FOLDER}/{name}.en)" if root else "data.root (unset)"
        known = sorted(n for n, d in DATASETS.items() if "en-es" in d.langpairs)
        raise InputError(
            f"--set {name}: no such test set in evaluation.sets, the corpus, or {where}; sacreBLEU has {', '.join(known)} for en-es"
        )
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS)  # sacreBLEU sets none of its own
    try:
        source, references = get_source_file(short, "en-es"), get_reference_files(short, "en-es")
    except (Exception, SystemExit) as error:  # it exits where a checksum is wrong
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--set {name}: isn't under {SACREBLEU_DIR}, and sacreBLEU couldn't fetch it ({reason}); run sacrebleu -t {short} -l en-es "
            "--echo src with a network and copy that folder here, or give files with --source and --reference"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return file_set(name, Path(source), [Path(r) for r in references])


def _found(path: Path) -> Path:
    return find_file(path) or path
