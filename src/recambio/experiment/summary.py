"""What a person sees at the end of a training, and what ``recambio eval`` prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.text import Text

from recambio.evaluation.phenomena import phenomena_rows
from recambio.evaluation.result import SetResult, file_stem
from recambio.evaluation.samples import Sample

_SWAPS = (
    ("normalization", ("rms_norm", "layer_norm")),
    ("positions", ("rope", "sinusoidal")),
    ("activation", ("silu", "relu")),
)
"""Parts worth trying first, the first that the run doesn't use already."""


def print_summary(
    console: Console,
    run_dir: Path,
    results: Sequence[SetResult],
    samples: Sequence[Sample] | None = None,
    descriptions: Mapping[str, str] | None = None,
    n_samples: int = 5,
) -> None:
    """Scores, accuracy by phenomenon, a few translations, where everything is, and what to do next.

    Plain lines without frames: they survive a narrow terminal, a log file and a screen reader.

    Args:
        console: Where to print; standard error, as it is no result.
        run_dir: The run folder.
        results: One for each set.
        samples: Translations to show; by default of the first set.
        descriptions: What each phenomenon means; by default those of the embedded corpus.
        n_samples: How many translations at most.
    """
    where = _relative(run_dir)
    for result in results:
        _heading(console, f"{result.name} ({result.n:,} sentences)")
        for line, is_detail in _score_lines(result):
            console.print(Text(line, style="dim" if is_detail else ""))
        for warning in result.warnings:
            console.print(Text(f"  warning: {warning}", style="yellow"))
    tagged = next((r for r in results if r.phenomena), None)
    if tagged is not None:
        _phenomena(console, tagged, descriptions)
    for line in start_lines(_manifest(run_dir).get("init_from")):
        console.print(Text(line, style="dim"))
    if samples is None and results:
        samples = results[0].samples
    if samples:
        _samples(console, _mixed(samples, n_samples))
    _files(console, run_dir, where, results)
    _commands(console, run_dir, where)


def start_lines(init_from: Mapping[str, Any] | None) -> list[str]:
    """What a person is told of the weights that a run started from, by its manifest."""
    if not init_from:
        return []
    fresh = init_from["fresh"]
    return [f"started from {init_from['path']}" + (f"; anew: {', '.join(fresh)}" if fresh else "")]


def print_scores(results: Sequence[SetResult], where: str) -> None:
    """Print scores to standard output: a set as lines, several as one table; warnings go to standard error.

    Args:
        results: One for each set.
        where: The run folder as a person would type it.
    """
    if len(results) > 1:
        _print_table(results, where)
    else:
        for result in results:
            print(f"{where} on {result.name} ({result.n:,} sentences)")
            for line, _ in _score_lines(result):
                print(line)
    for result in results:
        for warning in result.warnings:
            print(f"  warning: {f'{result.name}: ' if len(results) > 1 else ''}{warning}", file=sys.stderr)


def _print_table(results: Sequence[SetResult], where: str) -> None:
    """A row for each set; the signatures below, each once."""
    named = {key: s.name for r in results for key, s in r.scores.items()}
    # two metrics of one name, as BLEU with two tokenizers, go by their keys
    labels = {key: name if list(named.values()).count(name) == 1 else key for key, name in named.items()}
    rows = [["set", "sentences", *(cell for label in labels.values() for cell in (label, "95 %")), "exact"]]
    for result in results:
        row = [result.name, f"{result.n:,}"]
        for key in labels:
            score = result.scores.get(key)
            row.append(f"{score.score:.2f}" if score else "")
            row.append(f"{score.low:.2f} to {score.high:.2f}" if score and score.low is not None else "")
        rows.append([*row, f"{result.exact_match.exact:.1f} %"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(where)
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print(f"  {'  '.join(cells)}".rstrip())
    for line in dict.fromkeys(f"  {labels[key]}  {s.signature}" for r in results for key, s in r.scores.items()):
        print(line)


def _score_lines(result: SetResult) -> list[tuple[str, bool]]:
    """Lines of a set, and whether each is a detail."""
    width = max([len(s.name) for s in result.scores.values()], default=0)
    lines = []
    for score in result.scores.values():
        interval = "" if score.low is None else f"   95 % {score.low:.2f} to {score.high:.2f}"
        lines.append((f"  {score.name:<{width}}  {score.score:6.2f}{interval}", False))
        lines.append((f"  {'':<{width}}  {score.signature}", True))
    exact = result.exact_match
    low, high = exact.interval
    lines.append((f"  exactly the reference: {exact.exact:.1f} % (95 % {low:.1f} to {high:.1f})", False))
    return lines


def _phenomena(console: Console, result: SetResult, descriptions: Mapping[str, str] | None) -> None:
    if descriptions is None:
        from recambio.experiment.report_sections import phenomenon_descriptions

        descriptions = phenomenon_descriptions()
    _heading(console, f"Sentences of {result.name} translated exactly, by phenomenon")
    rows = phenomena_rows(result.phenomena, descriptions)
    width = max(len(name) for name, _, _ in rows)
    console.print(Text(f"  {'':<{width}}       n   exact  95 %", style="dim"))
    for name, description, accuracy in rows:
        low, high = accuracy.interval
        line = Text(f"  {name:<{width}}  {accuracy.n:6,}  {accuracy.exact:5.1f}%  {low:3.0f} to {high:3.0f}")
        # the example after the colon stays in the report
        short = description.split(":")[0]
        if short and line.cell_len + 2 + len(short) <= console.width:
            line.append(f"  {short}", style="dim")
        console.print(line)


def _samples(console: Console, samples: Sequence[Sample]) -> None:
    _heading(console, "Translations")
    for sample in samples:
        console.print(Text.assemble(("  source       ", "dim"), sample.source))
        verdict, style = ("exact", "green") if sample.is_exact else ("differs", "red")
        console.print(
            Text.assemble(("  translation  ", "dim"), sample.hypothesis or "(empty)", (f"  [{verdict}]", style))
        )
        console.print(Text.assemble(("  reference    ", "dim"), sample.reference))
        console.print()


def _mixed(samples: Sequence[Sample], n: int) -> list[Sample]:
    """The first n, right and wrong in as even a mix as there is."""
    right = [s for s in samples if s.is_exact]
    wrong = [s for s in samples if not s.is_exact]
    n_right = min(len(right), max(n // 2, n - len(wrong)))
    return sorted(right[:n_right] + wrong[: n - n_right], key=lambda s: s.index)


def _files(console: Console, run_dir: Path, where: str, results: Sequence[SetResult]) -> None:
    wanted = [("weights", "weights.safetensors")]
    wanted += [("hypotheses", f"eval/{file_stem(r.name)}.hyp") for r in results]
    wanted += [("report", "report.html"), ("metrics", "metrics.csv"), ("config", "config.yaml")]
    found = [(what, name) for what, name in wanted if (run_dir / name).exists()]
    if found:
        _heading(console, "Files")
        for what, name in found:
            console.print(Text.assemble((f"  {what:<11}", "dim"), f"{where}/{name}"))


def _commands(console: Console, run_dir: Path, where: str) -> None:
    _heading(console, "Next")
    commands = [
        ("translate", f"recambio translate {where}"),
        ("score again", f"make eval RUN={where}"),
    ]
    if swap := _swap(run_dir):
        kind, part = swap
        name = f"{run_dir.resolve().name}-{part}"
        commands.append(("swap a part", f"recambio train {where}/config.yaml name={name} model.{kind}={part}"))
    for what, command in commands:
        console.print(Text.assemble((f"  {what:<12}", "dim"), (command, "bold")))


def _manifest(run_dir: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((run_dir / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _swap(run_dir: Path) -> tuple[str, str] | None:
    """A kind of part and another one of that kind to try."""
    try:
        model: dict[str, Any] = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))["model"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None
    for kind, parts in _SWAPS:
        node = model.get(kind)
        current = node.get("name") if isinstance(node, dict) else node
        if isinstance(current, str):
            return kind, next(p for p in parts if p != current)
    return None


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _relative(path: Path) -> str:
    try:
        short = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return str(path) if short.startswith("..") else short
