"""docs/data.md: every config in it is one, and every corpus is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from recambio import config, registry
from recambio.data.pairs import SUFFIXES
from recambio.registry import CORPUS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r"name: (\w+)", block)[1])
def test_every_config_is_taken_and_builds(block: str, tmp_path: Path) -> None:
    values = yaml.safe_load(block)
    loaded = config.from_dict({**values, "training": {"max_steps": 1}}, check_hardware=False)
    corpus = CORPUS.create(loaded.values.data.corpus, root=tmp_path, source_language="en", target_language="es")
    assert "train" in corpus.splits() and "dev" in corpus.splits()


def test_every_corpus_is_shown() -> None:
    registry.load_builtins()
    table = re.findall(r"^\| \[?`(\w+)`", PAGE.split("## Formats")[0], re.M)
    assert sorted(table) == CORPUS.names()
    shown = {name for block in BLOCKS for name in re.findall(r"name: (\w+)", block)}
    assert shown >= set(CORPUS.names()) - {"embedded"}
    for suffix in SUFFIXES:
        assert f"`train.en{suffix}`" in PAGE
