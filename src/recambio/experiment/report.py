"""``report.html`` of a run: one page that holds everything it shows, for a browser without a network."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from recambio.evaluation.result import read_results
from recambio.experiment import report_sections as sections
from recambio.experiment.curves import read_metrics
from recambio.experiment.markup import join, tag
from recambio.experiment.report_contrasts import contrasts, read_contrasts
from recambio.experiment.report_errors import errors
from recambio.files import write_text


@dataclass
class Run:
    """What a run folder holds, as far as it can be read.

    Attributes:
        folder: The run folder.
        manifest, config: As they were written; empty where they are missing.
        sets: The evaluation of each set by name.
        contrasts: What `recambio contrast` found, by the items' origin; empty if it hasn't run.
        metrics: Rows of the learning curves.
        missing: What isn't there, in words.
    """

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, Any] = field(default_factory=dict)
    contrasts: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, float]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def write_report(run_dir: Path) -> Path:
    """Write ``report.html`` of a run folder, from whatever of it is there.

    Args:
        run_dir: The run folder.

    Returns:
        The page.
    """
    path = run_dir / "report.html"
    write_text(path, render(read_run(run_dir)))
    return path


def read_run(run_dir: Path) -> Run:
    """Read a run folder; what is missing or can't be read is noted, not raised."""
    run = Run(run_dir)
    for name, what in (("manifest.json", "the environment and data"), ("config.yaml", "the settings")):
        try:
            text = (run_dir / name).read_text(encoding="utf-8")
            value = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
        except FileNotFoundError:
            run.missing.append(f"{name}: there is none, so {what} can't be shown")
            continue
        except (OSError, ValueError, yaml.YAMLError) as error:
            run.missing.append(f"{name}: can't be read ({type(error).__name__}), so {what} can't be shown")
            continue
        if isinstance(value, dict):
            setattr(run, name.split(".")[0], value)
    run.sets = read_results(run_dir)
    run.contrasts = read_contrasts(run_dir)
    run.metrics = read_metrics(run_dir / "metrics.csv")
    if not run.metrics:
        run.missing.append("metrics.csv: no rows, so there are no learning curves")
    if not run.sets:
        run.missing.append("eval/: no test set has been scored yet (recambio eval)")
    if not (run_dir / "weights.safetensors").exists():
        run.missing.append("weights.safetensors: the training has not ended, or was stopped before its end")
    return run


def render(run: Run) -> str:
    """The page."""
    found = [
        ("scores", "Scores", sections.headline(run)),
        ("curves", "Learning curves", sections.curves(run)),
        ("sets", "Test sets in full", sections.sets(run)),
        ("phenomena", "Accuracy by phenomenon", sections.phenomena(run)),
        ("contrasts", "Right against minimally wrong", contrasts(run.contrasts)),
        ("errors", "Errors and slices", errors(run.sets)),
        ("samples", "Sample translations", sections.samples(run)),
        ("config", "Settings", sections.config(run)),
        ("data", "Data", sections.data(run)),
        ("environment", "Environment", sections.environment(run)),
    ]
    present = [(key, title, content) for key, title, content in found if content]
    nav = tag("nav", [tag("a", title, href=f"#{key}") for key, title, _ in present], aria_label="sections")
    missing = run.missing and tag(
        "div", tag("p", "What is missing"), tag("ul", [tag("li", m) for m in run.missing]), class_="note"
    )
    body = join(
        [
            sections.header(run, nav),
            missing or None,
            [tag("section", tag("h2", title), content, id=key) for key, title, content in present],
            tag(
                "footer",
                "Written by recambio. Scores are computed by sacreBLEU; intervals are 95 % bootstrap intervals.",
            ),
        ]
    )
    css = resources.files("recambio.experiment").joinpath("report.css").read_text(encoding="utf-8")
    # The policy forbids scripts and any fetch, should a text ever get past the escaping.
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"{tag('title', f'{run.folder.resolve().name}: recambio report')}<style>{css}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body>\n</html>\n'
