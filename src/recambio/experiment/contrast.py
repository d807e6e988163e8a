"""``recambio contrast``: does a run prefer right translations to minimally wrong ones?"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recambio.data.cleaning.base import Cleaner
from recambio.decoding.rescore import score_all
from recambio.errors import InputError
from recambio.evaluation.contrastive import Item, Scored, Tally, hand_items, read_items, tally
from recambio.evaluation.contrastive.items import ItemFile
from recambio.experiment.build import relative
from recambio.experiment.report import write_report
from recambio.experiment.translator import Translator, load
from recambio.files import write_json

FILE = "eval/contrastive.json"
HAND, GRAMMAR, OWN = "hand", "grammar", "items"
GRAMMAR_ITEMS = 100
"""Items of each phenomenon of the grammar."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemSet:
    """Items of one origin.

    Attributes:
        name: ``hand``, ``grammar``, or ``items`` for a user's own.
        items: All of them.
        descriptions: What each phenomenon is.
    """

    name: str
    items: list[Item]
    descriptions: dict[str, str]

    @property
    def sha256(self) -> str:
        """Of the items: two runs' tables with one hash are of the same items."""
        lines = ["\t".join((i.phenomenon, i.source, i.right, *i.wrong)) for i in self.items]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class SetScores:
    """How a run did on a set of items.

    Attributes:
        item_set: What was scored.
        scored: Its items with their numbers, but those that the model can't take.
        n_left_out: How many it can't take.
    """

    item_set: ItemSet
    scored: list[Scored] = field(repr=False)
    n_left_out: int = 0

    @property
    def by_phenomenon(self) -> dict[str, Tally]:
        """In the order of the items."""
        return tally(self.scored)

    @property
    def total(self) -> Tally:
        """Of all items."""
        return Tally.of(self.scored)

    def as_dict(self) -> dict[str, Any]:
        """The set's entry in the JSON."""
        return {
            "sha256": self.item_set.sha256,
            "left_out": self.n_left_out,
            "all": self.total.as_dict(),
            "phenomena": {
                name: {"description": self.item_set.descriptions.get(name, ""), **one.as_dict()}
                for name, one in self.by_phenomenon.items()
            },
            "items": [s.as_dict() for s in self.scored],
        }


def run(
    run: Path,
    *,
    sources: Sequence[str] = (),
    files: Sequence[Path] = (),
    checkpoint: str | None = None,
    as_json: bool = False,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> dict[str, Any]:
    """Score contrastive items; the result goes to ``eval/contrastive.json`` of the run folder and to standard output.

    Args:
        run: The run folder.
        sources: ``hand``, ``grammar``, or both.
        files: A user's own items.
        checkpoint: ``best``, ``last``, ``average`` or a file.
        as_json: Print JSON instead of a table.
        overrides: Changes of ``decoding``.
        plugins: What the run needs from outside the project.

    Returns:
        The result as plain data.

    Raises:
        InputError: A file of items is wrong, or the run can't take any of the items.
    """
    item_sets = [PACKAGED[name]() for name in sources]
    if files:
        item_sets.append(own_items(files))
    translator = load(run, checkpoint=checkpoint, overrides=overrides, plugins=plugins)
    path = translator.run_dir / FILE
    _check_free(path)
    results = [score_items(translator, item_set) for item_set in item_sets]
    data = {"contrastive": {"checkpoint": checkpoint, "sources": {r.item_set.name: r.as_dict() for r in results}}}
    path.parent.mkdir(exist_ok=True)
    write_json(path, data)
    write_report(translator.run_dir)
    if as_json:
        print(json.dumps(data, ensure_ascii=False, indent=2))
    else:
        print_tables(results, relative(translator.run_dir))
    return data


def score_items(translator: Translator, item_set: ItemSet) -> SetScores:
    """The log-probability of each translation of each item, teacher-forced.

    Sentences pass through the run's cleaning and tokenizer, as those to be translated do. Items that are longer than the model's
    positions reach are left out, with a warning.

    Raises:
        InputError: None is left.
    """
    cleaner, tokenizer = Cleaner(translator.config.values.data.cleaning), translator.tokenizer
    limit = translator.target_limit

    def encode(lines: Sequence[str], side: Any) -> list[list[int]]:
        rows = tokenizer.encode([cleaner.normalize_line(line) for line in lines], side)
        return [[*row, tokenizer.eos_id] for row in rows]

    sources = encode([item.source for item in item_set.items], "source")
    targets = encode([text for item in item_set.items for text in (item.right, *item.wrong)], "target")
    kept: list[Item] = []
    pairs: list[tuple[list[int], list[int]]] = []
    rest = iter(targets)
    for item, source in zip(item_set.items, sources, strict=True):
        own = [next(rest) for _ in range(1 + len(item.wrong))]
        if limit is None or max(map(len, [source, *own])) <= limit:
            kept.append(item)
            pairs += [(source, target) for target in own]
    n_left_out = len(item_set.items) - len(kept)
    if not kept:
        raise InputError(
            f"{item_set.name}: every item has more than the {limit} tokens that this run's positions reach; shorten them"
        )
    if n_left_out:
        _log.warning(f"{item_set.name}: {n_left_out} items left out; this run's positions end at {limit} tokens")
    rows = score_all(
        translator.scorer, [s for s, _ in pairs], [t for _, t in pairs], translator.config.values.decoding.batch_tokens
    )
    numbers = iter(rows)
    scored = []
    for item in kept:
        of_it = [next(numbers) for _ in range(1 + len(item.wrong))]
        scored.append(Scored(item, [sum(row) for row in of_it], [len(row) for row in of_it]))
    return SetScores(item_set, scored, n_left_out)


def written_by_hand() -> ItemSet:
    """The package's hand-written items."""
    return _joined(HAND, hand_items())


def of_the_grammar(n: int = GRAMMAR_ITEMS) -> ItemSet:
    """Items made from derivations of the embedded grammar's test set, ``n`` of each phenomenon."""
    from recambio.data.grammar.contrasts import CONTRASTS, contrasts

    items = [Item(c.phenomenon, c.source, c.right, (c.wrong,)) for c in contrasts(n)]
    return ItemSet(GRAMMAR, items, dict(CONTRASTS))


def own_items(files: Sequence[Path]) -> ItemSet:
    """A user's own items, a file for each phenomenon.

    Raises:
        InputError: A file is wrong, or two are called alike; all problems at once.
    """
    found, problems = [], []
    for file in files:
        try:
            found.append(read_items(file))
        except InputError as error:
            problems += error.problems
    names = [f.phenomenon for f in found]
    for name in dict.fromkeys(n for n in names if names.count(n) > 1):
        problems.append(
            f"--items: {names.count(name)} files are called {name!r}; the name is the phenomenon's, so give each its own"
        )
    if problems:
        raise InputError(problems)
    return _joined(OWN, found)


PACKAGED = {HAND: written_by_hand, GRAMMAR: of_the_grammar}
"""The items that come with the package."""


def _joined(name: str, files: Sequence[ItemFile]) -> ItemSet:
    return ItemSet(name, [item for f in files for item in f.items], {f.phenomenon: f.description for f in files})


def _check_free(path: Path) -> None:
    """Refuse to write over the evaluation of a set that happens to be called so."""
    try:
        taken = "sets" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if taken:
        raise InputError(
            f"{path}: holds the scores of a test set called 'contrastive'; rename that set and remove the file"
        )


def print_tables(results: Sequence[SetScores], where: str) -> None:
    """A table for each set of items, to standard output."""
    for result in results:
        total = result.total
        print(f"{where} on {result.item_set.name} ({total.accuracy.n:,} items)")
        head = ["phenomenon", "items", "right", "95 %", "chance", "margin", "right by token", "margin by token"]
        rows = [head, *(_cells(name, one) for name, one in result.by_phenomenon.items()), _cells("all", total)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        for row in rows:
            rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            print(f"  {'  '.join([row[0].ljust(widths[0]), *rest])}")
    print("  right: above every wrong translation, by summed log-probability; margin: to the best wrong one, in nats")


def _cells(name: str, one: Tally) -> list[str]:
    low, high = one.accuracy.interval
    return [
        name,
        f"{one.accuracy.n:,}",
        f"{one.accuracy.exact:.1f} %",
        f"{low:.1f} to {high:.1f}",
        f"{one.chance:.1f} %",
        f"{one.margin:+.2f}",
        f"{one.token_accuracy.exact:.1f} %",
        f"{one.token_margin:+.3f}",
    ]
