"""``recambio contrast`` on a run with random weights: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recambio import registry
from recambio.cli import main
from recambio.config import load as load_config
from recambio.experiment import run_folder
from recambio.experiment.build import build_model
from recambio.experiment.run_folder import Manifest
from recambio.model.weights import save_weights

CONFIG = """
data: {max_length: 32, tokenizer: {name: unigram, vocabulary_size: 320}}
model: {d_model: 16, n_heads: 2, d_ff: 24, encoder: {n_layers: 1}, decoder: {n_layers: 1}}
training: {max_steps: 5}
trainer: {threads: 1, accelerator: cpu}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run."""
    monkeypatch.chdir(tmp_path)
    registry.load_builtins()
    Path("plain.yaml").write_text(CONFIG)
    config = load_config("plain.yaml", ["name=plain"])
    folder = run_folder.create(Manifest("plain", 1, versions={}, git=None))
    tokenizer = registry.TOKENIZER.create(config.values.data.tokenizer, seed=1)
    lines = [f"el gato número {i} come pescado, y también el perro de {i * 7} casas." for i in range(200)]
    tokenizer.train(lines, lines, len(lines))
    tokenizer.save(folder)
    config.save(folder / "config.yaml")
    save_weights(build_model(config, tokenizer), folder / "weights.safetensors")
    return folder


def test_from_items_to_table_file_and_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("houses.tsv").write_text(
        "# the gender of houses\nA red house.\tUna casa roja.\tUna casa rojo.\tUn casa roja.\n"
        "The house.\tLa casa.\tEl casa.\n",
        encoding="utf-8",
    )
    assert main(["contrast", "plain", "--items", "houses.tsv"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "runs/plain on items (2 items)" and table[2].split()[0] == "houses" and "41.7 %" in table[2]

    assert main(["contrast", "runs/plain", "--items", "houses.tsv", "--source", "hand", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "eval" / "contrastive.json").read_text())
    sources = printed["contrastive"]["sources"]
    assert list(sources) == ["hand", "items"] and len(sources["hand"]["phenomena"]) >= 10
    houses = sources["items"]["phenomena"]["houses"]
    assert houses["description"] == "the gender of houses" and houses["n"] == 2
    n_right = sum(
        item["log_probabilities"][0] > max(item["log_probabilities"][1:]) for item in sources["items"]["items"]
    )
    assert houses["accuracy"] == 50 * n_right
    page = (folder / "report.html").read_text()
    assert "Right against minimally wrong" in page and "the gender of houses" in page

    # a set of that name keeps its scores
    (folder / "eval" / "contrastive.json").write_text('{"sets": {"contrastive": {}}}')
    assert main(["contrast", "plain", "--items", "houses.tsv"]) == 2
    assert "holds the scores of a test set called 'contrastive'" in capsys.readouterr().err


def test_what_is_wrong_is_said_by_file_and_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.tsv").write_text("A cat.\tUn gato.\n")
    assert main(["contrast", "plain", "--items", "bad.tsv", "--items", "gone.tsv"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: bad.tsv:1: has 2 columns; an item is source, right translation")
    assert second.startswith("error: gone.tsv: ")
    assert main(["contrast", "plain", "--source", "foot"]) == 2
    assert not (folder / "eval").exists()
