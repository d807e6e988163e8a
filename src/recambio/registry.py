"""One small registry per kind of part: names, typed options, contracts, near-miss errors.

A part is a class. Its constructor's signature is its schema: a parameter whose name is in the kind's *context* is filled by
whoever builds the part (``d_model``, ``site``...), every other parameter is an *option* that a config may set. A parameter
annotated with the contract of another kind (``activation: Activation``) is a part within the part: its option is a node of
that kind, and where no option is given the context's node of that name is built.

    @NORMALIZATION.register("rms_norm", card=Card(claim="..."))
    class RMSNorm(Normalization):
        def __init__(self, dim: int, eps: float = 1e-6) -> None: ...

This module imports nothing heavy; the contracts attach themselves from each kind's ``base.py``.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union

from recambio.errors import InputError

T = TypeVar("T")
C = TypeVar("C", bound=type)

YAML_WORDS = ("null", "true", "false", "yes", "no", "on", "off")
"""What YAML reads as something else than a text, so that no part can have it as its name."""

Node = str | Mapping[str, Any]
"""How a config writes a part: its name, or ``{name: ..., option: ...}``."""


@dataclass(frozen=True)
class Card:
    """What a part is, for ``recambio components``, the docs and the reports.

    Attributes:
        claim: One sentence: what the part does and why one would want it.
        formula: The formula in the package's notation (shapes B, T, S, D, H, Dh, F, V).
        paper: Authors, year, title, address, section.
        departures: Where the code differs from the paper; empty if nowhere.
        sites: Where it may stand; empty means everywhere its kind goes.
        parameters: Count as an expression over D, H, Dh, F, V, L (layers), K (sublayers a layer) and the
            part's options; evaluated against the real module by the conformance kit.
        flops: Matmul FLOPs per token (multiply and add count two), as an expression over the same names and T, S; what is not counted
            is named after a semicolon.
        fast_path: Which kernel it takes, or why none.
        effect: Its known effect on translation, with the source; empty if none is established.
        example: Options that the part can't be built without, with values that a config might give them; the conformance kit and
            the benchmarks build it with these.
    """

    claim: str
    formula: str = ""
    paper: str = ""
    departures: str = ""
    sites: tuple[str, ...] = ()
    parameters: str = "0"
    flops: str = "0"
    fast_path: str = ""
    effect: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Option:
    """One option of a part, read off its constructor."""

    name: str
    annotation: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether a config must give it."""
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        """The type as a user reads it."""
        return type_name(self.annotation)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered part."""

    name: str
    cls: type[T]
    card: Card
    origin: str | None
    """The plugin that registered it; None for a part of the package."""

    @property
    def source_file(self) -> str:
        """The file that defines the part."""
        return inspect.getsourcefile(self.cls) or "unknown"


@dataclass(frozen=True)
class Preset:
    """Another name for a part with some of its options set; not a part of its own."""

    name: str
    of: str
    options: Mapping[str, Any]


@dataclass
class Registry(Generic[T]):
    """The parts of one kind, by name.

    Args:
        kind: The kind's name, as configs and messages write it.
        context: What the builder supplies, by parameter name, each with one line of explanation.
    """

    kind: str
    context: Mapping[str, str] = field(default_factory=dict)
    contract: type | None = None
    entries: dict[str, Entry[T]] = field(default_factory=dict)
    presets: dict[str, Preset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        REGISTRIES[self.kind] = self

    def define(self, base: C) -> C:
        """Class decorator: the contract that every part of this kind inherits."""
        self.contract = base
        KIND_OF_CONTRACT[base] = self.kind
        return base

    def register(self, name: str, card: Card | None = None, *, replace: bool = False) -> Callable[[C], C]:
        """Class decorator: make the class available as ``name``.

        Args:
            name: ``snake_case``; what a config writes.
            card: What the part is; without one the docstring's first line is the claim.
            replace: Take over a name that is in use, on purpose.

        Raises:
            ValueError: The name is taken, is a YAML word, or the constructor hides its options.
            TypeError: The class doesn't inherit the kind's contract, or doesn't keep it.
        """

        def decorate(cls: C) -> C:
            if not replace and (name in self.entries or name in self.presets):
                where = _holder(self.entries[name]) if name in self.entries else "a preset"
                raise ValueError(
                    f"{self.kind} {name!r} is already registered by {where}; choose another name or pass replace=True"
                )
            if not name.isidentifier() or name != name.lower() or name in YAML_WORDS:
                raise ValueError(f"{self.kind} {name!r}: a part's name is snake_case and no YAML word")
            if self.contract is not None:
                if not issubclass(cls, self.contract):
                    raise TypeError(
                        f"{self.kind} {name!r}: {cls.__qualname__} must inherit {self.contract.__qualname__} "
                        f"(from {self.contract.__module__})"
                    )
                if broken := _broken_promises(cls, self.contract):
                    raise TypeError(f"{self.kind} {name!r}: {'; '.join(broken)}")
            for parameter in _parameters(cls):
                if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                    raise ValueError(
                        f"{self.kind} {name!r}: the constructor must name its options, not take {parameter}"
                    )
            claim = (inspect.getdoc(cls) or "").split("\n", 1)[0]
            self.presets.pop(name, None)
            self.entries[name] = Entry(name, cls, card or Card(claim=claim), _current_origin)
            return cls

        return decorate

    def preset(self, name: str, of: str, **options: Any) -> None:
        """Give the part ``of`` with ``options`` a second name."""
        if name in self.entries or name in self.presets:
            raise ValueError(f"{self.kind} {name!r} is already registered")
        if of not in self.entries:
            raise ValueError(f"{self.kind} {name!r} is to be a preset of {of!r}, which is no registered part")
        self.presets[name] = Preset(name, of, options)

    def example(self, name: str) -> Node:
        """A node that names a part, or a preset, and gives it what it can't be built without."""
        given = {} if name in self.presets else self.get(name).card.example
        return {"name": name, **given} if given else name

    def names(self) -> list[str]:
        """The registered parts, without presets, sorted."""
        return sorted(self.entries)

    def unknown(self, name: str) -> str:
        """The text for a name that is not registered."""
        known = sorted([*self.entries, *self.presets])
        meant = [repr(close) for close in difflib.get_close_matches(name, known, n=1, cutoff=0.6)]
        meant += [f"{kind} {name!r}" for kind, r in REGISTRIES.items() if name in r.entries or name in r.presets]
        hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
        return (
            f"unknown {self.kind} {name!r}.{hint} Registered: {', '.join(known) or 'none'}. "
            "If it is a plugin, list it under plugins:"
        )

    def get(self, name: str) -> Entry[T]:
        """The entry of a part's name.

        Raises:
            InputError: No such part.
        """
        if name in self.presets:
            return self.get(self.presets[name].of)
        if name not in self.entries:
            raise InputError(self.unknown(name))
        return self.entries[name]

    def options(self, name: str) -> dict[str, Option]:
        """The options of a part, in the order of its constructor."""
        cls = self.get(name).cls
        hints = _hints(cls.__init__)
        return {
            p.name: Option(p.name, hints.get(p.name, Any), p.default)
            for p in _parameters(cls)
            if p.name not in self.context
        }

    def problems(self, node: Any, where: str = "") -> list[str]:
        """Everything that is wrong with a node, one line each; empty if it can be built."""
        prefix = f"{where}: " if where else ""
        parsed = parse_node(node)
        if isinstance(parsed, str):
            return [f"{prefix}{parsed}"]
        name, given = parsed
        if name not in self.entries and name not in self.presets:
            return [prefix + self.unknown(name)]
        if name in self.presets:
            preset = self.presets[name]
            given = {**preset.options, **given}
        found: list[str] = []
        options = self.options(name)
        at = f"{where}." if where else ""
        for key, value in given.items():
            if key in self.context and key not in options:
                found.append(
                    f"{at}{key}: {key!r} comes from the model and can't be an option of {self.kind} {name!r}; remove it"
                )
            elif key not in options:
                close = difflib.get_close_matches(str(key), list(options), n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                known = ", ".join(options) or "none"
                found.append(f"{at}{key}: {self.kind} {name!r} has no option {key!r}.{hint} Its options: {known}")
            else:
                found.extend(check_value(value, options[key].annotation, f"{at}{key}"))
        for option in options.values():
            is_part = part_kind(option.annotation) is not None
            if option.required and option.name not in given and not is_part:
                close = difflib.get_close_matches(option.name, self.context, n=1, cutoff=0.8)
                hint = f"; if the model is to supply it, its name is {close[0]!r}" if close else ""
                found.append(f"{at}{option.name}: {self.kind} {name!r} needs it ({option.type_name}){hint}")
        return found

    def resolve(self, node: Any) -> tuple[str, dict[str, Any]]:
        """The part's own name and every option with its value, defaults filled in.

        Raises:
            InputError: The node has problems.
        """
        if found := self.problems(node):
            raise InputError(found)
        parsed = parse_node(node)
        assert not isinstance(parsed, str)
        name, given = parsed
        if name in self.presets:
            preset = self.presets[name]
            name, given = preset.of, {**preset.options, **given}
        filled = {
            o.name: given.get(o.name, o.default)
            for o in self.options(name).values()
            if o.name in given or not o.required
        }
        return name, filled

    def create(self, node: Any, **context: Any) -> T:
        """Build the part that a node names.

        Args:
            node: A name or ``{name: ..., option: ...}``.
            **context: The kind's context; what the constructor doesn't ask for is not passed.

        Raises:
            InputError: The node has problems, or a plugin's constructor fails.
            ValueError: The constructor refuses the combination.
        """
        name, options = self.resolve(node)
        entry = self.entries[name]
        cls = entry.cls
        arguments: dict[str, Any] = {}
        annotations = self.options(name)
        for parameter in _parameters(cls):
            key = parameter.name
            if key in self.context:
                if key in context:
                    arguments[key] = context[key]
                elif parameter.default is parameter.empty:
                    raise TypeError(f"{self.kind} {name!r} needs the context {key!r}, which was not given")
                continue
            kind = part_kind(annotations[key].annotation)
            if kind is None:
                arguments[key] = options[key]
                continue
            value = options.get(key)
            if value is None:
                value = context.get(key)
            if value is None and parameter.default is parameter.empty:
                raise InputError(f"{self.kind} {name!r} needs {key!r} (a {kind})")
            inner = REGISTRIES[kind]
            if isinstance(value, Sequence) and not isinstance(value, str):
                arguments[key] = [inner.create(v, **context) for v in value]
            elif value is not None:
                arguments[key] = inner.create(value, **context)
        try:
            return cls(**arguments)
        except (InputError, ValueError):
            raise
        except Exception as error:
            if entry.origin is None:
                raise
            frames = traceback.extract_tb(error.__traceback__)
            line = next((f"line {f.lineno}: " for f in reversed(frames) if f.filename == entry.source_file), "")
            text = f"{type(error).__name__}: {error}"
            raise InputError(f"{entry.origin}: {line}{self.kind} {name!r} can't be built: {text}") from error

    def describe(self, name: str) -> dict[str, Any]:
        """A part's card, options and origin, as plain data."""
        entry = self.get(name)
        preset = self.presets.get(name)
        return {
            "kind": self.kind,
            "name": name,
            **({"preset_of": preset.of, "preset_options": dict(preset.options)} if preset else {}),
            **{k: list(v) if isinstance(v, tuple) else v for k, v in vars(entry.card).items()},
            "options": [
                {
                    "name": o.name,
                    "type": o.type_name,
                    **({} if o.required else {"default": o.default}),
                }
                for o in self.options(name).values()
            ],
            "source_file": entry.source_file,
            "plugin": entry.origin,
        }


REGISTRIES: dict[str, Registry[Any]] = {}
KIND_OF_CONTRACT: dict[type, str] = {}
_current_origin: str | None = None


@contextmanager
def registering(origin: str) -> Iterator[None]:
    """Mark what is registered inside as coming from the plugin ``origin``."""
    global _current_origin
    previous, _current_origin = _current_origin, origin
    try:
        yield
    finally:
        _current_origin = previous


def snapshot() -> dict[str, tuple[dict[str, Entry[Any]], dict[str, Preset]]]:
    """What is registered now, to be handed to :func:`restore`."""
    return {kind: (dict(r.entries), dict(r.presets)) for kind, r in REGISTRIES.items()}


def restore(saved: Mapping[str, tuple[dict[str, Entry[Any]], dict[str, Preset]]]) -> None:
    """Return to what was registered at a :func:`snapshot`."""
    for kind, (entries, presets) in saved.items():
        REGISTRIES[kind].entries = dict(entries)
        REGISTRIES[kind].presets = dict(presets)


def parse_node(node: Any) -> tuple[str, dict[str, Any]] | str:
    """Split a node into name and options; a text says what is wrong with it."""
    if node is None or isinstance(node, bool):
        return f"{node!r} is no part; write the name 'none' for the part that does nothing (YAML reads no, off, null as other things)"
    if isinstance(node, str):
        return node, {}
    if isinstance(node, Mapping):
        if not isinstance(node.get("name"), str):
            return f"a part is a name or {{name: ..., option: ...}}, but this has no name: {dict(node)!r}"
        return node["name"], {k: v for k, v in node.items() if k != "name"}
    return f"a part is a name or {{name: ..., option: ...}}, not {type(node).__name__} {node!r}"


def part_kind(annotation: Any) -> str | None:
    """The kind of part that an annotation asks for (alone, optional or in a list), or None."""
    if isinstance(annotation, type) and annotation in KIND_OF_CONTRACT:
        return KIND_OF_CONTRACT[annotation]
    for argument in typing.get_args(annotation):
        if (kind := part_kind(argument)) is not None:
            return kind
    return None


def type_name(annotation: Any) -> str:
    """A type as a user reads it: ``int``, ``float or null``, ``'a' | 'b'``, ``list of int``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in KIND_OF_CONTRACT:
        return f"{KIND_OF_CONTRACT[annotation]} part"
    if origin is Literal:
        return " | ".join(repr(a) for a in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if a is type(None) else type_name(a) for a in arguments)
    if origin in (list, Sequence, typing.Sequence, tuple):
        return f"list of {type_name(arguments[0])}" if arguments else "list"
    if origin in (dict, Mapping):
        return "mapping"
    return getattr(annotation, "__name__", str(annotation))


def check_value(value: Any, annotation: Any, where: str) -> list[str]:
    """What is wrong with a value of an option; empty if it has the annotated type."""
    kind = KIND_OF_CONTRACT.get(annotation) if isinstance(annotation, type) else None
    if kind is not None:
        return REGISTRIES[kind].problems(value, where)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    wrong = [f"{where}: must be {type_name(annotation)}, but is {value!r} ({type(value).__name__})"]
    if annotation in (Any, inspect.Parameter.empty):
        return []
    if origin is Literal:
        if value in arguments and type(value) in {type(a) for a in arguments}:
            return []
        close = difflib.get_close_matches(str(value), [str(a) for a in arguments], n=1)
        return [
            f"{where}: must be one of {type_name(annotation)}, but is {value!r}"
            + (f"; did you mean {close[0]!r}?" if close else "")
        ]
    if origin in (Union, types.UnionType):
        attempts = [check_value(value, a, where) for a in arguments]
        if any(not a for a in attempts):
            return []
        parts = [a for a, inner in zip(attempts, arguments, strict=True) if part_kind(inner) and value is not None]
        return parts[0] if parts else wrong
    if origin in (list, Sequence, typing.Sequence, tuple):
        if isinstance(value, str) or not isinstance(value, Sequence):
            return wrong
        inner = arguments[0] if arguments else Any
        return [p for i, v in enumerate(value) for p in check_value(v, inner, f"{where}[{i}]")]
    if origin in (dict, Mapping) or annotation is dict:
        if not isinstance(value, Mapping):
            return wrong
        inner = arguments[1] if len(arguments) == 2 else Any
        return [p for k, v in value.items() for p in check_value(v, inner, f"{where}.{k}")]
    if annotation is type(None):
        return [] if value is None else wrong
    if annotation is bool:
        return [] if isinstance(value, bool) else wrong
    if annotation is int:
        return [] if isinstance(value, int) and not isinstance(value, bool) else wrong
    if annotation is float:
        return [] if isinstance(value, int | float) and not isinstance(value, bool) else wrong
    if annotation in (str, Path):
        return [] if isinstance(value, str) else wrong
    return [] if isinstance(annotation, type) and isinstance(value, annotation) else wrong


def _holder(entry: Entry[Any]) -> str:
    """Where a name is in use, as whoever wants it too can find it."""
    if entry.origin is not None:
        return f"{entry.cls.__qualname__} of the plugin {entry.origin}"
    return f"{entry.cls.__module__}.{entry.cls.__qualname__}"


def _broken_promises(cls: type, contract: type) -> list[str]:
    """What a class leaves abstract, and methods that can't be called as the contract's are; one text each."""
    base, missing = contract.__qualname__, sorted(getattr(cls, "__abstractmethods__", ()))
    found = []
    for name in missing:
        promised = inspect.getattr_static(cls, name)
        what = f"the property {name}" if isinstance(promised, property) else _call(promised)
        found.append(f"{cls.__qualname__} must define {what}, which {base} leaves open")
    for name, promised in vars(contract).items():
        own = inspect.getattr_static(cls, name)
        if name in (*missing, "__init__"):
            continue
        if isinstance(promised, property) and inspect.isfunction(own):
            found.append(f"{name}, line {_line(own)}, must be a property; put @property above it")
        elif inspect.isfunction(promised) and isinstance(own, property):
            found.append(f"{name} must be a method, {_call(promised)}; take @property away")
        elif inspect.isfunction(promised) and inspect.isfunction(own) and not _takes_the_same(own, promised):
            found.append(f"{_call(own)}, line {_line(own)}, must take what {base}.{_call(promised)} takes")
    return found


def _takes_the_same(own: Callable[..., Any], promised: Callable[..., Any]) -> bool:
    """Whether every call that fits the contract's method fits this one: optional arguments by position or by name."""
    parameters = list(inspect.signature(promised).parameters.values())
    optional = {p.name: None for p in parameters if p.default is not p.empty}
    named = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
    n_required = len(parameters) - len({**optional, **named})
    signature = inspect.signature(own)
    try:
        signature.bind(*[None] * (len(parameters) - len(named)), **named)
        signature.bind(*[None] * n_required, **optional, **named)
    except TypeError:
        return False
    return True


def _call(function: Callable[..., Any]) -> str:
    """A method's name and parameters, without annotations."""
    signature = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return f"{function.__name__}{signature.replace(parameters=bare, return_annotation=signature.empty)}"


def _line(function: Callable[..., Any]) -> int:
    """Where a method is written."""
    return int(inspect.unwrap(function).__code__.co_firstlineno)


def _parameters(cls: type) -> tuple[inspect.Parameter, ...]:
    return _signature(cls.__init__)  # type: ignore[misc]


# A check of a config, and a model's construction, ask for the same parts' options some hundred times.


@functools.cache
def _signature(constructor: Callable[..., None]) -> tuple[inspect.Parameter, ...]:
    if constructor is object.__init__:  # its signature says *args, **kwargs, yet it takes nothing
        return ()
    return tuple(inspect.signature(constructor).parameters.values())[1:]


@functools.cache
def _hints(constructor: Callable[..., None]) -> dict[str, Any]:
    return typing.get_type_hints(constructor)


_MODEL = {
    "d_model": "width of the residual stream",
    "n_heads": "attention heads",
    "dropout": "dropout probability of the residual stream",
    "n_encoder": "encoder layers",
    "n_decoder": "decoder layers",
}
_SITE = {
    **_MODEL,
    "site": "where the part stands: encoder_self, decoder_self, cross, encoder_feed_forward, decoder_feed_forward",
    "layer_index": "index of the layer in its stack, from 0",
    "is_causal": "whether position t may see positions up to t only",
}

ATTENTION: Registry[Any] = Registry(
    "attention", {**_SITE, "max_length": "longest training sentence in tokens, EOS included"}
)
NORMALIZATION: Registry[Any] = Registry("normalization", {"dim": "size of the last axis, which is normalised"})
POSITIONS: Registry[Any] = Registry(
    "positions",
    {
        **_MODEL,
        "stack": "encoder or decoder",
        "head_dim": "d_model / n_heads",
        "max_length": "longest training sentence in tokens, EOS included",
        "is_causal": "whether the stack is causal",
    },
)
FEED_FORWARD: Registry[Any] = Registry("feed_forward", {**_SITE, "d_ff": "inner width"})
ACTIVATION: Registry[Any] = Registry("activation")
BLOCK: Registry[Any] = Registry(
    "block",
    {
        **_MODEL,
        "stack": "encoder or decoder",
        "n_layers": "layers of this stack",
        "n_sublayers": "sub-layers of a layer: 2 in the encoder, 3 in the decoder",
        "normalization": "factory: normalization(layer_index) -> Normalization of width d_model; layer_index None for the stack's own",
    },
)
EMBEDDING: Registry[Any] = Registry(
    "embedding",
    {
        "d_model": "width of the residual stream",
        "source_vocabulary": "number of source tokens",
        "target_vocabulary": "number of target tokens",
        "is_joint": "whether source and target share one vocabulary",
    },
)
CORPUS: Registry[Any] = Registry(
    "corpus",
    {
        "root": "the folder that data.root names, or None",
        "source_language": "en",
        "target_language": "es",
    },
)
CLEANING: Registry[Any] = Registry("cleaning")
TOKENIZER: Registry[Any] = Registry("tokenizer", {"seed": "the run's seed"})
LOSS: Registry[Any] = Registry("loss", {"pad_id": "the token that is never a target"})
OPTIMIZER: Registry[Any] = Registry("optimizer")
SCHEDULE: Registry[Any] = Registry(
    "schedule",
    {"d_model": "width of the residual stream", "max_steps": "optimiser steps of the run"},
)
SEARCH: Registry[Any] = Registry(
    "search", {"detokenize": "from target ids to text, for searches that compare texts: rows of ids -> a line each"}
)
METRIC: Registry[Any] = Registry("metric")


def load_builtins() -> None:
    """Import every part of the package (torch with them)."""
    import recambio.components
    import recambio.data
    import recambio.decoding
    import recambio.evaluation
    import recambio.training  # noqa: F401
