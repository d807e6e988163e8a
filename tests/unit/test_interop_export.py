"""What needs no other engine: one file that says what it is, the way to Marian and back, the commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from recambio.cli import main
from recambio.config.build import from_dict
from recambio.experiment.build import model_spec
from recambio.experiment.translator import load
from recambio.interop import export, marian_import
from recambio.model import Transformer
from tests.unit.interop_runs import make_run


def test_one_file_holds_the_model(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", positions="rope", feed_forward="swiglu")
    path = export.run(folder, "safetensors")
    assert path == folder / "export" / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file handle, not a dict)
    tied = json.loads(metadata["tied"])
    assert tied == {n: "embedding.source.weight" for n in ("embedding.target.weight", "embedding.projection.weight")}
    assert not set(tied) & set(tensors)
    sizes = json.loads(metadata["vocabulary"])
    config = from_dict(json.loads(metadata["config"]), check_hardware=False)
    model = Transformer(model_spec(config, sizes["source"], sizes["target"], sizes["joint"])).eval()
    model.load_state_dict({**tensors, **{name: tensors[stored] for name, stored in tied.items()}})
    run = load(folder, device="cpu")
    assert sizes == {
        "source": run.tokenizer.source_vocabulary_size,
        "target": run.tokenizer.target_vocabulary_size,
        "joint": True,
    }
    source, target = torch.randint(4, 300, (2, 7)), torch.randint(4, 300, (2, 5))
    with torch.no_grad():
        torch.testing.assert_close(model(source, target)[0], run.model(source, target)[0])


def test_two_vocabularies_share_less(tmp_path: Path) -> None:
    path = export.run(make_run(tmp_path / "run", joint=False), "safetensors", tmp_path / "one.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        assert "embedding.source.weight" in file.keys()  # noqa: SIM118
    assert json.loads(metadata["tied"]) == {"embedding.projection.weight": "embedding.target.weight"}
    assert json.loads(metadata["vocabulary"])["joint"] is False


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_a_run_comes_back_from_marian(tmp_path: Path, layout: str) -> None:
    """Without the peer: the import, which permutes nothing, undoes what the export wrote."""
    folder = make_run(tmp_path / "run", positions={"name": "sinusoidal", "layout": layout}, activation="silu")
    back = marian_import.run(export.run(folder, "marian", tmp_path / "out"), tmp_path / "back")
    first, second = load(folder, device="cpu"), load(back, device="cpu")
    assert second.config.values.model.positions == {"name": "sinusoidal", "layout": "half"}
    source, target = torch.randint(4, 300, (2, 9)), torch.randint(4, 300, (2, 6))
    with torch.no_grad():
        logits = [run.model.logits(run.model(source, target)[0]) for run in (first, second)]
    torch.testing.assert_close(logits[1], logits[0], atol=1e-5, rtol=1e-5)
    lines = ["The cat eats fish.", "", "My sister sees 7 ñandúes € — 猫"]
    assert second.tokenizer.encode(lines, "source") == first.tokenizer.encode(lines, "source")
    assert second.translate(lines) == [text.strip() for text in first.translate(lines)]


def test_a_search_that_generate_lacks_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    search = {"name": "beam", "width": 2, "normalize": "gnmt", "stop": "exact"}
    with caplog.at_level("WARNING", logger="recambio"):
        place = export.run(make_run(tmp_path / "run", search=search), "marian", tmp_path / "out")
    assert [record.message.split(" (")[1] for record in caplog.records] == [
        "normalize: average), not by the gnmt rule",
        "stop: width)",
    ]
    assert json.loads((place / "generation_config.json").read_text())["num_beams"] == 2


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "made")
    assert main(["export", "made", "--to", "marian"]) == 0
    assert main(["import", "marian", "made/export/marian", "--out", "runs/back"]) == 0
    assert capsys.readouterr().out.split() == [str(Path("made", "export", "marian")), str(Path("runs", "back"))]
    Path("in.txt").write_text("The cat eats fish.\n\nA dog sees it.\n")
    outputs = []
    for run in ("made", "runs/back"):
        assert main(["translate", run, "in.txt"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] and len(outputs[0].splitlines()) == 3
    Path("in.es").write_text("El gato come pescado.\n\nUn perro lo ve.\n")
    assert main(["eval", "runs/back", "--source", "in.txt", "--reference", "in.es", "--json"]) == 0
    assert '"chrf"' in capsys.readouterr().out
    for arguments, expected in (
        (["export", "made"], "error: --to: say which format: safetensors, marian, ctranslate2"),
        (["export", "made", "--to", "marian"], "exists already; remove it, or name another place"),
        (["import", "marian", "made/export/marian", "--out", "runs/back"], "error: --out runs/back: exists already"),
        (["import", "marian", "nowhere"], "nowhere/config.json: no such file; name the folder of a Marian checkpoint"),
        (
            ["translate", "made", "--engine", "marian"],
            "--engine marian: no such engine; there is recambio, ctranslate2",
        ),
        (["translate", "made", "--model", "x"], "--model: is an exported model; add --engine ctranslate2"),
    ):
        assert main(arguments) == 2
        assert expected in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    for arguments in (["export", "made", "--to", "ctranslate2"], ["translate", "made", "--engine", "ctranslate2"]):
        assert main(arguments) == 2
        assert (
            "ctranslate2: the package is not installed; pip install 'recambio[ctranslate2]'" in capsys.readouterr().err
        )
