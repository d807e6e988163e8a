"""The evaluation of one set, and its files in the run folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recambio.errors import InputError
from recambio.evaluation.base import Metric, Score, check_counts
from recambio.evaluation.phenomena import Accuracy, accuracy_by_length, accuracy_by_tag, exact_matches
from recambio.evaluation.samples import Sample, choose_samples
from recambio.evaluation.slices import ErrorCount, count_errors, score_slices
from recambio.files import write_text
from recambio.registry import METRIC, Node

_LINE_BREAK = re.compile(r"\r\n|[\r\n]")
_LEFTOVER = re.compile(r"▁|@@(?= |$)|⁇|</?s>|<(?:pad|unk|bos|eos|sos)>")


@dataclass(frozen=True)
class SetResult:
    """How a model did on one set.

    Attributes:
        name: The set.
        n: Sentences.
        scores: By the metric's name in the config.
        exact_match: Translations that equal a reference.
        phenomena: Accuracy by tag, for corpora that carry tags.
        lengths: Accuracy by source words, for the same corpora.
        hypotheses: The translations as scored and written, one line each.
        sources: What was translated, as written.
        references: One list for each reference set, as scored and written.
        slices: Scores of parts of the set: by slice, bucket, and metric.
        errors: What can be seen to be wrong, by the error's name.
        samples: A few of them beside source and reference.
        warnings: What makes the scores doubtful, each ``name: text``.
    """

    name: str
    n: int
    scores: dict[str, Score]
    exact_match: Accuracy
    hypotheses: list[str] = field(repr=False)
    sources: list[str] = field(default_factory=list, repr=False)
    references: list[list[str]] = field(default_factory=list, repr=False)
    phenomena: dict[str, Accuracy] = field(default_factory=dict)
    lengths: dict[str, Accuracy] = field(default_factory=dict)
    slices: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    errors: dict[str, ErrorCount] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def hypotheses_text(self) -> str:
        """The content of the hypothesis file."""
        return _text(self.hypotheses)

    @property
    def sha256(self) -> str:
        """Of the hypothesis file."""
        return _sha256(self.hypotheses_text)

    @property
    def texts(self) -> dict[str, str]:
        """The set itself, by the name of its file: the run folder alone is enough to compare."""
        stem = f"eval/{file_stem(self.name)}"
        sides = {f"{stem}.ref{i if i > 1 else ''}": side for i, side in enumerate(self.references, 1)}
        return {name: _text(lines) for name, lines in {f"{stem}.src": self.sources, **sides}.items()}

    def as_dict(self) -> dict[str, Any]:
        """The set's entry in the evaluation's JSON."""
        entry: dict[str, Any] = {key: score.as_dict() for key, score in self.scores.items()}
        entry |= {
            "n": self.n,
            "hypotheses": f"eval/{file_stem(self.name)}.hyp",
            "sha256": self.sha256,
        }
        entry.setdefault("exact_match", self.exact_match.exact)  # a score of its own where the metric was asked for
        source, *references = ({"file": name, "sha256": _sha256(text)} for name, text in self.texts.items())
        entry |= {"source": source, "references": references}
        for key in ("phenomena", "lengths"):
            if table := getattr(self, key):
                entry[key] = {tag: accuracy.as_dict() for tag, accuracy in table.items()}
        entry["slices"] = self.slices
        entry["errors"] = {name: count.as_dict() for name, count in self.errors.items()}
        entry["samples"] = [s.as_dict() for s in self.samples]
        entry["warnings"] = self.warnings
        return entry


def build_metrics(nodes: Iterable[Node]) -> dict[str, Metric]:
    """Metrics by the key that results use.

    Args:
        nodes: As ``evaluation.metrics`` lists them. A name that comes again (other options) gets ``_2``, ``_3``...;
            what a preset stands for has the preset's name (``chrf++``).

    Raises:
        InputError: Every problem of every node.
    """
    nodes = list(nodes)
    if problems := [p for i, node in enumerate(nodes) for p in METRIC.problems(node, f"evaluation.metrics[{i}]")]:
        raise InputError(problems)
    metrics: dict[str, Metric] = {}
    for node in nodes:
        name = _key(node)
        n_before = sum(key == name or key.startswith(f"{name}_") for key in metrics)
        metrics[f"{name}_{n_before + 1}" if n_before else name] = METRIC.create(node)
    return metrics


def _key(node: Node) -> str:
    """A metric's name; that of a preset where the options are its, for a config spells presets out."""
    resolved = METRIC.resolve(node)
    return next((name for name in METRIC.presets if METRIC.resolve(name) == resolved), resolved[0])


def evaluate_set(
    name: str,
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    tags: Sequence[Iterable[str]] | None = None,
    metrics: Mapping[str, Metric] | Iterable[Node] = ("bleu", "chrf"),
    n_bootstrap: int = 1000,
    n_samples: int = 8,
    seed: int = 0,
) -> SetResult:
    """Score the translations of a set.

    A line break within a sentence becomes a blank before anything is scored, so the files give the same score again.

    Args:
        name: The set.
        sources: N sentences.
        hypotheses: N translations.
        references: One list of N sentences for each reference set.
        tags: The phenomena of each sentence, where the corpus has them.
        metrics: By key, or as a config lists them.
        n_bootstrap: Resamples for the intervals.
        n_samples: Translations kept to be shown.
        seed: Of their choice.

    Raises:
        InputError: There is nothing to score or the counts differ.
    """
    check_counts(hypotheses, references, name)
    if len(sources) != len(hypotheses):
        raise InputError(
            f"{name}: {len(sources):,} source lines but {len(hypotheses):,} hypotheses; they must match line by line"
        )
    if not isinstance(metrics, Mapping):
        metrics = build_metrics(metrics)
    lines, sources = _on_lines(hypotheses), _on_lines(sources)
    sides = [_on_lines(side) for side in references]
    matches = exact_matches(lines, sides)
    rows = {key: metric.statistics(lines, sides) for key, metric in metrics.items()}
    warnings = find_warnings(sources, lines, references)
    if n_broken := sum(bool(_LINE_BREAK.search(h)) for h in hypotheses):
        warnings.append(f"line_breaks: {n_broken:,} hypotheses held a line break, written as a blank")
    return SetResult(
        name=name,
        n=len(lines),
        scores={key: metric.score_rows(rows[key], len(sides), n_bootstrap) for key, metric in metrics.items()},
        exact_match=Accuracy(len(matches), sum(matches)),
        hypotheses=lines,
        sources=sources,
        references=sides,
        phenomena=accuracy_by_tag(matches, tags) if tags is not None else {},
        lengths=accuracy_by_length(matches, sources) if tags is not None else {},
        slices=score_slices(sources, metrics, rows),
        errors=count_errors(sources, lines, sides, seed=seed),
        samples=choose_samples(sources, lines, sides, n_samples, seed),
        warnings=warnings,
    )


def find_warnings(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[str]:
    """What makes a score doubtful or incomparable, each ``name: text``."""
    n = len(hypotheses)
    warnings = []
    if n_empty := sum(not h.strip() for h in hypotheses):
        warnings.append(f"empty_hypotheses: {n_empty:,} of {n:,} hypotheses are empty")
    n_copies = sum(h.strip() == s.strip() != "" for h, s in zip(hypotheses, sources, strict=True))
    n_expected = sum(r.strip() == s.strip() != "" for r, s in zip(references[0], sources, strict=True))
    if n_copies > n_expected and n_copies >= max(1, n // 20):
        warnings.append(
            f"copied_sources: {n_copies:,} of {n:,} hypotheses are the source sentence "
            f"({n_expected:,} references are); is it the translation that is scored?"
        )
    leftovers = [h for h in hypotheses if _LEFTOVER.search(h)]
    if leftovers and not any(_LEFTOVER.search(r) for r in references[0]):
        mark = _LEFTOVER.search(leftovers[0])
        assert mark is not None
        warnings.append(
            f"leftover_tokens: {len(leftovers):,} hypotheses hold subword or special tokens such as {mark[0]!r}"
        )
    n_tokenised = sum(h.endswith((" .", " ?", " !")) for h in hypotheses)
    if n_tokenised >= max(2, n // 20) and n_tokenised > sum(r.endswith((" .", " ?", " !")) for r in references[0]):
        warnings.append(
            f"tokenised: {n_tokenised:,} hypotheses end in a split-off mark; scores are of detokenised text"
        )
    if any(h.strip() for h in hypotheses) and all(h == h.lower() for h in hypotheses):
        n_cased = sum(r != r.lower() for r in references[0])
        if n_cased > n / 2:
            warnings.append("lowercased: no hypothesis has a capital letter but most references have")
    return warnings


def file_stem(name: str) -> str:
    """A set's name as a file name: ``tatoeba/test`` is ``tatoeba__test``."""
    stem = re.sub(r"[^\w.-]", "_", name.replace("/", "__"))
    return stem.lstrip(".") or "_"


def write_results(run_dir: Path, results: Sequence[SetResult]) -> dict[str, Any]:
    """Write ``eval/<set>.{src,ref,hyp,json}`` of each set, replacing what an earlier evaluation wrote.

    Further references are ``.ref2``, ``.ref3`` and so on.

    Args:
        run_dir: The run folder.
        results: One for each set.

    Returns:
        ``{"sets": {name: ...}}`` of them all.
    """
    folder = run_dir / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    merged: dict[str, Any] = {"sets": {}}
    for result in results:
        entry = result.as_dict()
        # the texts first: a JSON file never names one that isn't there
        for file, text in result.texts.items():
            write_text(run_dir / file, text)
        write_text(run_dir / entry["hypotheses"], result.hypotheses_text)
        one = {"sets": {result.name: entry}}
        write_text(folder / f"{file_stem(result.name)}.json", json.dumps(one, ensure_ascii=False, indent=2) + "\n")
        merged["sets"][result.name] = entry
    return merged


def read_text_file(run_dir: Path, file: str, sha256: str) -> list[str]:
    """The lines of a text of an evaluation.

    Args:
        run_dir: The run folder.
        file: As the evaluation's JSON names it.
        sha256: As the JSON has it.

    Raises:
        InputError: There is none, or it isn't the text that was scored.
    """
    path = run_dir / file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror}); score the run again with recambio eval") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{path}: has changed since it was scored; score the run again with recambio eval")
    return content.decode("utf-8").split("\n")[:-1]


def read_results(run_dir: Path) -> dict[str, Any]:
    """The sets of every ``eval/*.json`` of a run folder by name, sorted; files that aren't evaluations are passed over."""
    found: dict[str, Any] = {}
    for path in sorted((run_dir / "eval").glob("*.json")):
        try:
            sets = json.loads(path.read_text(encoding="utf-8"))["sets"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(sets, dict):
            found |= {name: entry for name, entry in sets.items() if isinstance(entry, dict)}
    return dict(sorted(found.items()))


def _on_lines(sentences: Iterable[str]) -> list[str]:
    return [_LINE_BREAK.sub(" ", sentence) for sentence in sentences]


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
