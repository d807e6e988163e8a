"""Every registered part keeps its contract: all names, the example plugins' too, through every check of the conformance kit."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import recambio
from recambio import registry, testing
from recambio.registry import REGISTRIES, Node
from recambio.testing.kit import name_of
from recambio.testing.processes import together

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = [
    *(REPOSITORY / "plugins" / f"{name}.py" for name in ("dynamic_erf", "gaussian_window", "scalable_softmax")),
    REPOSITORY / "plugins" / "installed_example" / "recambio_softplus_squared" / "__init__.py",
]

VARIANTS: list[tuple[str, Node]] = [
    ("attention", {"name": "multi_head", "bias": False}),
    ("attention", {"name": "grouped_query", "n_groups": 4}),
    ("attention", {"name": "cope", "n_positions": 4}),
    ("attention", {"name": "entmax", "alpha": 2.0}),
    ("attention", {"name": "shaw", "max_distance": 3, "values": False}),
    ("attention", {"name": "sigmoid", "offset": -1.0}),
    ("attention", {"name": "sparse_topk", "k": 3}),
    ("attention", {"name": "synthesizer", "variant": "random"}),
    ("attention", {"name": "average", "expansion": 0}),
    ("attention", {"name": "cosformer", "bias": False}),
    ("attention", {"name": "dynamic_conv", "kernel_size": 4, "bias": False}),
    ("attention", {"name": "light_conv", "kernel_size": 12, "weight_dropout": 0.2}),
    ("attention", {"name": "linear", "bias": False}),
    ("attention", {"name": "performer", "n_features": 20, "bias": False}),
    ("attention", {"name": "ssru", "projection": True}),
    ("attention", {"name": "qk_norm", "n_groups": 2, "bias": False}),
    ("attention", {"name": "cosine", "length": 20}),
    ("attention", {"name": "gated", "gate": "head"}),
    ("attention", {"name": "sliding_window", "window": 2}),
    ("attention", {"name": "latent", "latent_dim": 12, "rope_dim": 6, "bias": False}),
    ("attention", {"name": "linformer", "projected_length": 4}),
    ("normalization", {"name": "layer_norm", "bias": False}),
    ("positions", {"name": "chain", "schemes": ["rope", {"name": "t5", "n_buckets": 16}, "learned"]}),
    ("positions", {"name": "rope", "fraction": 0.5, "base": 500.0}),
    ("positions", {"name": "rope", "fraction": 0.5, "scaling": "yarn", "factor": 4.0, "original_length": 20}),
    ("positions", {"name": "alibi", "encoder": "split"}),
    ("positions", {"name": "fire", "hidden": 8, "threshold": 4.0}),
    ("positions", {"name": "kerple", "kernel": "power"}),
    ("positions", {"name": "sinusoidal", "layout": "half"}),
    ("positions", {"name": "t5", "n_buckets": 8, "max_distance": 20}),
    ("feed_forward", {"name": "glu", "bias": True, "activation": {"name": "gelu", "approximate": "tanh"}}),
    ("feed_forward", {"name": "mlp", "bias": False}),
    ("feed_forward", {"name": "conv", "kernel_size": 4, "bias": False}),
    ("feed_forward", {"name": "mixture_of_experts", "n_experts": 4, "n_active": 1, "n_shared": 2, "d_expert": 20}),
    ("block", {"name": "b2t", "scaled_init": True}),
    ("block", {"name": "hyper_connections", "n_streams": 2, "dynamic": False}),
    ("block", {"name": "layer_scale", "init": 1.0}),
    ("block", {"name": "layer_scale", "init": 1e-5}),
    ("block", {"name": "rezero", "shared": False}),
    ("block", {"name": "rezero", "final_norm": True}),
    ("embedding", {"name": "standard", "output_bias": True, "scale": False}),
    ("embedding", {"name": "factorised", "inner": 8, "tie": "none", "output_bias": True}),
    ("embedding", {"name": "normalised", "tie": "decoder", "scale": False}),
    ("loss", {"name": "cross_entropy", "z_loss": 0.01}),
    ("loss", {"name": "label_smoothing", "z_loss": 0.01}),
    ("loss", {"name": "r_drop", "alpha": 1.0, "smoothing": 0.0}),
    ("optimizer", {"name": "adafactor", "weight_decay": 0.1}),
    ("optimizer", {"name": "muon", "adam_scale": 0.3}),
    ("optimizer", {"name": "schedule_free", "weight_decay": 0.1}),
    ("schedule", {"name": "wsd", "decay": 1.0, "shape": "linear", "floor": 0.1}),
    ("search", {"name": "beam", "width": 5, "stop": "exact", "normalize": "gnmt", "n_best": 3}),
    ("search", {"name": "diverse_beam", "width": 6, "groups": 3, "n_best": 6}),
    ("search", {"name": "diverse_beam", "width": 6, "groups": 2, "strength": 2.0, "stop": "exact", "n_best": 2}),
    ("search", {"name": "mbr", "candidates": {"name": "sample", "n": 12}, "n_best": 4}),
    (
        "search",
        {
            "name": "mbr",
            "candidates": {"name": "beam", "width": 4, "n_best": 4},
            "utility": "bleu",
            "weights": "probability",
        },
    ),
    ("search", {"name": "mbr", "references": {"name": "sample", "n": 5, "seed": 7}}),
    ("search", {"name": "sample", "n": 9}),
    ("search", {"name": "sample", "n": 3, "temperature": 0.6, "top_k": 9, "top_p": 0.95, "min_p": 0.01, "seed": 5}),
    ("metric", {"name": "bleu", "lowercase": True}),
    ("metric", {"name": "chrf", "word_order": 1}),
]
"""Options that change what a part computes."""

QUICK = [
    ("attention", "multi_head", "encoder_self", "compiled"),
    ("positions", "rope", "encoder", "traced"),
    ("feed_forward", "swiglu", "decoder_feed_forward", "traced"),
    ("attention", "multi_head", "cross", "learns"),
]
"""Slow checks of a few parts that run every time; those of the others are for the slow run."""


def _import(path: Path) -> None:
    name = path.parent.name if path.name == "__init__.py" else path.stem
    spec = importlib.util.spec_from_file_location(f"example_plugin_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where torch.compile looks for a class's globals
    with registry.registering(str(path)):
        spec.loader.exec_module(module)


_without_plugins = registry.snapshot()
for _path in PLUGINS:
    _import(_path)
_with_plugins = registry.snapshot()
_PARTS: list[tuple[str, Node]] = [
    *(
        (kind, registry.REGISTRIES[kind].example(name))
        for kind in testing.SITES
        for name in [*REGISTRIES[kind].names(), *REGISTRIES[kind].presets]
        if name != "spbleu"  # needs a model that isn't here
    ),
    *VARIANTS,
]
_PLACES = [
    (kind, node, site, f"{name_of(node)}{'+' if (kind, node) in VARIANTS else ''}")
    for kind, node in _PARTS
    for site in testing.sites(kind, node)
]
RICHEST = ("decoder_self", "decoder", "decoder_feed_forward")
"""Where most is asked of a part of each kind, causality and caches too."""


def _is_elsewhere(kind: str, node: Node, site: str) -> bool:
    """Whether this is a variant that may stand at the richest site, at another: for the slow run, and without the slow checks."""
    is_poorer = site not in RICHEST and bool({*RICHEST} & {*testing.sites(kind, node)})
    return (kind, node) in VARIANTS and is_poorer


def _marks(is_slow: bool) -> list[pytest.MarkDecorator]:
    return [pytest.mark.slow] if is_slow else []


_CASES = [
    pytest.param(
        *(kind, node, site, check),
        id=f"{kind}-{name}-{site}-{check}",
        marks=_marks(is_slow or _is_elsewhere(kind, node, site)),
    )
    for kind, node, site, name in _PLACES
    for check in testing.check_names(kind, site, slow=not _is_elsewhere(kind, node, site))
    if check != "ddp"
    for is_slow in [testing.CHECKS[check].slow and (kind, name, site, check) not in QUICK]
]
_TOGETHER = [
    pytest.param(kind, node, site, id=f"{kind}-{name}-{site}", marks=_marks(_is_elsewhere(kind, node, site)))
    for kind, node, site, name in _PLACES
    if "ddp" in testing.check_names(kind, site)
]
registry.restore(_without_plugins)


@pytest.fixture(autouse=True)
def _plugins() -> Iterator[None]:
    saved = registry.snapshot()
    registry.restore(_with_plugins)
    yield
    registry.restore(saved)


@pytest.mark.parametrize(("kind", "node", "site", "check"), _CASES)
def test_part(kind: str, node: Node, site: str, check: str, request: pytest.FixtureRequest) -> None:
    cache, digest = getattr(request.config, "cache", None), ""
    key = f"parts/{request.node.callspec.id}"
    if testing.CHECKS[check].slow and cache is not None:
        digest = digest_of(kind, node)
        if cache.get(key, None) == digest:
            pytest.skip("unchanged: passed before with the same files (--cache-clear forgets)")
    outcome = testing.run_one(kind, node, site, check)
    assert outcome.problem is None, outcome.problem
    if digest and cache is not None:
        cache.set(key, digest)


@functools.cache
def problems_together(is_slow: bool) -> dict[str, str | None]:
    """The problem, or None, of every part at each place that is tried in the fast run, or of the others, in one pair of processes."""
    cases = [p.values for p in _TOGETHER if bool(p.marks) == is_slow]
    return dict(zip(map(repr, cases), together(cases), strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "node", "site"), _TOGETHER)
def test_two_processes(kind: str, node: Node, site: str) -> None:
    problem = problems_together(_is_elsewhere(kind, node, site))[repr((kind, node, site))]
    assert problem is None, problem


def digest_of(kind: str, node: Node) -> str:
    """Hash of the part's file, of every file of the package that it builds on, of the kit and of torch."""
    package = Path(recambio.__file__).parent
    waiting = [Path(REGISTRIES[kind].get(name_of(node)).source_file), *(package / "testing").glob("*.py")]
    files: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in files:
            continue
        files.add(file)
        for line in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(line, ast.ImportFrom) and (line.module or "").startswith("recambio."):
                stem = package.parent / str(line.module).replace(".", "/")
                waiting += [f for f in (stem.with_suffix(".py"), stem / "__init__.py") if f.is_file()]
    content = hashlib.sha256(f"{torch.__version__} {node}".encode())
    for file in sorted(files):
        content.update(file.read_bytes())
    return content.hexdigest()


def test_every_kind_of_component_is_covered() -> None:
    folders = {p.parent.name for p in (REPOSITORY / "src" / "recambio" / "components").glob("*/base.py")}
    assert folders | {"loss", "optimizer", "schedule", "search", "metric"} == set(testing.SITES)


def test_a_name_is_its_file() -> None:
    for kind in testing.SITES:
        for name, entry in REGISTRIES[kind].entries.items():
            if entry.origin is None:
                assert Path(entry.source_file).stem == name, f"{kind} {name} is in {entry.source_file}"


def test_the_cards_are_complete() -> None:
    for kind in testing.SITES:
        for name, entry in REGISTRIES[kind].entries.items():
            card = entry.card
            assert card.claim.endswith("."), f"{kind} {name}"
            assert card.formula, f"{kind} {name}: no formula"
            assert card.paper or name in ("chain", "constant", "exact_match", "length_ratio"), (
                f"{kind} {name}: no paper"
            )
            assert card.fast_path or entry.origin or kind in ("schedule", "metric"), f"{kind} {name}: no fast path"


def test_the_installable_example_points_at_its_package() -> None:
    folder = REPOSITORY / "plugins" / "installed_example"
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (target,) = project["entry-points"]["recambio.plugins"].values()
    assert (folder / target / "__init__.py").is_file()


def test_the_example_plugins_are_short() -> None:
    for path in PLUGINS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 66, path.name
