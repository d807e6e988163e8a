"""``recambio eval``: translate test sets with a run and score them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recambio.config import data_root
from recambio.data.corpora.base import Corpus
from recambio.data.pairs import read_lines
from recambio.errors import InputError
from recambio.evaluation.result import SetResult, build_metrics, evaluate_set, write_results
from recambio.experiment.build import build_corpus, relative
from recambio.experiment.report import write_report
from recambio.experiment.side_by_side import write_page
from recambio.experiment.summary import print_scores
from recambio.experiment.translator import Translator, load


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
    found = [named_set(translator, name) for name in sets]
    if source is not None:
        found.append(file_set(source.stem, source, reference))
    found = found or default_sets(translator)
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


def default_sets(translator: Translator) -> list[TestSet]:
    """The test sets of the corpus, then those of the config; there may be none."""
    corpus = build_corpus(translator.config)
    names = [s for s in corpus.splits() if s not in ("train", "dev")]
    found = [corpus_set(corpus, name) for name in names]
    return found + [named_set(translator, s) for s in translator.config.values.evaluation.sets if s not in names]


def named_set(translator: Translator, name: str) -> TestSet:
    """A set by name: of the config, of the corpus, of ``data.root``, then one of sacreBLEU's own.

    Raises:
        InputError: No such set.
    """
    config, root = translator.config, data_root(translator.config)
    if name in config.values.evaluation.sets:
        entry = config.values.evaluation.sets[name]
        references = [entry.reference] if isinstance(entry.reference, str) else entry.reference
        base = root or Path()
        return file_set(name, base / entry.source, [base / r for r in references])
    corpus = build_corpus(config)
    if name in corpus.splits():
        return corpus_set(corpus, name)
    if root is not None and (root / f"{name}.en").is_file():
        return file_set(name, root / f"{name}.en", [root / f"{name}.es"])
    return sacrebleu_set(name, root)


def corpus_set(corpus: Corpus, split: str) -> TestSet:
    """A split of the run's corpus, with its tags if it has any."""
    pairs = list(corpus.read(split))
    tags = [p.tags for p in pairs]
    return TestSet(split, [p.source for p in pairs], [[p.target for p in pairs]], tags if any(tags) else None)


def file_set(name: str, source: Path, references: Sequence[Path]) -> TestSet:
    """A set in files of one sentence a line.

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


def sacrebleu_set(name: str, root: Path | None) -> TestSet:
    """One of sacreBLEU's own test sets, such as ``wmt13``, downloaded by it at first use.

    Raises:
        InputError: It has no such set, or can't be reached.
    """
    from sacrebleu.dataset import DATASETS
    from sacrebleu.utils import get_reference_files, get_source_file

    short = name.removesuffix("/en-es")
    if short not in DATASETS or "en-es" not in DATASETS[short].langpairs:
        where = f"{root}/{name}.en" if root else "data.root (unset)"
        known = sorted(n for n, d in DATASETS.items() if "en-es" in d.langpairs)
        raise InputError(
            f"--set {name}: no such test set in evaluation.sets, the corpus, or {where}; sacreBLEU has {', '.join(known)} for en-es"
        )
    try:
        source, references = get_source_file(short, "en-es"), get_reference_files(short, "en-es")
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--set {name}: sacreBLEU couldn't fetch it ({reason}); give its files with --source and --reference"
        ) from error
    return file_set(name, Path(source), [Path(r) for r in references])
