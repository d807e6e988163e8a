"""Merging layer by layer, so that a changed part takes its old options with it and every leaf knows where it was set."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recambio import registry
from recambio.config import schema
from recambio.config.schema import Key, RunConfig
from recambio.config.source import Layer

DEFAULT = "default"


class Tree:
    """A config in the making: plain containers, the origin of each leaf, and what was wrong so far.

    Attributes:
        values: Parts are mappings ``{name, options}``. A site's mapping without a name holds options for the part it inherits.
        origins: Where each leaf was set; what is not in here is a default.
        problems: One line each, with the file and line it comes from.
        plugins: Each plugin with the folder its path is relative to, and where it was named.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = schema.defaults(RunConfig)
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self.plugins: list[tuple[str, Path, str]] = []

    def add(self, layer: Layer) -> None:
        """Merge a layer over what is there."""
        values = dict(layer.values)
        named = values.pop("plugins", [])
        named = [named] if isinstance(named, str) else named
        if isinstance(named, list) and all(isinstance(n, str) for n in named):
            for index, name in enumerate(named):
                self.plugins.append((name, layer.base, layer.origin_of(f"plugins.{index}")))
        else:
            self.problem("plugins", f"must be a list of files or module names, but is {named!r}", layer)
        self._section(RunConfig, self.values, values, "", layer)

    def problem(self, key: str, text: str, layer: Layer) -> None:
        """Note what is wrong with a key of a layer."""
        self.problems.append(located(f"{key}: {text}", layer.origin_of(key)))

    def origin_of(self, key: str) -> str:
        """Where a leaf or a part was set: its own origin, else that of what encloses it, else ``default``."""
        for part in (f"{key}.name", f"{key}.0.name"):
            if part in self.origins:
                return self.origins[part]
        while key:
            if key in self.origins:
                return self.origins[key]
            key = key.rpartition(".")[0]
        return DEFAULT

    def inherit(self) -> None:
        """Complete the sites that only set options of the part they inherit."""
        for stack in ("encoder", "decoder"):
            values = self.values["model"][stack]
            for name, key in schema.keys(getattr(schema, stack.capitalize())).items():
                node = values.get(name)
                if key.inherits and isinstance(node, dict) and "name" not in node:
                    at, source = f"model.{stack}.{name}", f"model.{key.kind}"
                    values[name] = overlay(copy.deepcopy(self.values["model"][key.kind]), node)
                    for leaf in leaves(values[name], at):
                        self.origins.setdefault(leaf, self.origin_of(source + leaf.removeprefix(at)))

    def _section(self, section: type, into: dict[str, Any], given: Mapping[str, Any], at: str, layer: Layer) -> None:
        keys = schema.keys(section)
        # In the order of the schema: what a stack inherits is merged before the stack.
        for name, key in keys.items():
            if name in given:
                self._key(key, into, given[name], f"{at}{name}", layer)
        for name in given:
            if name not in keys:
                self.problem(f"{at}{name}", unknown_key(str(name), section, at), layer)

    def _key(self, key: Key, into: dict[str, Any], value: Any, at: str, layer: Layer) -> None:
        if key.kind is not None:
            self._part(key, into, value, at, layer)
        elif key.entries is not None:
            if not isinstance(value, Mapping):
                self._replace(into, key.name, value, at, layer)  # of the wrong type, which the check says
                return
            for name, entry in value.items():
                entries = into.setdefault(key.name, {})
                if isinstance(entry, Mapping):
                    inner = entries.setdefault(name, {})
                    self._section(key.entries, inner, entry, f"{at}.{name}.", layer)
                else:
                    known = ", ".join(schema.keys(key.entries))
                    self.problem(f"{at}.{name}", f"must be a mapping of {known}, but is {entry!r}", layer)
        elif key.section is not None:
            if key.optional_section and isinstance(value, bool):
                self._replace(into, key.name, schema.defaults(key.section) if value else False, at, layer)
                self.origins[at] = layer.origin_of(at)
            elif isinstance(value, Mapping):
                if not isinstance(into.get(key.name), dict):
                    into[key.name] = schema.defaults(key.section)
                self._section(key.section, into[key.name], value, f"{at}.", layer)
            elif value is not None:  # `encoder:` with nothing below it sets nothing
                known = ", ".join(schema.keys(key.section))
                self.problem(at, f"must be a mapping of {known}, but is {value!r}", layer)
        else:
            self._replace(into, key.name, value, at, layer)

    def _part(self, key: Key, into: dict[str, Any], value: Any, at: str, layer: Layer) -> None:
        old = into.get(key.name)
        if isinstance(old, list) and isinstance(value, Mapping) and value and all(str(k).isdigit() for k in value):
            for index, entry in ((int(k), v) for k, v in value.items()):
                if index < len(old):
                    old[index] = self._node(old[index], entry, f"{at}.{index}", layer)
                else:
                    self.problem(f"{at}.{index}", f"{at} has only {len(old)} entries", layer)
        elif key.is_list:
            if isinstance(value, list):
                self._forget(at)
                if not value:
                    self.origins[at] = layer.origin_of(at)
                into[key.name] = [self._node(None, v, f"{at}.{i}", layer) for i, v in enumerate(value)]
            else:
                self.problem(at, f"must be a list of {key.kind} parts, but is {value!r}", layer)
        elif isinstance(value, list):
            if key.per_layer:
                self._forget(at)
                into[key.name] = [self._node(None, v, f"{at}.{i}", layer) for i, v in enumerate(value)]
            else:
                self.problem(at, _no_list(key, at), layer)
        elif (value is None or isinstance(value, bool)) and key.inherits:
            text = registry.parse_node(value)
            self.problem(at, f"{text}; leave the key out for the one of model.{key.kind}", layer)
        elif isinstance(old, list) and isinstance(value, Mapping) and "name" not in value:
            first = next(iter(value), "option")
            self.problem(
                at, f"is a list with one part a layer; set the option of one layer, as in {at}.0.{first}=...", layer
            )
        else:
            inherited = self.values["model"].get(key.kind, {}) if key.inherits else None
            into[key.name] = self._node(None if isinstance(old, list) else old, value, at, layer, inherited)

    def _node(self, old: Any, value: Any, at: str, layer: Layer, inherited: Any = None) -> Any:
        """A part after a layer wrote ``value`` where ``old`` was: another name replaces it, options alone change it."""
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            self._forget(at)
            self.origins[at] = layer.origin_of(at)
            return value
        if isinstance(old, dict) and "name" in value:
            name = old["name"] if "name" in old else (inherited or {}).get("name")
            if name != value["name"]:
                old = None
        if old is None:
            self._forget(at)
        for leaf in leaves(value, at):
            self.origins[leaf] = layer.origin_of(leaf)
        return overlay(old or {}, value)

    def _replace(self, into: dict[str, Any], name: str, value: Any, at: str, layer: Layer) -> None:
        self._forget(at)
        into[name] = copy.deepcopy(value)
        for leaf in leaves(value, at):
            self.origins[leaf] = layer.origin_of(leaf)

    def _forget(self, at: str) -> None:
        for leaf in [o for o in self.origins if o == at or o.startswith(f"{at}.")]:
            del self.origins[leaf]


def located(text: str, origin: str) -> str:
    """A problem with the file and line that it comes from."""
    return f"{text} ({origin})" if ":" in origin else text


def overlay(old: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A part's options over those it had; a part within it follows the same rule."""
    merged = dict(old)
    for key, value in new.items():
        before = merged.get(key)
        if isinstance(value, Mapping):
            if isinstance(before, str) and "name" not in value:
                before = {"name": before}
            is_same = isinstance(before, dict) and value.get("name", before.get("name")) == before.get("name")
            merged[key] = overlay(before if is_same and before else {}, value)
        elif isinstance(value, str) and isinstance(before, dict) and before.get("name") == value:
            continue
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def leaves(value: Any, at: str) -> Iterator[str]:
    """The dotted paths of what holds no further keys; a list of plain values is one leaf."""
    for path, _ in items(value, at):
        yield path


def items(value: Any, at: str) -> Iterator[tuple[str, Any]]:
    """Leaves with their values."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from items(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
        for index, inner in enumerate(value):
            yield from items(inner, f"{at}.{index}")
    else:
        yield at, value


def unknown_key(name: str, section: type, at: str) -> str:
    """The text for a key that a section doesn't have."""
    here = schema.keys(section)
    close = difflib.get_close_matches(name, here, n=1, cutoff=0.6)
    elsewhere = [path for path, key in schema.all_keys() if key.name == name]
    if close:
        return f"unknown key. Did you mean {close[0]!r}?"
    if elsewhere:
        return f"unknown key. Did you mean {elsewhere[0]!r}?"
    return f"unknown key. Known{f' under {at[:-1]}' if at else ''}: {', '.join(here)}"


def _no_list(key: Key, at: str) -> str:
    sites = [p for p, k in schema.all_keys() if k.per_layer and k.kind == key.kind]
    if sites and not key.inherits:
        return f"takes one {key.kind}, not a list; a list with one entry a layer goes under {' or '.join(sites)}"
    holder = "stack" if key.inherits or key.kind in ("positions", "block") else "config"
    return f"takes one {key.kind} for the whole {holder}, not a list"
