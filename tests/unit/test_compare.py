"""``recambio compare``: scores and tests from stored hypotheses, seeds as the unit, and what can't be compared."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sacrebleu.metrics.bleu import BLEU as LibraryBLEU
from sacrebleu.significance import PairedTest as LibraryTest

import recambio
from recambio.cli import main
from recambio.evaluation import evaluate_set, write_results
from recambio.evaluation.seeds import welch
from recambio.evaluation.significance import holm

SOURCES = [
    f"the {colour} {thing} number {i} is here"
    for i, (colour, thing) in enumerate([("red", "car"), ("old", "house")] * 30)
]
REFERENCES = [
    f"el {thing} {colour} número {i} está aquí"
    for i, (colour, thing) in enumerate([("rojo", "coche"), ("viejo", "piso")] * 30)
]
CONFIG: dict[str, Any] = {
    "name": "tiny",
    "seed": 1,
    "model": {"d_model": 64, "normalization": {"name": "layer_norm", "eps": 1e-5}},
    "evaluation": {"metrics": ["bleu", {"name": "chrf", "word_order": 2}]},
}


def worsened(every: int, start: int = 0) -> list[str]:
    """The references with an article wrong in some sentences."""
    return [r.replace("el ", "la ", 1) if i % every == start else r for i, r in enumerate(REFERENCES)]


def make_run(
    name: str,
    hypotheses: list[str],
    seed: int = 1,
    norm: str = "layer_norm",
    metrics: list[Any] | None = None,
    references: list[str] = REFERENCES,
    sets: tuple[str, ...] = ("test",),
    **facts: Any,
) -> None:
    config = copy.deepcopy(CONFIG)
    config |= {"name": name, "seed": seed}
    config["model"]["normalization"]["name"] = norm
    if metrics is not None:
        config["evaluation"]["metrics"] = metrics
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    manifest = {"name": name, "seed": seed, "steps": 100, "data": {"hashes": {"train": "abc"}}, **facts}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    nodes = config["evaluation"]["metrics"]
    write_results(folder, [evaluate_set(s, SOURCES, hypotheses, [references], None, nodes) for s in sets])


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    status = main(["compare", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


def as_data(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    status, out, err = run(capsys, *arguments, "--json")
    assert (status, err) == (0, [])
    found: dict[str, Any] = json.loads(out)
    return found


def test_two_runs(capsys):
    make_run("a", worsened(2), sets=("test", "other"))
    make_run("b", worsened(6), norm="rms_norm", steps=120)
    data = as_data(capsys, "a", "b")
    assert list(data["sets"]) == ["test"] and data["baseline"] == "runs/a"
    table = data["sets"]["test"]["metrics"]
    assert list(table) == ["bleu", "chrf++"] and table["chrf++"]["name"] == "chrF2++"
    named = [("a", worsened(2)), ("b", worsened(6))]
    for kind, key in (("ar", "p_randomisation"), ("bs", "p_bootstrap")):
        _, scores = LibraryTest(named, {"bleu": LibraryBLEU()}, [REFERENCES], kind)()
        assert table["bleu"]["runs"][1][key] == scores["BLEU"][1].p_value
    stored = json.loads(Path("runs/b/eval/test.json").read_text(encoding="utf-8"))["sets"]["test"]["bleu"]
    assert {k: table["bleu"]["runs"][1][k] for k in ("score", "low", "high")} == {
        k: stored[k] for k in ("score", "low", "high")
    }
    assert table["bleu"]["signature"] == stored["signature"]
    assert data["differences"]["config"] == {"model.normalization.name": ["layer_norm", "rms_norm"]}
    assert data["differences"]["run"] == {"steps": [100, 120]}

    status, out, err = run(capsys, "runs/a", "runs/b", "--metric", "bleu")
    assert (status, err) == (0, [])
    line = next(line for line in out.splitlines() if line.strip().startswith("runs/b"))
    score = LibraryBLEU().corpus_score(worsened(6), [REFERENCES]).score
    difference = score - LibraryBLEU().corpus_score(worsened(2), [REFERENCES]).score
    assert line.split()[1] == f"{score:.2f}" and line.split()[5] == f"{difference:+.2f}"
    assert "chrF" not in out and "Holm" not in out and "over its seeds" not in out
    assert (
        "not testable: one seed per system; these tests speak of these two runs, not of the parts" in out.splitlines()
    )
    assert "  model.normalization.name  layer_norm  |  rms_norm" in out


def test_identical_translations_are_not_different(capsys):
    make_run("a", worsened(2))
    make_run("b", worsened(2))
    line = as_data(capsys, "a", "b", "--metric", "bleu")["sets"]["test"]["metrics"]["bleu"]["runs"][1]
    assert (line["difference"], line["p_randomisation"], line["p_bootstrap"]) == (0, 1, 1)


def test_several_systems_are_corrected(capsys):
    make_run("a", worsened(2))
    make_run("b", worsened(3), norm="rms_norm")
    make_run("c", worsened(6), norm="none")

    def p(*names: str) -> list[float]:
        lines = as_data(capsys, *names)["sets"]["test"]["metrics"]["bleu"]["runs"]
        return [line["p_randomisation"] for line in lines[1:]]

    alone = p("a", "b") + p("a", "c")
    assert p("a", "b", "c") == holm(alone) != alone
    _, out, _ = run(capsys, "a", "b", "c")
    assert "p-values are Holm-corrected for 2 comparisons with the baseline" in out
    assert "these tests speak of these runs, not of the parts" in out


def test_seeds_are_the_unit_of_a_claim_about_parts(capsys):
    every = {"a": (2, 3, 2), "b": (6, 5, 9)}
    for part, norm in (("a", "layer_norm"), ("b", "rms_norm")):
        for seed, n in enumerate(every[part], 1):
            make_run(f"{part}{seed}", worsened(n, seed % 2), seed, norm)
    names = ["a1", "b1", "a2", "b2", "a3", "b3"]
    data = as_data(capsys, *names)
    assert data["systems"] == [["runs/a1", "runs/a2", "runs/a3"], ["runs/b1", "runs/b2", "runs/b3"]]
    table = data["sets"]["test"]["metrics"]["bleu"]
    scores = {
        part: [LibraryBLEU().corpus_score(worsened(n, s % 2), [REFERENCES]).score for s, n in enumerate(every[part], 1)]
        for part in every
    }
    first, second = table["systems"]
    assert first["n"] == 3 and first["mean"] == pytest.approx(sum(scores["a"]) / 3)
    assert second["p_seeds"] == pytest.approx(welch(scores["a"], scores["b"])) and "p_seeds" not in first
    _, out, _ = run(capsys, *names, "--metric", "bleu")
    assert f"{second['p_seeds']:.4f}" in out and "not testable" not in out

    data = as_data(capsys, "a1", "a2", "b1")
    assert data["sets"]["test"]["metrics"]["bleu"]["systems"][1]["p_seeds"] is None
    _, out, _ = run(capsys, "a1", "a2", "b1")
    assert "not testable: two seeds or more of both systems are needed" in out
    _, out, _ = run(capsys, "a1", "a2")
    assert "one system: the configs differ in nothing but name and seed" in out


def test_a_repeated_seed_is_no_second_seed(capsys):
    make_run("a", worsened(2), seed=1)
    make_run("b", worsened(3), seed=1)
    assert as_data(capsys, "a", "b")["systems"] == [["runs/a"], ["runs/b"]]


def test_a_metric_that_no_run_was_scored_by(capsys):
    make_run("a", worsened(2))
    make_run("b", worsened(6))
    assert as_data(capsys, "a", "b", "--metric", "ter")["sets"]["test"]["metrics"]["ter"]["is_higher_better"] is False
    _, _, err = run(capsys, "a", "b", "--metric", "blue")
    assert len(err) == 1 and "unknown metric 'blue'. Did you mean 'bleu'?" in err[0]


def test_what_can_not_be_compared_is_one_line(capsys):
    make_run("a", worsened(2), metrics=["bleu"])
    make_run("other_tokens", worsened(2), metrics=[{"name": "bleu", "tokenize": "intl"}])
    make_run("other_references", worsened(2), metrics=["bleu"], references=worsened(6))
    make_run("other_set", worsened(2), metrics=["bleu"], sets=("news",))
    make_run("changed", worsened(2), metrics=["bleu"])
    Path("runs/changed/eval/test.hyp").write_text("x\n" * 60, encoding="utf-8")
    make_run("old", worsened(2), metrics=["bleu"])
    path = Path("runs/old/eval/test.json")
    entry = json.loads(path.read_text(encoding="utf-8"))
    del entry["sets"]["test"]["references"]
    path.write_text(json.dumps(entry), encoding="utf-8")
    make_run("unknown", worsened(2), metrics=["bleu"])
    path = Path("runs/unknown/eval/test.json")
    path.write_text(path.read_text(encoding="utf-8").replace("tok:13a", "tok:14"), encoding="utf-8")
    make_run("unknown2", worsened(2), metrics=["bleu"])
    (Path("runs/unknown2/eval/test.json")).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")

    for arguments, expected in (
        (("a", "other_tokens"), "test: bleu has different signatures, so the scores can't be compared: nrefs:1|"),
        (
            ("a", "other_references"),
            "test: runs/a and runs/other_references were scored on different references (sha256 ",
        ),
        (
            ("a", "other_set"),
            "compare: there is no set that every run has scored (runs/a: test; runs/other_set: news); score",
        ),
        (
            ("a", "other_set", "--set", "test"),
            "runs/other_set: has not scored 'test'; recambio eval runs/other_set --set test",
        ),
        (
            ("a", "changed"),
            "runs/changed/eval/test.hyp: has changed since it was scored; score the run again with recambio eval",
        ),
        (
            ("a", "old"),
            "test: runs/old was scored by a version that kept no references; recambio eval runs/old --set test",
        ),
        (("unknown", "unknown2"), "test: no bleu of this version has the signature nrefs:1|"),
        (("a",), "compare: needs at least two runs, the baseline first"),
        (("a", "runs/a"), "compare: the same run is named twice; a run is compared to others"),
        (("a", "b"), "b: no such run."),
    ):
        status, out, err = run(capsys, *arguments)
        assert (status, out, len(err)) == (2, "", 1), (arguments, err)
        assert err[0].startswith(f"error: {expected}")


def test_neither_torch_nor_a_model_is_needed():
    make_run("a", worsened(2))
    make_run("b", worsened(6))
    code = (
        "import sys; from recambio.cli import main; status = main(['compare', 'a', 'b', '--metric', 'bleu']); "
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules; sys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(recambio.__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "") and "BLEU" in done.stdout
