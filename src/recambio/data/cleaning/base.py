"""The contract of a cleaning step, and the pipeline that counts what each step drops."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recambio.data.cache import code_hash
from recambio.data.cleaning.samples import sample
from recambio.data.pairs import BadLine, Pair
from recambio.errors import InputError
from recambio.registry import CLEANING, Node

DEFAULT_CLEANING: tuple[Node, ...] = (
    "normalize",
    "markup",
    "length",
    "ratio",
    "language",
    "copies",
    "duplicates",
)
"""The pipeline of a config that names none."""

EMPTY = "empty"
NEWLINE = "newline"


@CLEANING.define
class CleaningStep(ABC):
    """One step of the pipeline that training pairs pass through."""

    def __init__(self) -> None:  # noqa: B027 - a signature without options for steps that have none
        pass

    @abstractmethod
    def __call__(self, pair: Pair) -> Pair | str:
        """Clean one pair.

        Returns:
            The pair, changed or as it came, or in one or two words the reason why it is dropped.
        """

    def begin(self) -> None:  # noqa: B027 - most steps keep nothing
        """Forget what earlier pairs left behind; called before the first pair of a corpus."""

    def normalize_line(self, line: str) -> str:
        """What this step does to a line on its own.

        Text to be translated or scored passes through this only: none of it may be dropped, and the model must meet it
        in the form that it was trained on.
        """
        return line


@dataclass
class CleaningReport:
    """What became of the pairs of a split; ``read == kept + sum(dropped.values())``.

    Attributes:
        split: The split's name.
        read: Pairs and bad lines read.
        kept: Pairs that went into the token store.
        dropped: How many were left out, by reason.
        samples: A few of each reason, drawn at random from all of them, the same each time: ``reason``, ``file``, ``line``, ``source``,
            ``target``. Without a file, the line is counted over the whole split.
        overlap: What was found of the evaluation sets, as :class:`recambio.data.overlap.Finder` says it; None if nothing was
            looked for.
        parts: The same numbers for each part of a corpus that has parts: ``name``, ``read``, ``kept``, ``dropped``.
    """

    split: str
    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)
    overlap: dict[str, Any] | None = None
    parts: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, reason: str, file: str, line: int, source: str = "", target: str = "") -> None:
        """Count one that is left out; its reason's samples may change by it."""
        count = self.dropped.get(reason, 0) + 1
        self.dropped[reason] = count
        sample(self.samples, self.split, count, reason, file, line, source, target)

    def end_part(self, name: str) -> None:
        """Count what came since the last part ended as the part ``name``."""
        earlier = self.parts
        dropped = {r: n - sum(p["dropped"].get(r, 0) for p in earlier) for r, n in self.dropped.items()}
        part = {
            "name": name,
            "read": self.read - sum(p["read"] for p in earlier),
            "kept": self.kept - sum(p["kept"] for p in earlier),
            "dropped": {reason: count for reason, count in dropped.items() if count},
        }
        self.parts.append(part)

    def check_parts(self, key: str) -> None:
        """Refuse a part of which nothing is left: its weight would mean nothing.

        Args:
            key: What of the config left it empty.

        Raises:
            InputError: One line for each such part.
        """
        problems = []
        for index, part in enumerate(self.parts):
            if not part["kept"]:
                reasons = ", ".join(f"{count} {reason}" for reason, count in part["dropped"].items())
                problems.append(
                    f"{key}: leaves none of the {part['read']} training pairs of data.corpus.parts[{index}] "
                    f"({part['name']}: {reasons}); leave the part out, or check it"
                )
        if problems:
            raise InputError(problems)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; ``parts`` and ``overlap`` only where there are some."""
        optional = {"parts": self.parts, "overlap": self.overlap}
        return {key: value for key, value in asdict(self).items() if optional.get(key, True)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CleaningReport:
        """The report that :meth:`to_dict` wrote."""
        return cls(**data)

    def __str__(self) -> str:
        return "\n  ".join([_line(self.split, vars(self)), *(_line(part["name"], part) for part in self.parts)])


def _line(name: str, counts: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts["dropped"].items()))
    kept = f"{name}: {counts['kept']:,} of {counts['read']:,} pairs kept"
    return f"{kept} ({reasons})" if reasons else kept


class Cleaner:
    """A pipeline of steps that accounts for every pair.

    Args:
        nodes: Names of registered steps, or ``{name: ..., option: ...}``, in order.

    Raises:
        InputError: A step is unknown or its options are wrong; all problems at once.
    """

    def __init__(self, nodes: Sequence[Node] = DEFAULT_CLEANING) -> None:
        problems = [p for i, node in enumerate(nodes) for p in CLEANING.problems(node, f"data.cleaning[{i}]")]
        if problems:
            raise InputError(problems)
        self.steps: list[CleaningStep] = [CLEANING.create(node) for node in nodes]
        self.nodes = [CLEANING.resolve(node) for node in nodes]

    @property
    def key(self) -> list[Any]:
        """Everything that determines what the pipeline does, code included, as plain data."""
        code = code_hash(type(self), *map(type, self.steps))
        # Composition and character classes are those of Python's Unicode tables.
        return [[[name, options] for name, options in self.nodes], code, unicodedata.unidata_version]

    def clean(self, pairs: Iterable[Pair], report: CleaningReport) -> Iterator[Pair]:
        """The pairs that pass, with everything counted in ``report``.

        Lines that a reader leaves out come into the count through :meth:`bad_line`.
        """
        for step in self.steps:
            step.begin()
        for pair in pairs:
            report.read += 1
            cleaned = self._through_steps(pair)
            if isinstance(cleaned, str):
                report.drop(cleaned, pair.file, pair.line, pair.source, pair.target)
            else:
                report.kept += 1
                yield cleaned

    def _through_steps(self, pair: Pair) -> Pair | str:
        for step in self.steps:
            cleaned = step(pair)
            if isinstance(cleaned, str):
                return cleaned
            pair = cleaned
        if not (pair.source and pair.target):
            return EMPTY
        # A sentence is a line of a file from here on.
        return NEWLINE if "\n" in pair.source or "\n" in pair.target else pair

    @staticmethod
    def bad_line(report: CleaningReport, bad: BadLine) -> None:
        """Count a line that holds no pair."""
        report.read += 1
        report.drop(bad.reason, bad.file, bad.line)

    def normalize_line(self, line: str) -> str:
        """A line in the form that training text has; see :meth:`CleaningStep.normalize_line`."""
        for step in self.steps:
            line = step.normalize_line(line)
        return line
