"""Every YAML in experiments/ builds its model at full size, and trains a step on a corpus of a few lines laid out as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recambio import config
from recambio.config import Config, source
from recambio.data.grammar import generate
from recambio.experiment import train
from recambio.experiment.build import build_model, check_parts, model_spec
from recambio.experiment.translator import load
from recambio.model import Transformer

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
FRAGMENTS = FOLDER / "data"
"""What experiments extend and what is none itself."""

EXPERIMENTS = sorted(p for p in FOLDER.rglob("*.yaml") if not {FRAGMENTS, FOLDER / "grids"} & set(p.parents))
PAGE = (FOLDER.parent / "docs" / "experiments.md").read_text(encoding="utf-8")

SMALL = (
    *("model.d_model=16", "model.n_heads=2", "model.d_ff=16", "data.tokenizer.vocabulary_size=400"),
    *("data.batch_tokens=512", "decoding.batch_tokens=512", "trainer.accelerator=cpu"),
    # An untrained model doesn't end a sentence.
    *("decoding.max_ratio=0.1", "decoding.max_extra=4"),
    # Compiled steps have tests of their own, and take a minute to compile.
    "trainer.compile=false",
    # Ends after the first step, with the schedule of the whole run.
    "training.max_minutes=1e-6",
)


def lay_out(loaded: Config, root: Path) -> None:
    """A few pairs at every place that the config's corpus and test sets name below ``data.root``."""
    pairs = ((p.source, p.target) for p in generate("train", 2_000, seed=5))
    corpus = loaded.values.data.corpus
    for part in corpus.get("parts", [corpus]):
        for split, count in (("train", 120), ("dev", 4), ("test", 4)):
            if part["name"] == "moses" and part[split] is not None:
                write_sides(root / f"{part[split]}.en", root / f"{part[split]}.es", pairs, count)
            elif part["name"] == "huggingface":
                path = root / part["path"] / part["config"] / f"{part[split]}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = [{"translation": {"en": s, "es": t}} for s, t in islice(pairs, count)]
                path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    for entry in loaded.values.evaluation.sets.values():
        assert isinstance(entry.reference, str)
        write_sides(root / entry.source, root / entry.reference, pairs, 4)


def write_sides(source: Path, target: Path, pairs: Iterator[tuple[str, str]], count: int) -> None:
    chosen = list(islice(pairs, count))
    for path, side in ((source, 0), (target, 1)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{pair[side]}\n" for pair in chosen), encoding="utf-8")


def sizes(loaded: Config) -> list[str]:
    """Overrides of the sizes that not every experiment has."""
    found = list(SMALL)
    if loaded.values.data.corpus["name"] == "embedded":
        found += [f"data.corpus.{split}_size={n}" for split, n in (("train", 120), ("dev", 4), ("test", 2))]
    if loaded.values.training.target_batch_tokens is not None:
        found.append("training.target_batch_tokens=300")
    return found


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_it_trains_a_step(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RECAMBIO_DATA", str(tmp_path / "data"))
    full = config.load(path)
    check_parts(full)
    assert full.values.name == path.stem, "a run of one experiment must not pass for another's"
    lay_out(full, tmp_path / "data")
    loaded = config.load(path, sizes(full))
    run = train.run(loaded, run=tmp_path / "run")

    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["finished"] and manifest["steps"] == 1
    untrained = build_model(loaded, load(run).tokenizer).state_dict()
    trained = load_file(run / "weights.safetensors")
    assert all(bool(weight.isfinite().all()) for weight in trained.values())
    assert any(not torch.equal(weight, untrained[name]) for name, weight in trained.items())
    scored = {name for file in (run / "eval").glob("*.json") for name in json.loads(file.read_text())["sets"]}
    assert scored and scored >= set(loaded.values.evaluation.sets)


def test_the_page_lists_every_experiment_with_the_size_of_its_model() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d,]+) \|$", PAGE, re.M)
    built = {}
    for path in EXPERIMENTS:
        loaded = config.load(path)
        size = loaded.values.data.tokenizer["vocabulary_size"]
        with torch.device("meta"):  # full size, no memory
            model = Transformer(model_spec(loaded, size, size, loaded.values.data.tokenizer["joint"]))
        built[path.stem] = f"{sum(p.numel() for p in model.parameters()):,}"
    assert dict(rows) == built and len(rows) == len(built)


def test_every_fragment_is_part_of_an_experiment() -> None:
    used = {layer.origin for path in EXPERIMENTS for layer in source.chain(path)}
    assert {source.shown(path) for path in FRAGMENTS.glob("*.yaml")} <= used


def test_the_config_on_the_page_joins_a_recipe_and_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER.parent)
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    (tmp_path / "big.yaml").write_text(block, encoding="utf-8")
    joined = config.load(tmp_path / "big.yaml").leaves()
    big, corpus = (config.load(FOLDER / f"{name}.yaml").leaves() for name in ("transformer-big", "wmt13"))
    for leaves, start in ((big, ("model.", "training.")), (corpus, ("data.corpus.", "data.tokenizer.", "evaluation."))):
        assert {k: v for k, v in joined.items() if k.startswith(start)} == {
            k: v for k, v in leaves.items() if k.startswith(start)
        }
