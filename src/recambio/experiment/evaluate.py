"""``recambio eval``: translate test sets with a run and score them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from recambio.config import Config
from recambio.errors import InputError
from recambio.evaluation.base import Metric
from recambio.evaluation.result import SetResult, build_metrics, evaluate_set, file_stem, write_results
from recambio.experiment import run_folder
from recambio.experiment.build import relative
from recambio.experiment.devices import chosen
from recambio.experiment.job import Job, Lines
from recambio.experiment.report import write_report
from recambio.experiment.sets import TestSet, default_sets, file_name, file_set, named_set
from recambio.experiment.side_by_side import write_page
from recambio.experiment.stream import by_length
from recambio.experiment.summary import print_scores


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
    devices: str | None = None,
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
        devices: Which share the sentences, as :func:`recambio.experiment.devices.chosen` reads it; by default one.

    Returns:
        The evaluation as plain data.
    """
    if (source is None) != (not reference):
        raise InputError("--source and --reference: give both or neither")
    folder = run_folder.existing(run)
    places = chosen(devices) if devices is not None else []
    job = Job(folder, checkpoint, overrides, plugins)
    opened = job.without_model()
    config = opened[0]
    found = _sets(config, sets, source, reference)
    metrics = build_metrics(config.values.evaluation.metrics)
    with job.ready(places, opened) as translated:
        results = evaluate(found, metrics, translated)
    data = write_results(folder, results)
    write_report(folder)
    if as_html:
        for result in results:
            page = write_page(folder, result)
            print(f"sentences side by side: {relative(page)}", file=sys.stderr)
    if as_json:
        print(json.dumps({"sets": {r.name: r.as_dict() for r in results}}, ensure_ascii=False, indent=2))
    else:
        print_scores(results, relative(folder))
    return data


def evaluate(sets: Sequence[TestSet], metrics: Mapping[str, Metric], translated: Lines) -> list[SetResult]:
    """Translate and score sets.

    Args:
        sets: One after the other, without a pause between them.
        metrics: By the key that results use.
        translated: Translates. In which chunks depends on the sets alone, so that one device and several have the same batches.
    """
    chunks = [by_length(one.sources, one.name) for one in sets]
    lines = translated(chain.from_iterable(chunks))
    results = []
    for one, own in zip(sets, chunks, strict=True):
        numbers = chain.from_iterable(chunk.numbers for chunk in own)
        found = dict(zip(numbers, lines, strict=False))  # the lines of further sets follow
        hypotheses = [found[number] for number in range(1, len(one.sources) + 1)]
        results.append(evaluate_set(one.name, one.sources, hypotheses, one.references, one.tags, metrics))
    return results


def _sets(config: Config, names: Sequence[str], source: Path | None, reference: Sequence[Path]) -> list[TestSet]:
    """Those that were named, else the run's.

    Raises:
        InputError: One can't be found, two would have the same files, or there is none.
    """
    found = [named_set(config, name) for name in dict.fromkeys(names)]
    if source is not None:
        found.append(file_set(file_name(source), source, reference))
    found = found or default_sets(config)
    taken = [file_stem(one.name) for one in found]
    if twice := next((one.name for one in found if taken.count(file_stem(one.name)) > 1), None):
        raise InputError(
            f"--set {twice}: two sets would be written to eval/{file_stem(twice)}.*; score them one after the other"
        )
    if not found:
        raise InputError(
            "evaluation.sets: the corpus has no test set; name one with --set, or --source and --reference"
        )
    return found
