"""``recambio eval``: translate test sets with a run and score them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from recambio.errors import InputError
from recambio.evaluation.result import SetResult, build_metrics, evaluate_set, file_stem, write_results
from recambio.experiment.build import relative
from recambio.experiment.report import write_report
from recambio.experiment.sets import TestSet, default_sets, file_name, file_set, named_set
from recambio.experiment.side_by_side import write_page
from recambio.experiment.summary import print_scores
from recambio.experiment.translator import Translator, load


def run(
    run: Path,
    *,
    sets: Sequence[str] = (),
    source: Path | None = None,
    reference: Sequence[Path] = (),
    checkpoint: str | None = None,
    as_json: bool = False,
    as_html: bool = False,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> dict[str, object]:
    """Score a run; results go to ``eval/`` of its folder and to standard output.

    Args:
        run: The run folder.
        sets: Names of test sets; without any, those of the corpus and of the config.
        source: A source file, scored under its own name.
        reference: Its reference files.
        checkpoint: ``best``, ``last``, ``average`` or a file.
        as_json: Print JSON instead of a table.
        as_html: Write ``eval/<set>.html`` as well, the sentences side by side.
        overrides: Changes of ``decoding`` and ``evaluation``.
        plugins: What the run needs from outside the project.

    Returns:
        The evaluation as plain data.
    """
    translator = load(run, checkpoint=checkpoint, overrides=overrides, plugins=plugins)
    if (source is None) != (not reference):
        raise InputError("--source and --reference: give both or neither")
    found = [named_set(translator.config, name) for name in dict.fromkeys(sets)]
    if source is not None:
        found.append(file_set(file_name(source), source, reference))
    found = found or default_sets(translator.config)
    taken = [file_stem(one.name) for one in found]
    if twice := next((one.name for one in found if taken.count(file_stem(one.name)) > 1), None):
        raise InputError(
            f"--set {twice}: two sets would be written to eval/{file_stem(twice)}.*; score them one after the other"
        )
    if not found:
        raise InputError(
            "evaluation.sets: the corpus has no test set; name one with --set, or --source and --reference"
        )
    results = evaluate(translator, found)
    data = write_results(translator.run_dir, results)
    write_report(translator.run_dir)
    if as_html:
        for result in results:
            page = write_page(translator.run_dir, result)
            print(f"sentences side by side: {relative(page)}", file=sys.stderr)
    if as_json:
        print(json.dumps({"sets": {r.name: r.as_dict() for r in results}}, ensure_ascii=False, indent=2))
    else:
        print_scores(results, relative(translator.run_dir))
    return data


def evaluate(translator: Translator, sets: Sequence[TestSet]) -> list[SetResult]:
    """Translate and score sets."""
    metrics = build_metrics(translator.config.values.evaluation.metrics)
    return [
        evaluate_set(s.name, s.sources, translator.translate(s.sources), s.references, s.tags, metrics) for s in sets
    ]
