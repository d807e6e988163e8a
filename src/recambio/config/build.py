"""From merged values to a :class:`Config`: problems gathered, defaults of parts filled in, dataclasses built."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recambio import registry
from recambio.config import check, schema, source
from recambio.config.merge import Tree, items, located
from recambio.config.schema import Key, RunConfig
from recambio.config.source import Layer
from recambio.errors import InputError
from recambio.files import write_text
from recambio.plugins import LoadedPlugin, load_plugins

DATA_ROOT_VARIABLE = "RECAMBIO_DATA"


@dataclass(frozen=True)
class Config:
    """A config that has been checked.

    Attributes:
        values: Typed, every option of every part filled in.
        origins: Where each leaf was set, by dotted key: ``file:line``, ``command line`` or ``default``.
        plugins: What was loaded for it, in order; empty if the caller had loaded them.
    """

    values: RunConfig
    origins: dict[str, str]
    plugins: list[LoadedPlugin] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers with every default; a site that inherits is left out."""
        plain: dict[str, Any] = _plain(self.values)
        return plain

    def leaves(self) -> dict[str, Any]:
        """Dotted key -> value, for every leaf of :meth:`to_dict`."""
        return dict(items(self.to_dict(), ""))

    def save(self, path: str | Path) -> None:
        """Write YAML that loads back to the same values, in one step: a kill while a run is resumed must not cost it its config."""
        write_text(Path(path), source.dump(self.to_dict()))


def load(
    path_or_name: str | Path,
    overrides: Sequence[str] = (),
    *,
    plugins: Sequence[str] = (),
    plugins_are_loaded: bool = False,
    check_hardware: bool = True,
) -> Config:
    """Read, compose and check a config, before any data is touched.

    Args:
        path_or_name: A YAML file, or the name of one in ``experiments/``.
        overrides: ``key=value`` texts, applied last.
        plugins: Further plugins, after those that the files name.
        plugins_are_loaded: Whether the caller has loaded the plugins (a run's, once verified); none is imported here then.
        check_hardware: Whether the config must be able to train on this machine.

    Raises:
        InputError: Every problem found, one line each.
    """
    path = source.find(path_or_name)
    tree = Tree()
    # A run folder's config.yaml holds its name; any other file's stem is the default.
    tree.values["name"] = path.stem
    problems: list[str] = []
    for layer in source.chain(path):
        tree.add(layer)
    try:
        tree.add(source.overrides(overrides))
    except InputError as error:
        problems += error.problems
    return _finish(tree, problems, plugins, plugins_are_loaded, check_hardware)


def from_dict(
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    plugins_are_loaded: bool = False,
    check_hardware: bool = True,
) -> Config:
    """Like :func:`load`, from plain containers.

    Raises:
        InputError: Every problem found, one line each.
    """
    tree = Tree()
    tree.add(Layer(dict(values), "dict", Path()))
    problems: list[str] = []
    try:
        tree.add(source.overrides(overrides))
    except InputError as error:
        problems += error.problems
    return _finish(tree, problems, (), plugins_are_loaded, check_hardware)


def data_root(config: Config) -> Path | None:
    """The folder that ``data.root`` names, else the one that the environment variable RECAMBIO_DATA names, else None."""
    root = config.values.data.root or os.environ.get(DATA_ROOT_VARIABLE)
    return Path(root).expanduser() if root else None


def _finish(
    tree: Tree, problems: list[str], plugins: Sequence[str], plugins_are_loaded: bool, check_hardware: bool
) -> Config:
    problems = [*problems, *tree.problems]
    tree.inherit()
    values, unresolved = source.interpolate(tree.values)
    _normalise(values)
    found = [*unresolved, *check.schema_problems(values), *check.cross_problems(values)]

    registry.load_builtins()
    loaded: list[LoadedPlugin] = []
    specs: list[str] = []
    broken: list[str] = []
    named = [*tree.plugins, *((spec, Path(), source.COMMAND_LINE) for spec in plugins)]
    if plugins_are_loaded:
        specs = list(dict.fromkeys(spec for spec, _, _ in named))
    else:
        for spec, base, origin in dict.fromkeys(named):
            try:
                (plugin,) = load_plugins([spec], base)
            except InputError as error:
                broken += [f"{p} ({origin})" for p in error.problems]
            else:
                if plugin not in loaded:
                    loaded.append(plugin)
                    specs.append(plugin.spec)
                tree.origins["plugins"] = origin
    values["plugins"] = specs
    if not broken:  # else the parts that a plugin would have brought are unknown, and no news
        found += check.part_problems(values)
    if check_hardware:
        found += check.hardware_problems(values)

    problems += broken + [located(text, tree.origin_of(text.partition(": ")[0])) for text in found]
    if problems:
        raise InputError(dict.fromkeys(problems))
    config = Config(_build(RunConfig, values), {}, loaded)
    config.origins.update({leaf: tree.origin_of(leaf) for leaf in config.leaves()})
    return config


def _normalise(values: dict[str, Any]) -> None:
    """Spellings that mean the same: YAML reads precision 32 as a number, and ``${model.attention}`` stands for a part."""
    for section in (values["trainer"], values["decoding"]):
        if section["precision"] == 32 and not isinstance(section["precision"], bool):
            section["precision"] = "32"

    for path, key in schema.all_keys():
        if key.kind is None:
            continue
        *above, last = path.split(".")
        node: Any = values
        for step in above:
            node = node[step]
        if last in node:
            node[last] = _unfold(node[last])


def _unfold(node: Any) -> Any:
    if isinstance(node, list):
        return [_unfold(n) for n in node]
    if isinstance(node, dict) and isinstance(node.get("name"), dict):
        node = {**node["name"], **{k: v for k, v in node.items() if k != "name"}}
    return {k: _unfold(v) for k, v in node.items()} if isinstance(node, dict) else node


def _build(section: type, values: Mapping[str, Any]) -> Any:
    """The dataclass of a section from values without problems."""
    arguments = {}
    for name, key in schema.keys(section).items():
        if name in values:
            arguments[name] = _build_value(key, values[name])
    return section(**arguments)


def _build_value(key: Key, value: Any) -> Any:
    if key.kind is not None:
        return [_resolve(key.kind, v) for v in value] if isinstance(value, list) else _resolve(key.kind, value)
    if key.section is not None:
        return _build(key.section, value) if isinstance(value, Mapping) else value
    if key.entries is not None:
        return {name: _build(key.entries, entry) for name, entry in value.items()}
    is_float = key.annotation is float or float in typing.get_args(key.annotation)
    return float(value) if is_float and isinstance(value, int) else value


def _resolve(kind: str, node: Any) -> dict[str, Any]:
    """A part with every option, and the options of parts within it."""
    parts = registry.REGISTRIES[kind]
    name, options = parts.resolve(node)
    filled: dict[str, Any] = {"name": name}
    for option in parts.options(name).values():
        if option.name not in options:
            continue
        value, inner = options[option.name], registry.part_kind(option.annotation)
        if inner is None or value is None:
            filled[option.name] = _plain(value)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            filled[option.name] = [_resolve(inner, v) for v in value]
        else:
            filled[option.name] = _resolve(inner, value)
    return filled


def _plain(value: Any) -> Any:
    """Plain containers, as YAML and JSON know them; sites that inherit are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keys = schema.keys(type(value))
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {k: _plain(v) for k, v in fields.items() if not (v is None and keys[k].inherits)}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
