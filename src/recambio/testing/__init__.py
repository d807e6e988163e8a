"""The conformance kit: what every part must keep, whoever wrote it.

    from recambio.testing import check
    check("attention", {"name": "my_attention", "n_rings": 3})

builds the part at every site that its card names, inside a small stack of otherwise plain parts, and raises an
`AssertionError` that names each check it fails. ``recambio plugin check`` prints the same outcomes; `CHECKS` says what each
one proves.

The kit needs no test framework and no data. Everything runs on CPU in a few seconds; what compiles or trains is slow and runs on
request.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from recambio.registry import REGISTRIES, Node
from recambio.testing import (  # noqa: F401  each registers its checks
    cards,
    decoding,
    kinds,
    learning,
    processes,
    scoring,
    searches,
    stack,
    training,
)
from recambio.testing.kit import CHECKS, SITES, CheckInfo, name_of
from recambio.testing.rig import Rig, cross_context, self_context

__all__ = [
    "CHECKS",
    "SITES",
    "CheckInfo",
    "Outcome",
    "Rig",
    "check",
    "check_names",
    "cross_context",
    "run",
    "run_one",
    "run_together",
    "self_context",
    "sites",
]


@dataclass(frozen=True)
class Outcome:
    """What one check found at one site.

    Attributes:
        problem: What is wrong; None if the part passed.
    """

    kind: str
    name: str
    site: str
    check: str
    problem: str | None
    seconds: float


def sites(kind: str, node: Node) -> tuple[str, ...]:
    """Where the kit tries a part: everywhere its kind goes, or where its card says it may stand."""
    declared = REGISTRIES[kind].get(name_of(node)).card.sites
    return tuple(site for site in SITES[kind] if not declared or site in declared)


def check_names(kind: str, site: str, slow: bool = False) -> list[str]:
    """The checks that apply to a kind at a site."""
    return [
        name
        for name, info in CHECKS.items()
        if kind in info.kinds and (info.where is None or site in info.where) and (slow or not info.slow)
    ]


def run(kind: str, node: Node, checks: Sequence[str] | None = None, slow: bool = False) -> Iterator[Outcome]:
    """Run checks on a part, each at all of its sites before the next.

    Args:
        kind: The registry's kind.
        node: The part's name, or ``{name: ..., option: ...}``.
        checks: Names from `CHECKS`; by default all that apply.
        slow: Whether the default includes slow ones.

    Raises:
        InputError: The node names no part, or gives it wrong options.
        ValueError: The kind has no checks, or a check's name is unknown.
    """
    if kind not in SITES:
        raise ValueError(f"no checks for kind {kind!r}; there are some for {', '.join(SITES)}")
    if unknown := set(checks or ()) - CHECKS.keys():
        raise ValueError(f"unknown checks {sorted(unknown)}; there are {', '.join(CHECKS)}")
    REGISTRIES[kind].resolve(node)
    standing = sites(kind, node)
    for name in CHECKS if checks is None else (n for n in CHECKS if n in checks):
        where = [site for site in standing if name in check_names(kind, site, slow or checks is not None)]
        if name == processes.ddp.__name__:
            yield from run_together([(kind, node, site) for site in where])
        else:
            yield from (run_one(kind, node, site, name) for site in where)


def check(kind: str, node: Node, checks: Sequence[str] | None = None, slow: bool = False) -> list[Outcome]:
    """Prove a part: like :func:`run`, but what fails is raised, all of it at once.

    Raises:
        AssertionError: One line for each failed check.
    """
    outcomes = list(run(kind, node, checks, slow))
    if failed := [f"{kind} {o.name} at {o.site}: {o.check}: {o.problem}" for o in outcomes if o.problem]:
        raise AssertionError("\n".join(failed))
    return outcomes


def run_together(cases: Sequence[processes.Case]) -> Iterator[Outcome]:
    """Run the check ``ddp`` on any number of parts in one pair of processes, whose start takes longer than the check."""
    start = time.perf_counter()
    for (kind, node, site), problem in zip(cases, processes.together(cases), strict=True):
        now = time.perf_counter()
        yield Outcome(kind, name_of(node), site, processes.ddp.__name__, problem, now - start)
        start = now


def run_one(kind: str, node: Node, site: str, name: str) -> Outcome:
    """Run one check on a part at one site; whatever it raises is the outcome's problem."""
    start = time.perf_counter()
    problem = None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            CHECKS[name].function(kind, node, site)
        except AssertionError as error:
            problem = str(error)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    return Outcome(kind, name_of(node), site, name, problem, time.perf_counter() - start)
