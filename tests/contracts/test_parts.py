"""Every registered part keeps its contract: all names, the example plugins' too, through every check of the conformance kit."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recambio import registry, testing
from recambio.registry import REGISTRIES, Node

REPOSITORY = Path(__file__).resolve().parents[2]
PLUGINS = [
    *sorted((REPOSITORY / "plugins").glob("*.py")),
    REPOSITORY / "plugins" / "installed_example" / "recambio_softplus_squared" / "__init__.py",
]

GIVEN: dict[tuple[str, str], dict[str, Any]] = {
    ("attention", "grouped_query"): {"n_groups": 2},
    ("positions", "chain"): {"schemes": ["rope", {"name": "t5", "n_buckets": 16}, "learned"]},
}
"""Options that a part can't be built without."""

VARIANTS: list[tuple[str, Node]] = [
    ("attention", {"name": "multi_head", "bias": False}),
    ("attention", {"name": "grouped_query", "n_groups": 4}),
    ("normalization", {"name": "layer_norm", "bias": False}),
    ("positions", {"name": "rope", "fraction": 0.5, "base": 500.0}),
    ("positions", {"name": "t5", "n_buckets": 8, "max_distance": 20}),
    ("feed_forward", {"name": "glu", "bias": True, "activation": {"name": "gelu", "approximate": "tanh"}}),
    ("feed_forward", {"name": "mlp", "bias": False}),
    ("embedding", {"name": "standard", "output_bias": True, "scale": False}),
]
"""Options that change what a part computes."""

COMPILED = [
    ("attention", "multi_head", "encoder_self"),
    ("positions", "rope", "encoder"),
    ("feed_forward", "swiglu", "encoder_feed_forward"),
]
"""What is compiled in every run; the others are in the slow one."""


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
        (kind, {"name": name, **GIVEN.get((kind, name), {})})
        for kind in testing.SITES
        for name in [*REGISTRIES[kind].names(), *REGISTRIES[kind].presets]
    ),
    *VARIANTS,
]
_CASES = [
    pytest.param(kind, node, site, check, id=f"{kind}-{_id}-{site}-{check}", marks=[pytest.mark.slow] * is_slow)
    for kind, node in _PARTS
    for site in testing.sites(kind, node)
    for check in testing.check_names(kind, site, slow=True)
    for name in [node if isinstance(node, str) else node["name"]]
    for _id in [f"{name}+" if (kind, node) in VARIANTS else name]
    for is_slow in [testing.CHECKS[check].slow and (kind, _id, site) not in COMPILED]
]
registry.restore(_without_plugins)


@pytest.fixture(autouse=True)
def _plugins() -> Iterator[None]:
    saved = registry.snapshot()
    registry.restore(_with_plugins)
    yield
    registry.restore(saved)


@pytest.mark.parametrize(("kind", "node", "site", "check"), _CASES)
def test_part(kind: str, node: Node, site: str, check: str) -> None:
    outcome = testing.run_one(kind, node, site, check)
    assert outcome.problem is None, outcome.problem


def test_every_kind_of_component_is_covered() -> None:
    folders = {p.parent.name for p in (REPOSITORY / "src" / "recambio" / "components").glob("*/base.py")}
    assert folders == set(testing.SITES)


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
            assert card.paper or name == "chain", f"{kind} {name}: no paper"
            assert card.fast_path or entry.origin, f"{kind} {name}: no fast path"


def test_the_installable_example_points_at_its_package() -> None:
    folder = REPOSITORY / "plugins" / "installed_example"
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (target,) = project["entry-points"]["recambio.plugins"].values()
    assert (folder / target / "__init__.py").is_file()


def test_the_example_plugins_are_short() -> None:
    for path in PLUGINS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 66, path.name
