"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell has what it runs in the background ignore ctrl-C, and so do the processes that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--shard 2/4``: every fourth test, so that four machines share the slow run."""
    parser.addoption("--shard", metavar="I/N", help="run the I-th of N parts of the tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests of the other shards out. A test's shard depends on its name alone.

    Of the example plugins' tests, the one on two processes is slow here: contracts/test_parts.py has them in the one pair for all parts.
    """
    for item in items:
        if item.nodeid.startswith("plugins/") and item.name == "test_the_contract[ddp]":
            item.add_marker(pytest.mark.slow)
    shard = config.getoption("--shard")
    if not shard:
        return
    index, _, count = str(shard).partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise pytest.UsageError(f"--shard must be I/N with I from 1 to N, but is {shard}")
    mine = [i for i in items if zlib.crc32(i.nodeid.encode()) % int(count) == int(index) - 1]
    config.hook.pytest_deselected(items=[i for i in items if i not in set(mine)])
    items[:] = mine


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real parallel text; tests that need it skip where it is absent."""
    root = Path(os.environ.get("RECAMBIO_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (root / "tatoeba" / "dev.en").is_file():
        pytest.skip(f"data: no real text under {root} (set RECAMBIO_DATA)")
    return root


@pytest.fixture
def restored_registry() -> Iterator[None]:
    """Undo what a test registers."""
    from recambio import registry

    registry.load_builtins()  # before the snapshot, or restoring it would forget them for good
    saved = registry.snapshot()
    yield
    registry.restore(saved)
