"""Which sentences a config keeps out of its training data, and what is said of those that were found there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recambio.config import Config
from recambio.data.cache import cache_folder, file_hash, stable_hash
from recambio.data.corpora.base import Corpus
from recambio.data.overlap import HeldOutSet, Overlap, corpus_sets
from recambio.errors import InputError
from recambio.experiment.sets import config_files, file_set


def build_overlap(config: Config, corpus: Corpus) -> Overlap | None:
    """What ``data.overlap`` asks for, against the corpus's own splits and ``evaluation.sets``; None if there is nothing to look for.

    Raises:
        InputError: A file of ``evaluation.sets`` is missing.
    """
    rule = config.values.data.overlap
    if rule.sentences == rule.ngrams == "keep":
        return None
    cache = cache_folder()
    own = corpus_sets(corpus, cache)
    sets = [*own, *_config_sets(config, {s.name for s in own}, cache)]
    if not sets:
        return None
    return Overlap(tuple(sets), rule.sentences, rule.ngrams, rule.min_words, rule.ngram_words)


def overlap_lines(overlap: Mapping[str, Any]) -> list[str]:
    """What was found, a line for each set."""
    return [f"training pairs that stood in {name}: {what_was_found(overlap, name)}" for name in overlap["sets"]]


def what_was_found(overlap: Mapping[str, Any], name: str) -> str:
    """What was found of one set, in words."""
    found = overlap["sets"][name]
    n_exact, n_normalised, n_ngrams = found["exact"], found["normalised"], found["ngrams"]
    done = {"remove": "removed", "report": "kept"}
    parts = []
    if overlap["sentences"] != "keep":
        count = n_exact + n_normalised
        detail = f" ({n_exact:,} exact, {n_normalised:,} but for case, punctuation and white space)" if count else ""
        parts.append(f"{count:,} {done[overlap['sentences']]}{detail}" if count else "none")
    if overlap["ngrams"] != "keep":
        verb = f", {done[overlap['ngrams']]}" if n_ngrams else ""
        more = "more " if parts else ""
        parts.append(f"{n_ngrams:,} {more}with {overlap['ngram_words']} words of it in a row{verb}")
    return "; ".join(parts)


def has_found(overlap: Mapping[str, Any]) -> bool:
    """Whether anything was found."""
    return any(overlap["pairs"].values())


def _config_sets(config: Config, taken: set[str], cache: Path) -> list[HeldOutSet]:
    found, problems = [], []
    for name in config.values.evaluation.sets:
        source, targets = config_files(config, name)
        missing = [path for path in (source, *targets) if not path.is_file()]
        problems += [
            f"evaluation.sets.{name}: no file {path}; its sentences must be kept out of training" for path in missing
        ]
        if not missing:
            fingerprint = stable_hash([file_hash(path, cache) for path in (source, *targets)])
            unique = f"evaluation.sets.{name}" if name in taken else name
            found.append(HeldOutSet(unique, fingerprint, partial(_rows, name, source, targets)))
    if problems:
        raise InputError(problems)
    return found


def _rows(name: str, source: Path, targets: Sequence[Path]) -> Iterator[tuple[str, Sequence[str]]]:
    held_out = file_set(name, source, targets)
    for line, *references in zip(held_out.sources, *held_out.references, strict=True):
        yield line, references
