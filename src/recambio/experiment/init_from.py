"""Starting from the weights of another run: its vocabulary, its parts, and what of them may differ."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recambio.components.normalization.base import Normalization
from recambio.config import Config
from recambio.config import load as load_config
from recambio.data.tokenizers.base import Tokenizer, load_tokenizer
from recambio.errors import InputError
from recambio.experiment import run_folder
from recambio.experiment.build import model_spec, relative
from recambio.model import ModelSpec, Transformer
from recambio.model.weights import load_weights
from recambio.registry import Node

_SIZES = ("d_model", "n_heads", "d_ff")
_SITES = {
    "self_attention": "attention",
    "cross_attention": "cross_attention",
    "feed_forward": "feed_forward",
    "activation": "activation",
    "normalization": "normalization",
}
"""Of a layer: the spec's name and the config's."""


@dataclass(frozen=True)
class Difference:
    """A part that stands at a site of this model and not at that of the other.

    Attributes:
        stack: ``encoder``, ``decoder``, or empty for the whole model.
        site: As the spec calls it.
        layers: Which; empty where there is one part a stack.
        mine, theirs: The parts.
        is_everywhere: Whether that is all layers of the stack.
    """

    stack: str
    site: str
    layers: tuple[int, ...]
    mine: Any
    theirs: Any
    is_everywhere: bool = True

    @property
    def key(self) -> str:
        """The config key, with the layers where not all of them differ."""
        path = ".".join(p for p in ("model", self.stack, _SITES.get(self.site, self.site)) if p)
        return path if self.is_everywhere else f"{path} (layers {', '.join(map(str, self.layers))})"

    def modules(self, model: Transformer) -> list[str]:
        """Paths of the modules that start anew."""
        if not self.layers:
            return [".".join(p for p in (self.stack, self.site) if p)]
        if self.site == "normalization":
            block = model.get_submodule(f"{self.stack}.block")
            return [f"{self.stack}.block.{n}" for n, m in block.named_modules() if isinstance(m, Normalization)]
        inner = "feed_forward.activation" if self.site == "activation" else self.site
        return [f"{self.stack}.layers.{i}.{inner}" for i in self.layers]


@dataclass(frozen=True)
class InitialWeights:
    """The weights of another run that a run starts from.

    Attributes:
        path: The file.
        tokenizer: Of that run.
        differences: The parts that start anew.
    """

    path: Path
    tokenizer: Tokenizer
    differences: list[Difference] = field(default_factory=list)

    def fill(self, model: Transformer) -> None:
        """Load them; the parts that differ stay as they were drawn.

        Raises:
            InputError: The file is torn, or its tensors don't fit the rest.
        """
        load_weights(model, self.path, fresh=[m for d in self.differences for m in d.modules(model)])

    def drawn_blocks(self) -> list[str]:
        """The stacks whose block starts anew."""
        return [d.stack for d in self.differences if d.site == "block"]

    def describe(self) -> dict[str, Any]:
        """For the manifest."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {
            "path": relative(self.path),
            "sha256": digest,
            "tokenizer": self.tokenizer.fingerprint,
            "fresh": [d.key for d in self.differences],
        }


def initial_weights(config: Config) -> InitialWeights | None:
    """What ``training.init_from`` names. A config that names no tokenizer is given that run's.

    Raises:
        InputError: There are no such weights, or they are of another model; a line for each thing that differs.
    """
    training = config.values.training
    if training.init_from is None:
        return None
    path, folder = _found(training.init_from)
    tokenizer = load_tokenizer(folder)
    try:
        other = load_config(folder / "config.yaml", plugins_are_loaded=True, check_hardware=False)
    except InputError as error:
        raise InputError(
            f"training.init_from: {relative(folder)}: {p}; a plugin of that run is to be named here too"
            for p in error.problems
        ) from error
    name = relative(folder)
    problems = list(_tokenizer_problems(config, other, name))
    mine, theirs = (
        model_spec(c, tokenizer.source_vocabulary_size, tokenizer.target_vocabulary_size, tokenizer.is_joint)
        for c in (config, other)
    )
    problems += _size_problems(mine, theirs, name)
    differences = [] if problems else list(_differences(mine, theirs))
    if not training.init_partial:
        problems += [
            f"{d.key}: is {_shown(d.mine, d.theirs)}, but {name} has {_shown(d.theirs, d.mine)}; name the same, or set "
            "training.init_partial=true to start this part anew"
            for d in differences
        ]
    if problems:
        raise InputError(problems)
    return InitialWeights(path, tokenizer, differences)


def _found(value: str) -> tuple[Path, Path]:
    """The weights file and the run folder that a user means."""
    if value == run_folder.NEWEST:
        raise InputError("training.init_from: 'newest' is another run after the next start; name the run folder")
    path = Path(value)
    if path.is_file():
        for folder in path.resolve().parents[:2]:
            if (folder / run_folder.MANIFEST).is_file() and (folder / "config.yaml").is_file():
                return path, folder
        raise InputError(
            f"training.init_from: {value} lies in no run folder, so its model and vocabulary are unknown; "
            "put it into the folder of the run that it is from"
        )
    try:
        folder = run_folder.existing(value)
    except InputError as error:
        raise InputError(f"training.init_from: {p}" for p in error.problems) from error
    path = folder / "weights.safetensors"
    if not path.is_file():
        raise InputError(
            f"training.init_from: {value} has no weights.safetensors, for it didn't finish; "
            f"name {relative(folder / 'checkpoints' / 'best.safetensors')} or last.ckpt beside it, if there is one"
        )
    return path, folder


def _tokenizer_problems(config: Config, other: Config, name: str) -> Iterator[str]:
    mine, theirs = config.values.data.tokenizer, other.values.data.tokenizer
    if mine == theirs:
        return
    keys = [k for k in config.origins if k.startswith("data.tokenizer.")]
    if any(config.origins[k] != "default" for k in keys):
        yield (
            f"data.tokenizer: is {_shown(mine, theirs)}, but training.init_from takes the vocabulary of {name}, "
            f"{_shown(theirs, mine)}; leave it out, or name the same"
        )
        return
    config.values.data.tokenizer = dict(theirs)
    for k in keys:
        del config.origins[k]
    config.origins.update({k: name for k in config.leaves() if k.startswith("data.tokenizer.")})


def _size_problems(mine: ModelSpec, theirs: ModelSpec, name: str) -> Iterator[str]:
    sizes = [(f"model.{key}", getattr(mine, key), getattr(theirs, key)) for key in _SIZES]
    sizes += [
        (f"model.{s}.n_layers", getattr(mine, s).n_layers, getattr(theirs, s).n_layers) for s in ("encoder", "decoder")
    ]
    for key, a, b in sizes:
        if a != b:
            yield f"{key}: is {a}, but {name} has {b}; training.init_from needs the same"


def _differences(mine: ModelSpec, theirs: ModelSpec) -> Iterator[Difference]:
    if not _is_same(mine.embedding, theirs.embedding):
        yield Difference("", "embedding", (), mine.embedding, theirs.embedding)
    for stack in ("encoder", "decoder"):
        ours, others = getattr(mine, stack), getattr(theirs, stack)
        for site in ("positions", "block"):
            a, b = getattr(ours, site), getattr(others, site)
            if not _is_same(a, b):
                yield Difference(stack, site, (), a, b)
        for site in _SITES:
            pairs = list(enumerate(zip(getattr(ours, site), getattr(others, site), strict=True)))
            swaps: dict[str, list[int]] = defaultdict(list)
            for i, (a, b) in pairs:
                if not _is_same(a, b):
                    swaps[repr((a, b))].append(i)
            for layers in swaps.values():
                _, (a, b) = pairs[layers[0]]
                yield Difference(stack, site, tuple(layers), a, b, len(layers) == len(pairs))
        layers_of = [
            list(range(s.n_layers)) if s.position_layers is None else s.position_layers for s in (ours, others)
        ]
        if sorted(layers_of[0]) != sorted(layers_of[1]):
            yield Difference(stack, "position_layers", (), layers_of[0], layers_of[1])


def _is_same(a: Node, b: Node) -> bool:
    """Whether two parts hold the same weights to the same end; dropout is what fine-tuning often changes."""
    return bool(_without_dropout(a) == _without_dropout(b))


def _without_dropout(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {k: _without_dropout(v) for k, v in node.items() if "dropout" not in k}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [_without_dropout(n) for n in node]
    return node


def _shown(node: Any, other: Any) -> str:
    """A part as a config would write it, with those options that differ from the other's."""
    if not isinstance(node, Mapping):
        return str(node)
    same_name = isinstance(other, Mapping) and other.get("name") == node.get("name")
    shown = {k: v for k, v in node.items() if k == "name" or not (same_name and other.get(k) == v)}
    return "{" + ", ".join(f"{k}: {v}" for k, v in shown.items()) + "}"
