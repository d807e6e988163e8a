"""Reading: YAML files with the line of every key, ``extends:`` chains, and ``key=value`` overrides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from recambio.errors import InputError

COMMAND_LINE = "command line"
EXPERIMENTS = Path("experiments")

_INTERPOLATION = re.compile(r"(?<!\\)(?:\\\\)*(\$\{([^{}]*)\}?)")  # an odd number of backslashes escapes it
_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+|\[\d+\])*")


@dataclass
class Layer:
    """What one file, or the command line, says.

    Attributes:
        values: Plain containers; interpolations are still text.
        origin: The file as a user would write it, or ``command line``.
        base: Folder that relative plugin paths are looked up in.
        lines: Line of each dotted key; empty for the command line.
    """

    values: dict[str, Any]
    origin: str
    base: Path
    lines: dict[str, int] = field(default_factory=dict)

    def origin_of(self, key: str) -> str:
        """Where a dotted key is set: ``file:line``, or ``command line``."""
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return f"{self.origin}:{self.lines[key]}" if key else self.origin


def find(path_or_name: str | Path) -> Path:
    """The file that a path or a bare name (``tiny`` for ``experiments/tiny.yaml``) means.

    Raises:
        InputError: There is none; names what is close and what there is.
    """
    text = str(path_or_name)
    for candidate in _candidates(text, [Path(), EXPERIMENTS]):
        if candidate.is_file():
            return candidate
    known = sorted(p.stem for p in EXPERIMENTS.glob("*.yaml"))
    close = difflib.get_close_matches(Path(text).stem, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(f"{text}: no such config.{hint} In {EXPERIMENTS}/: {', '.join(known) or 'none'}")


def chain(path: Path, _seen: tuple[Path, ...] = ()) -> list[Layer]:
    """A file's layers, what it extends first.

    Raises:
        InputError: A file is missing, can't be parsed or extends itself.
    """
    resolved = path.resolve()
    if resolved in _seen:
        ring = " -> ".join(shown(p) for p in [*_seen[_seen.index(resolved) :], resolved])
        raise InputError(f"{shown(path)}: extends: goes round in a circle: {ring}")
    layer = read(path)
    extends = layer.values.pop("extends", [])
    names = [extends] if isinstance(extends, str) else extends
    at = layer.origin_of("extends")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError(f"{at}: extends: must be a file or a list of files, but is {extends!r}")
    layers: list[Layer] = []
    for name in names:
        found = next((c for c in _candidates(name, [path.parent, EXPERIMENTS]) if c.is_file()), None)
        if found is None:
            known = sorted(p.name for p in path.parent.glob("*.yaml") if p.resolve() != resolved)
            close = difflib.get_close_matches(f"{name.removesuffix('.yaml')}.yaml", known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{at}: extends: no such file {name!r} in {shown(path.parent)}.{hint}")
        layers += chain(found, (*_seen, resolved))
    return [*layers, layer]


def read(path: Path) -> Layer:
    """One YAML file.

    Raises:
        InputError: It can't be read or parsed, holds tags or resolvers, or is no mapping; one line a problem.
    """
    name = shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: can't be read: {_reason(error)}") from error
    root = _compose(text, name)
    lines: dict[str, int] = {}
    if root is None:
        return Layer({}, name, path.parent)
    if not isinstance(root, yaml.MappingNode):
        what = "list" if isinstance(root, yaml.SequenceNode) else "single value"
        raise InputError(f"{name}:1: a config is a mapping of keys (`model:`, `training:`...), not a {what}")
    if problems := [f"{name}:{line}: {problem}" for line, problem in _walk(root, "", lines)]:
        raise InputError(problems)
    return Layer(_construct(text, name), name, path.parent, lines)


def overrides(items: Sequence[str]) -> Layer:
    """The layer of ``key=value`` arguments; values are YAML. Their order doesn't matter, save that the last of a key wins.

    Raises:
        InputError: One line for each that is no ``key=value``, or whose value is no YAML.
    """
    given: list[tuple[list[str], Any]] = []
    problems: list[str] = []
    for item in items:
        key, equals, text = item.partition("=")
        key = re.sub(r"\[(\d+)\]", r".\1", key)
        if not equals or not _KEY.fullmatch(key):
            problems.append(f"{item}: an override is key=value, as in training.max_steps=100")
        elif key.split(".")[0] == "extends":
            problems.append("extends: only a file can extend others; name the file instead")
        else:
            try:
                given.append((key.split("."), _value(text, key)))
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(problems)
    values: dict[str, Any] = {}
    for path, value in sorted(given, key=lambda pair: len(pair[0])):  # a part's name before its options
        _set(values, path, value)
    return Layer(values, COMMAND_LINE, Path())


def interpolate(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values with what each ``${key}`` refers to in its place, and the problems met."""
    tree = OmegaConf.create(values)
    try:
        return OmegaConf.to_container(tree, resolve=True), []  # type: ignore[return-value]
    except Exception:  # OmegaConf raises errors of several families, a bare RecursionError among them
        problems: list[str] = []

    def visit(value: Any, at: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(inner, f"{at}.{key}" if at else str(key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                visit(inner, f"{at}.{index}")
        elif isinstance(value, str) and "${" in value:
            try:
                found = OmegaConf.select(tree, at)
                if OmegaConf.is_config(found):
                    OmegaConf.to_container(found, resolve=True)
            except Exception as error:
                problems.append(f"{at}: {value!r} {_interpolation_problem(error)}")

    visit(values, "")
    return values, problems or ["an interpolation can't be resolved"]


def dump(values: Mapping[str, Any]) -> str:
    """YAML that :func:`read` reads back to the same values."""

    def escape(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: escape(v) for k, v in value.items()}
        if isinstance(value, list):
            return [escape(v) for v in value]
        # OmegaConf reads \${ as text, and halves the backslashes before it.
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value

    return OmegaConf.to_yaml(OmegaConf.create(escape(values)))


def shown(path: Path) -> str:
    """A path as messages write it: relative to the working folder where it lies below it."""
    absolute, here = path.resolve(), Path.cwd().resolve()
    return absolute.relative_to(here).as_posix() if absolute.is_relative_to(here) else str(absolute)


def _candidates(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        path = folder / Path(name).expanduser()
        yield path
        if path.suffix not in (".yaml", ".yml"):
            yield path.with_name(f"{path.name}.yaml")


def _compose(text: str, where: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(error, where)) from error


def _construct(text: str, where: str) -> Any:
    """The values of a text that :func:`_walk` has found nothing wrong with."""
    try:
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except yaml.YAMLError as error:
        raise InputError(_yaml_problem(error, where)) from error


def _value(text: str, key: str) -> Any:
    """The value that an override's text means."""
    root = _compose(text, key)
    if root is not None and (problems := [problem for _, problem in _walk(root, key, {})]):
        raise InputError(problems)
    if isinstance(root, yaml.MappingNode | yaml.SequenceNode):
        return _construct(text, key)
    return _construct(f"value: {text}", key)["value"]


def _walk(node: yaml.Node, at: str, lines: dict[str, int]) -> Iterator[tuple[int, str]]:
    """Note the line of every key below a node; yields (line, problem) of what the text itself does wrong."""
    line = node.start_mark.line + 1
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        shown_tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        yield line, f"{f'{at}: ' if at else ''}YAML tags are refused ({shown_tag}); write the value itself"
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                yield from _walk(value, at, {})
                continue
            if key.tag != "tag:yaml.org,2002:str":
                kind = "boolean" if key.tag.endswith("bool") else key.tag.rpartition(":")[2]
                what = f"{key.value}: " if isinstance(key.value, str) else ""
                yield key.start_mark.line + 1, f"{what}YAML reads this key as a {kind}; a key is text, so quote it"
                continue
            below = f"{at}.{key.value}" if at else str(key.value)
            lines[below] = key.start_mark.line + 1
            yield from _walk(value, below, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[f"{at}.{index}"] = value.start_mark.line + 1
            yield from _walk(value, f"{at}.{index}", lines)
    elif "${" in node.value:
        for match in _INTERPOLATION.finditer(node.value):
            if not match[1].endswith("}") or not _KEY.fullmatch(match[2]):
                yield (
                    line,
                    f"{at}: {match[1]!r}: an interpolation names a key of this config, as ${{model.d_model}}; "
                    "resolvers (oc.env and others) are refused",
                )


def _set(values: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a dotted key in nested mappings and lists; a part given by its name opens up to take an option."""
    at: Any = values
    for step, after in pairwise(path):
        index: Any = int(step) if isinstance(at, list) and step.isdigit() and int(step) < len(at) else step
        inner = at.get(step) if isinstance(at, dict) else at[index] if isinstance(index, int) else None
        if isinstance(inner, str):
            inner = {"name": inner}
        if not (isinstance(inner, dict) or (isinstance(inner, list) and after.isdigit() and int(after) < len(inner))):
            inner = {}
        at[index] = inner
        at = inner
    at[int(path[-1]) if isinstance(at, list) else path[-1]] = value


def _yaml_problem(error: yaml.YAMLError, where: str) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark is not None and Path(where).suffix in (".yaml", ".yml") else ""
    text = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
    return f"{where}{line}: not valid YAML: {text}"


def _interpolation_problem(error: Exception) -> str:
    text = str(error).split("\n", 1)[0]
    if "ecursi" in text or isinstance(error, RecursionError):
        return "refers to itself"
    if "not found" in text:
        return "refers to a key that this config doesn't set"
    return f"can't be resolved: {text}"


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
