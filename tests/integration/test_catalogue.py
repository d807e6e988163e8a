"""docs/parts.md is made from the cards, and says what they say today."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recambio import config, registry
from recambio.cli.components import in_config
from recambio.registry import REGISTRIES

registry.load_builtins()


def test_the_catalogue_is_what_the_cards_say(repository: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "recambio", "components", "--markdown"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    page = (repository / "docs" / "parts.md").read_text(encoding="utf-8")
    assert page == printed, "docs/parts.md is not what the cards say: run make docs"
    anchors = {line[4:].replace(" ", "-") for line in page.splitlines() if line.startswith("### ")}
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) == anchors
    for link in re.findall(r"\]\(([\w./]+)\)", page):
        assert (repository / "docs" / link).is_file(), link


@pytest.mark.parametrize("kind", REGISTRIES)
def test_what_the_catalogue_writes_into_a_config_is_taken(kind: str) -> None:
    for name in [*REGISTRIES[kind].names(), *REGISTRIES[kind].presets]:
        sites = REGISTRIES[kind].get(name).card.sites
        values = yaml.safe_load("{" + in_config(kind, sites, REGISTRIES[kind].example(name)) + "}")
        training = {"max_steps": 1, **values.get("training", {})}
        loaded = config.from_dict({**values, "training": training}, check_hardware=False)
        found = str(loaded.to_dict())
        assert f"'name': '{REGISTRIES[kind].get(name).name}'" in found, name
