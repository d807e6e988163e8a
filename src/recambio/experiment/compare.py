"""``recambio compare``: runs beside each other, from what their folders hold. No model is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from recambio.errors import InputError
from recambio.evaluation.base import Metric
from recambio.evaluation.result import build_metrics, read_results, read_text_file
from recambio.evaluation.seeds import spread, welch
from recambio.evaluation.significance import holm, paired_test
from recambio.experiment.compare_table import print_comparison
from recambio.experiment.run_folder import MANIFEST
from recambio.registry import METRIC

_FACTS = (
    *("versions", "git", "precision", "accelerator", "devices", "num_nodes", "threads", "parameters", "accumulate"),
    *("tokens_seen", "steps", "init_from", "weights"),
)
"""What of a manifest is listed where it differs, beside the hashes of the data."""


@dataclass(frozen=True)
class ScoredRun:
    """What a run folder says of a run and its scores.

    Attributes:
        folder: The run folder.
        label: As a person at the working folder would type it.
        config: The resolved config, flat, by dotted key.
        facts: Of the manifest, flat.
        metrics: The nodes of ``evaluation.metrics``.
        sets: The evaluation of each set by name.
    """

    folder: Path
    label: str
    config: dict[str, Any]
    facts: dict[str, Any]
    metrics: list[Any]
    sets: dict[str, Any]

    @property
    def system(self) -> str:
        """What the runs of one system share: the config but for name and seed."""
        settings = {k: v for k, v in self.config.items() if k not in ("name", "seed")}
        return json.dumps(settings, sort_keys=True, default=str)


def run(
    folders: Sequence[Path],
    *,
    sets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    as_json: bool = False,
    plugins: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare runs on the sets that all of them have scored; results go to standard output.

    Args:
        folders: Run folders, the baseline first.
        sets: Names of sets; by default every one that all runs have scored.
        metrics: Names of metrics; by default those that all runs have scored.
        as_json: Print JSON instead of tables.
        plugins: Plugins whose metrics the runs were scored by.

    Returns:
        The comparison as plain data.

    Raises:
        InputError: What was asked for is missing, or can't be compared: one line for each problem.
    """
    if len(folders) < 2:
        raise InputError("compare: needs at least two runs, the baseline first")
    if len({f.resolve() for f in folders}) < len(folders):
        raise InputError("compare: the same run is named twice; a run is compared to others")
    if plugins:
        from recambio.plugins import load_plugins

        load_plugins(plugins)
    runs = [read_run(folder) for folder in folders]
    data = compare(runs, sets, metrics)
    print(json.dumps(data, ensure_ascii=False, indent=2)) if as_json else print_comparison(data)
    return data


def read_run(folder: Path) -> ScoredRun:
    """Read what a comparison needs of a run folder.

    Raises:
        InputError: The config or the manifest can't be read.
    """
    values: dict[str, dict[str, Any]] = {}
    for name in ("config.yaml", MANIFEST):
        try:
            text = (folder / name).read_text(encoding="utf-8")
            value = json.loads(text) if name == MANIFEST else yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(f"{folder / name}: can't be read ({type(error).__name__}); it must be a run's") from error
        if not isinstance(value, dict):
            raise InputError(f"{folder / name}: holds no settings; it must be a run's")
        values[name] = value
    config, manifest = values["config.yaml"], values[MANIFEST]
    facts = {key: manifest[key] for key in _FACTS if manifest.get(key) is not None}
    if isinstance(manifest.get("data"), dict) and manifest["data"].get("hashes"):
        facts["data"] = manifest["data"]["hashes"]
    evaluation = config.get("evaluation")
    nodes = evaluation.get("metrics") if isinstance(evaluation, dict) else None
    return ScoredRun(
        folder, str(folder), dict(_leaves(config)), dict(_leaves(facts)), list(nodes or []), read_results(folder)
    )


def compare(runs: Sequence[ScoredRun], sets: Sequence[str] = (), metrics: Sequence[str] = ()) -> dict[str, Any]:
    """Compare runs, the first of which is the baseline.

    Args:
        runs: Two or more.
        sets: Names of sets; by default every one that all runs have scored.
        metrics: Names of metrics; by default those that all runs have scored.

    Raises:
        InputError: As :func:`run`.
    """
    names = list(dict.fromkeys(sets)) or [name for name in runs[0].sets if all(name in r.sets for r in runs)]
    problems = [
        f"{r.label}: has not scored {name!r}; recambio eval {r.label} --set {name}"
        for name in names
        for r in runs
        if name not in r.sets
    ]
    if not names:
        known = "; ".join(f"{r.label}: {', '.join(r.sets) or 'none'}" for r in runs)
        problems.append(f"compare: there is no set that every run has scored ({known}); score one with recambio eval")
    if problems:
        raise InputError(problems)
    systems = grouped(runs)
    tables: dict[str, Any] = {}
    for name in names:
        try:
            tables[name] = _compare_set(name, runs, systems, metrics)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return {
        "baseline": runs[0].label,
        "runs": [r.label for r in runs],
        "systems": [[r.label for r in members] for members in systems],
        "differences": {
            "config": differences([r.config for r in runs]),
            "run": differences([r.facts for r in runs]),
        },
        "sets": tables,
    }


def grouped(runs: Sequence[ScoredRun]) -> list[list[ScoredRun]]:
    """The runs of each system: those whose configs differ in name and seed alone.

    Runs of the same seed say nothing about seeds (they ask what else has changed, as the version), so such a group is taken apart.
    """
    found: dict[str, list[ScoredRun]] = {}
    for run in runs:
        found.setdefault(run.system, []).append(run)
    systems: list[list[ScoredRun]] = []
    for members in found.values():
        seeds = {str(r.config.get("seed")) for r in members}
        systems += [members] if len(seeds) == len(members) else [[r] for r in members]
    return sorted(systems, key=lambda members: min(runs.index(r) for r in members))


def differences(values: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The keys whose values aren't the same in every run, with the value in each; None where it has no such key."""
    keys = list(dict.fromkeys(key for of_run in values for key in of_run))
    rows = {key: [of_run.get(key) for of_run in values] for key in keys if key != "name"}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def _compare_set(
    name: str, runs: Sequence[ScoredRun], systems: Sequence[Sequence[ScoredRun]], metrics: Sequence[str]
) -> dict[str, Any]:
    entries = [r.sets[name] for r in runs]
    for r, entry in zip(runs, entries, strict=True):
        if "source" not in entry or "references" not in entry:
            raise InputError(
                f"{name}: {r.label} was scored by a version that kept no references; recambio eval {r.label} --set {name}"
            )
    for side, what in (("source", "sources"), ("references", "references")):
        for r, entry in zip(runs, entries, strict=True):
            if (other := _hashes(entry[side])) != (first := _hashes(entries[0][side])):
                raise InputError(
                    f"{name}: {runs[0].label} and {r.label} were scored on different {what} (sha256 {first} and {other}); "
                    "score them again on the same files"
                )
    chosen = _metrics(name, runs, entries, metrics)
    references = [read_text_file(runs[0].folder, f["file"], f["sha256"]) for f in entries[0]["references"]]
    hypotheses = [read_text_file(r.folder, e["hypotheses"], e["sha256"]) for r, e in zip(runs, entries, strict=True)]
    tables = {}
    for key, metric in chosen.items():
        rows = [metric.statistics(lines, references) for lines in hypotheses]
        tables[key] = _compare_metric(metric, rows, len(references), runs, systems)
    return {"n": len(hypotheses[0]), "metrics": tables}


def _compare_metric(
    metric: Metric,
    rows: Sequence[NDArray[np.float64]],
    n_references: int,
    runs: Sequence[ScoredRun],
    systems: Sequence[Sequence[ScoredRun]],
) -> dict[str, Any]:
    scores = [metric.score_rows(r, n_references) for r in rows]
    lines: list[dict[str, Any]] = [
        {"run": r.label, "score": s.score, "low": s.low, "high": s.high} for r, s in zip(runs, scores, strict=True)
    ]
    tests = [paired_test(metric, rows[0], other) for other in rows[1:]]
    for key in ("p_randomisation", "p_bootstrap"):
        for line, p in zip(lines[1:], holm([getattr(t, key) for t in tests]), strict=True):
            line[key] = p
    for line, test in zip(lines[1:], tests, strict=True):
        line |= {"difference": test.difference, "difference_low": test.low, "difference_high": test.high}
    by_label = {r.label: s.score for r, s in zip(runs, scores, strict=True)}
    of_system = [[by_label[r.label] for r in members] for members in systems]
    groups: list[dict[str, Any]] = []
    for members, values in zip(systems, of_system, strict=True):
        found = spread(values)
        group = {"runs": [r.label for r in members], "n": found.n, "mean": found.mean, "deviation": found.deviation}
        groups.append(group | ({"difference": found.mean - groups[0]["mean"]} if groups else {}))
    over_seeds = [welch(of_system[0], values) for values in of_system[1:]]
    adjusted = iter(holm([p for p in over_seeds if p is not None]))
    for group, p_seeds in zip(groups[1:], over_seeds, strict=True):
        group["p_seeds"] = None if p_seeds is None else next(adjusted)
    return {
        "name": metric.label,
        "is_higher_better": metric.is_higher_better,
        "signature": scores[0].signature,
        "runs": lines,
        "systems": groups,
    }


def _metrics(
    name: str, runs: Sequence[ScoredRun], entries: Sequence[Mapping[str, Any]], wanted: Sequence[str]
) -> dict[str, Metric]:
    """The metrics of a set by key, each the one that gave the stored scores.

    Raises:
        InputError: Unknown, scored under different signatures, or not to be had as it was.
    """
    stored = [k for k, v in entries[0].items() if _is_score(v) and all(_is_score(e.get(k)) for e in entries)]
    if not wanted and not stored:
        raise InputError(f"{name}: there is no metric that every run was scored by; name one with --metric")
    chosen: dict[str, Metric] = {}
    problems = []
    for key in dict.fromkeys(wanted or stored):
        if key not in stored:
            chosen |= build_metrics([key])
            continue
        signatures = [str(e[key]["signature"]) for e in entries]
        other = next((i for i, s in enumerate(signatures) if _settings(s) != _settings(signatures[0])), None)
        if other is not None:
            problems.append(
                f"{name}: {key} has different signatures, so the scores can't be compared: {signatures[0]} ({runs[0].label}) "
                f"and {signatures[other]} ({runs[other].label}); score them again alike"
            )
            continue
        n_references = len(entries[0]["references"])
        metric = next(
            (m for m in _candidates(key, runs) if _settings(m.signature(n_references, 0)) == _settings(signatures[0])),
            None,
        )
        if metric is not None:
            chosen[key] = metric
        else:
            problems.append(
                f"{name}: no {key} of this version has the signature {signatures[0]}; score the runs again, "
                "or name the plugin that it comes from with --plugin"
            )
    if problems:
        raise InputError(problems)
    return chosen


def _candidates(key: str, runs: Sequence[ScoredRun]) -> Iterator[Metric]:
    """What may have given the scores of this key: a metric of a run's config, or the plain one of this name."""
    for r in runs:
        yield from build_metrics(n for n in r.metrics if not METRIC.problems(n)).values()
    if not METRIC.problems(key):
        yield METRIC.create(key)


def _is_score(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("score"), int | float) and "signature" in value


def _settings(signature: str) -> list[str]:
    """A signature without the size and seed of the interval, which change no score."""
    return [part for part in signature.split("|") if not part.startswith(("bs:", "seed:"))]


def _hashes(files: Any) -> str:
    return ", ".join(str(f["sha256"])[:12] for f in (files if isinstance(files, list) else [files]))


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of everything below; lists stay whole."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{at}.{key}" if at else str(key))
    else:
        yield at, value
