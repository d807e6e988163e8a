"""Starting from another run's weights: what must be the same, what may start anew, and which vocabulary is used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from recambio import registry
from recambio.config import Config
from recambio.config import load as load_config
from recambio.data.tokenizers.base import Tokenizer, load_tokenizer
from recambio.errors import InputError
from recambio.experiment import run_folder
from recambio.experiment.build import build_model
from recambio.experiment.init_from import initial_weights
from recambio.experiment.run_folder import Manifest
from recambio.experiment.summary import start_lines
from recambio.model.transformer import Transformer
from recambio.model.weights import save_weights

registry.load_builtins()

BASE = """
data: {max_length: 32}
model: {d_model: 16, n_heads: 2, d_ff: 24, encoder: {n_layers: 2}, decoder: {n_layers: 2}}
training: {max_steps: 5}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a config, and a run of it with weights unlike those that another seed draws."""
    monkeypatch.chdir(tmp_path)
    Path("plain.yaml").write_text(BASE)
    config = load_config("plain.yaml", ["data.tokenizer.vocabulary_size=320", "seed=7", "name=old"])
    folder = run_folder.create(Manifest("old", 7, versions={}, git=None))
    tokenizer: Tokenizer = registry.TOKENIZER.create(config.values.data.tokenizer, seed=7)
    lines = [f"the cat number {i} eats fish, and so does the dog of {i * 7} people." for i in range(200)]
    tokenizer.train(lines, lines, len(lines))
    tokenizer.save(folder)
    config.save(folder / "config.yaml")
    save_weights(build_model(config, tokenizer), folder / "weights.safetensors")


def new(*overrides: str) -> Config:
    return load_config("plain.yaml", ["training.init_from=runs/old", *overrides])


def models(config: Config) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights of the model as drawn, as filled, and of the run that it was filled from."""
    initial = initial_weights(config)
    assert initial is not None
    model = build_model(config, initial.tokenizer)
    drawn = {k: v.clone() for k, v in model.state_dict().items()}
    initial.fill(model)
    old = build_model(load_config("runs/old/config.yaml"), load_tokenizer(Path("runs/old")))
    return drawn, model.state_dict(), old.state_dict()


def test_all_weights_come_from_the_run() -> None:
    drawn, filled, old = models(new("model.dropout=0.3"))
    assert filled.keys() == old.keys()
    assert all(torch.equal(filled[k], old[k]) for k in old)
    assert not torch.equal(drawn["embedding.source.weight"], old["embedding.source.weight"])


def test_a_file_of_a_run_serves_too() -> None:
    config = load_config("plain.yaml", ["training.init_from=runs/old/weights.safetensors"])
    _, filled, old = models(config)
    assert all(torch.equal(filled[k], old[k]) for k in old)


@pytest.mark.parametrize(
    ("overrides", "anew", "keys"),
    [
        (["model.decoder.attention=cosine"], ["decoder.layers.0.self_attention.", "decoder.layers.1.self_attention."],
         ["model.decoder.attention"]),
        (["model.encoder.feed_forward=[swiglu, mlp]"], ["encoder.layers.0.feed_forward."],
         ["model.encoder.feed_forward (layers 0)"]),
        (["model.encoder.normalization=scale_norm"], ["encoder.block."], ["model.encoder.normalization"]),
        (["model.encoder.positions=t5", "model.decoder.block=rezero"], ["encoder.positions.", "decoder.block."],
         ["model.encoder.positions", "model.decoder.block"]),
        (["model.embedding.tie=none"], ["embedding."], ["model.embedding"]),
        (["model.decoder.cross_attention={name: grouped_query, n_groups: 1}"],
         ["decoder.layers.0.cross_attention.", "decoder.layers.1.cross_attention."],
         ["model.decoder.cross_attention"]),
    ],
)  # fmt: skip
def test_swapped_parts_start_anew_and_nothing_else_does(overrides: list[str], anew: list[str], keys: list[str]) -> None:
    config = new("training.init_partial=true", *overrides)
    initial = initial_weights(config)
    assert initial is not None
    assert initial.describe()["fresh"] == keys
    drawn, filled, old = models(config)
    fresh = [k for k in filled if k.startswith(tuple(anew))]
    assert fresh or "positions" in anew[0]
    for k in filled:
        source = drawn if k in fresh else old
        assert torch.equal(filled[k], source[k]), k
    assert {k for k in old if not k.startswith(tuple(anew))} == {k for k in filled if k not in fresh}


def test_a_swapped_part_is_refused_unless_it_is_asked_for() -> None:
    with pytest.raises(InputError) as caught:
        initial_weights(
            new("model.attention.n_groups=1", "model.attention=grouped_query", "model.decoder.activation=[relu, gelu]")
        )
    remedy = "; name the same, or set training.init_partial=true to start this part anew"
    for stack, key in (("encoder", "attention"), ("decoder", "attention"), ("decoder", "cross_attention")):
        (line,) = [p for p in caught.value.problems if p.startswith(f"model.{stack}.{key}: ")]
        assert line.startswith(f"model.{stack}.{key}: is {{name: grouped_query, n_groups: 1") and line.endswith(remedy)
        assert "but runs/old has {name: multi_head" in line
    assert "model.decoder.activation (layers 1): is {name: gelu}, but runs/old has {name: relu}" + remedy in [
        p.replace("name: gelu, approximate: none", "name: gelu") for p in caught.value.problems
    ]
    assert len(caught.value.problems) == 4


def test_sizes_must_be_the_same_even_for_a_part_of_it() -> None:
    with pytest.raises(InputError) as caught:
        initial_weights(new("training.init_partial=true", "model.d_model=32", "model.encoder.n_layers=3"))
    assert caught.value.problems == [
        "model.d_model: is 32, but runs/old has 16; training.init_from needs the same",
        "model.encoder.n_layers: is 3, but runs/old has 2; training.init_from needs the same",
    ]


def test_the_vocabulary_is_that_of_the_run() -> None:
    config = new()
    initial = initial_weights(config)
    assert initial is not None
    assert initial.tokenizer.fingerprint == load_tokenizer(Path("runs/old")).fingerprint
    # The config that the run saves says what was used, and from where.
    assert config.values.data.tokenizer["vocabulary_size"] == 320
    assert config.origins["data.tokenizer.vocabulary_size"] == "runs/old"
    assert initial_weights(new("data.tokenizer.vocabulary_size=320")) is not None
    with pytest.raises(InputError) as caught:
        initial_weights(new("data.tokenizer.vocabulary_size=400"))
    assert caught.value.problems == [
        "data.tokenizer: is {name: unigram, vocabulary_size: 400}, but training.init_from takes the vocabulary of runs/old, "
        "{name: unigram, vocabulary_size: 320}; leave it out, or name the same"
    ]


def test_the_manifest_names_the_file_by_its_hash() -> None:
    initial = initial_weights(new("training.init_partial=true", "model.encoder.positions=alibi"))
    assert initial is not None
    described = initial.describe()
    digest = hashlib.sha256(Path("runs/old/weights.safetensors").read_bytes()).hexdigest()
    assert described["path"] == "runs/old/weights.safetensors" and described["sha256"] == digest
    assert start_lines(described) == ["started from runs/old/weights.safetensors; anew: model.encoder.positions"]
    assert start_lines({**described, "fresh": []}) == ["started from runs/old/weights.safetensors"]
    assert start_lines(None) == []


def test_only_a_block_that_starts_anew_is_calibrated() -> None:
    initial = initial_weights(new("training.init_partial=true", "model.decoder.block=admin"))
    assert initial is not None and initial.drawn_blocks() == ["decoder"]
    config = load_config("plain.yaml", ["model.block=admin", "data.tokenizer.vocabulary_size=320"])
    model: Transformer = build_model(config, load_tokenizer(Path("runs/old")))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    tokens = torch.randint(4, 50, (3, 7))

    def run() -> None:
        model(tokens, tokens)

    assert not model.calibrate(run, [])
    assert model.calibrate(run, ["decoder"])
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"decoder"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("newest", "training.init_from: 'newest' is another run after the next start; name the run folder"),
        ("runs/odl", "training.init_from: runs/odl: no such run. Did you mean 'runs/old'? Under runs/: old"),
        ("lost.safetensors", "training.init_from: lost.safetensors lies in no run folder, so its model and vocabulary are unknown; "
         "put it into the folder of the run that it is from"),
        ("runs/half", "training.init_from: runs/half has no weights.safetensors, for it didn't finish; "
         "name runs/half/checkpoints/best.safetensors or last.ckpt beside it, if there is one"),
    ],
)  # fmt: skip
def test_what_is_no_source_is_one_line(value: str, text: str) -> None:
    Path("lost.safetensors").write_bytes(Path("runs/old/weights.safetensors").read_bytes())
    if value == "runs/half":
        run_folder.create(Manifest("half", 1, versions={}, git=None))
    with pytest.raises(InputError) as caught:
        initial_weights(load_config("plain.yaml", [f"training.init_from={value}"]))
    assert caught.value.problems == [text]


def test_partial_without_a_source_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^training\.init_partial: says how to take over training\.init_from, which isn't set"
    ):
        load_config("plain.yaml", ["training.init_partial=true"])


def test_a_part_that_is_unknown_here_is_named() -> None:
    text: Any = Path("runs/old/config.yaml").read_text()
    Path("runs/old/config.yaml").write_text(text.replace("name: multi_head", "name: my_attention", 1))
    with pytest.raises(
        InputError, match=r"^training\.init_from: runs/old: .*unknown attention 'my_attention'.*plugin of that run"
    ):
        initial_weights(new())
