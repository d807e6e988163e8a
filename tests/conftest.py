"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


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
