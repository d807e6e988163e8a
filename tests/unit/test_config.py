"""Configs: composing, overriding, origins, and every error's text. Parts are small fakes: no torch here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recambio import config, registry
from recambio.config import schema, source
from recambio.errors import InputError

Files = Callable[..., Path]


class FakeActivation:
    """Contract of activations here."""


@pytest.fixture(autouse=True)
def parts(restored_registry: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Registries with small parts only, and an empty working folder."""
    monkeypatch.setattr(registry, "load_builtins", lambda: None)
    monkeypatch.setattr(schema, "default_cleaning", lambda: [{"name": "length"}, {"name": "ratio"}])
    for kind in registry.REGISTRIES.values():
        monkeypatch.setattr(kind, "contract", None)
        monkeypatch.setattr(kind, "entries", {})
        monkeypatch.setattr(kind, "presets", {})
    monkeypatch.setitem(registry.KIND_OF_CONTRACT, FakeActivation, "activation")

    from recambio.components.attention.base import Attention
    from recambio.components.positions.base import PositionalEncoding

    def add(kind: str, name: str, init: Callable[..., None] | None = None, **card: Any) -> None:
        bases = {"attention": (Attention,), "positions": (PositionalEncoding,)}.get(kind, ())
        cls = type(name, bases, {"__init__": init or _bare})
        registry.REGISTRIES[kind].register(name, registry.Card(claim=name, **card))(cls)

    for kind, name in [
        *[("normalization", "rms_norm"), ("positions", "sinusoidal"), ("positions", "none")],
        *[("activation", "relu"), ("block", "pre_norm"), ("corpus", "embedded"), ("cleaning", "ratio")],
        *[("optimizer", "adamw"), ("schedule", "inverse_sqrt"), ("search", "greedy")],
        *[("metric", "bleu"), ("metric", "chrf"), ("metric", "ter")],
    ]:
        add(kind, name)
    add("attention", "multi_head", _multi_head)
    add("attention", "grouped_query", _grouped_query)
    add("attention", "averaged", sites=("decoder_self",))
    registry.ATTENTION.preset("multi_query", "grouped_query", n_groups=1)
    add("normalization", "layer_norm", _layer_norm)
    add("feed_forward", "mlp", _mlp)
    add("activation", "swish", _swish)
    add("embedding", "standard", _embedding)
    add("cleaning", "length", _length)
    add("tokenizer", "unigram", _tokenizer)
    add("loss", "label_smoothing", _loss)
    add("search", "beam", _beam)
    monkeypatch.chdir(tmp_path)


def _bare(self: Any) -> None: ...
def _multi_head(self: Any, d_model: int, bias: bool = True, dropout_scores: float = 0.0) -> None: ...
def _grouped_query(self: Any, d_model: int, n_groups: int = 2, bias: bool = True) -> None: ...
def _layer_norm(self: Any, dim: int, eps: float = 1e-5) -> None: ...
def _mlp(self: Any, d_model: int, activation: FakeActivation, widths: tuple[int, ...] = (1, 2)) -> None: ...
def _swish(self: Any, beta: float = 1.0) -> None: ...
def _embedding(self: Any, d_model: int, tie: Literal["all", "none"] = "all") -> None: ...
def _length(self: Any, most: int = 200) -> None: ...
def _tokenizer(self: Any, vocabulary_size: int = 100) -> None: ...
def _loss(self: Any, smoothing: float = 0.1) -> None: ...
def _beam(self: Any, width: int = 4, length_penalty: float = 1.0) -> None: ...


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """files(name=text, ...): writes each as NAME.yaml in the working folder; returns the last."""

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(text, encoding="utf-8")
        return Path(path.name)

    return write


STEPS = "training: {max_steps: 10}\n"


def problems(path: Path | str, *overrides: str, **options: Any) -> list[str]:
    """What loading reports."""
    with pytest.raises(InputError) as caught:
        config.load(path, overrides, **options)
    assert all("\n" not in p for p in caught.value.problems)
    return caught.value.problems


def test_defaults_and_the_name(files: Files) -> None:
    loaded = config.load(files(small=STEPS))
    assert loaded.values.name == "small"
    assert loaded.values.model.attention == {"name": "multi_head", "bias": True, "dropout_scores": 0.0}
    assert loaded.values.model.encoder.attention is None
    assert loaded.values.model.feed_forward == {"name": "mlp", "widths": [1, 2]}
    assert loaded.values.data.cleaning == [{"name": "length", "most": 200}, {"name": "ratio"}]
    assert loaded.values.decoding.search == {"name": "beam", "width": 4, "length_penalty": 1.0}
    assert loaded.origins["training.max_steps"] == "small.yaml:1"
    assert loaded.origins["model.attention.bias"] == "default"
    assert set(loaded.origins) == set(loaded.leaves())


def test_every_default_is_of_its_own_type_and_in_its_own_range(files: Files) -> None:
    from recambio.config import check

    values = schema.defaults(schema.RunConfig)
    assert list(check.schema_problems(values)) == []
    assert list(check.cross_problems(values)) == ["training: has no limit; set max_steps, max_epochs or max_minutes"]


def test_a_changed_name_drops_the_old_options_and_the_same_name_keeps_them(files: Files) -> None:
    path = files(
        base=STEPS + "model:\n  attention: {name: grouped_query, n_groups: 4}\n",
        same="extends: base.yaml\nmodel: {attention: {name: grouped_query, bias: false}}\n",
        options="extends: base.yaml\nmodel: {attention: {bias: false}}\n",
        other="extends: base\nmodel:\n  attention: multi_head\n",
    )
    merged = {"name": "grouped_query", "n_groups": 4, "bias": False}
    assert config.load("same.yaml").values.model.attention == merged
    assert config.load("options").values.model.attention == merged
    other = config.load(path)
    assert other.values.model.attention == {"name": "multi_head", "bias": True, "dropout_scores": 0.0}
    assert other.origins["model.attention.name"] == "other.yaml:3"
    assert other.origins["model.attention.bias"] == "default"
    assert config.load("base").origins["model.attention.n_groups"] == "base.yaml:3"


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.attention=grouped_query", "model.attention.n_groups=8"],
        ["model.attention.n_groups=8", "model.attention=grouped_query"],
        ["model.attention.n_groups=8", "model.attention.name=grouped_query"],
        ["model.attention={name: grouped_query, n_groups: 8}"],
        ["model.attention={name: grouped_query}", "model.attention.n_groups=8"],
    ],
)
def test_overrides_of_a_part_in_any_order(files: Files, overrides: list[str]) -> None:
    loaded = config.load(files(a=STEPS + "model: {attention: {bias: false}}\n"), overrides)
    assert loaded.values.model.attention == {"name": "grouped_query", "n_groups": 8, "bias": True}
    assert loaded.origins["model.attention.n_groups"] == "command line"
    assert loaded.origins["model.attention.bias"] == "default"


def test_an_option_of_a_site_starts_from_the_part_it_inherits(files: Files) -> None:
    path = files(a=STEPS + "model: {attention: {name: grouped_query, n_groups: 8}}\n")
    loaded = config.load(path, ["model.encoder.attention.bias=false"])
    assert loaded.values.model.encoder.attention == {"name": "grouped_query", "n_groups": 8, "bias": False}
    assert loaded.values.model.attention["bias"] is True
    assert loaded.values.model.decoder.attention is None
    assert loaded.origins["model.encoder.attention.bias"] == "command line"
    assert loaded.origins["model.encoder.attention.n_groups"] == "a.yaml:2"
    both = config.load(path, ["model.encoder.attention.bias=false", "model.attention=multi_head"])
    assert both.values.model.encoder.attention == {"name": "multi_head", "bias": False, "dropout_scores": 0.0}


def test_a_site_that_names_the_inherited_part_keeps_its_own_options_only(files: Files) -> None:
    path = files(
        a=STEPS + "model: {attention: {name: grouped_query, n_groups: 8}, encoder: {attention: grouped_query}}\n"
    )
    assert config.load(path).values.model.encoder.attention == {"name": "grouped_query", "n_groups": 2, "bias": True}


def test_a_part_within_a_part(files: Files) -> None:
    path = files(a=STEPS + "model: {feed_forward: {activation: swish}}\n")
    assert config.load(path).values.model.feed_forward["activation"] == {"name": "swish", "beta": 1.0}
    beta = config.load(path, ["model.feed_forward.activation.beta=2"])
    assert beta.values.model.feed_forward["activation"] == {"name": "swish", "beta": 2}
    relu = config.load(path, ["model.feed_forward.activation=relu"])
    assert relu.values.model.feed_forward["activation"] == {"name": "relu"}
    assert problems(path, "model.feed_forward.activation.gamma=2") == [
        "model.feed_forward.activation.gamma: activation 'swish' has no option 'gamma'. Its options: beta"
    ]


def test_presets_resolve_to_the_part_they_name(files: Files) -> None:
    loaded = config.load(files(a=STEPS), ["model.attention=multi_query"])
    assert loaded.values.model.attention == {"name": "grouped_query", "n_groups": 1, "bias": True}


def test_lists_give_one_part_a_layer(files: Files) -> None:
    path = files(
        a=STEPS
        + """model:
  encoder:
    n_layers: 2
    attention: [multi_head, {name: grouped_query, n_groups: 4}]
  decoder:
    n_layers: 1
    cross_attention: [multi_query]
"""
    )
    sites = config.site_nodes(config.load(path))
    assert [n["name"] for n in sites.encoder_attention] == ["multi_head", "grouped_query"]
    assert sites.cross_attention == [{"name": "grouped_query", "n_groups": 1, "bias": True}]
    assert [n["name"] for n in sites.decoder_attention] == ["multi_head"]
    assert len(sites.encoder_normalization) == 2 and sites.decoder_positions["name"] == "sinusoidal"

    loaded = config.load(path, ["model.encoder.attention.1.n_groups=2", "model.encoder.attention[0]=grouped_query"])
    assert [n["n_groups"] for n in loaded.values.model.encoder.attention] == [2, 2]
    assert loaded.origins["model.encoder.attention.1.n_groups"] == "command line"
    assert loaded.origins["model.encoder.attention.1.name"] == "a.yaml:5"

    assert problems(path, "model.encoder.n_layers=3") == [
        "model.encoder.attention: a list has one attention a layer, but this has 2 and the encoder has 3 layers (a.yaml:5)"
    ]
    assert problems(path, "model.attention=[multi_head]", "model.block=[pre_norm]") == [
        "model.attention: takes one attention, not a list; a list with one entry a layer goes under "
        "model.encoder.attention or model.decoder.attention or model.decoder.cross_attention",
        "model.block: takes one block for the whole stack, not a list",
    ]
    assert problems(path, "model.encoder.attention.bias=false") == [
        "model.encoder.attention: is a list with one part a layer; set the option of one layer, "
        "as in model.encoder.attention.0.bias=..."
    ]
    assert problems(path, "model.encoder.attention.7=multi_head") == [
        "model.encoder.attention.7: model.encoder.attention has only 2 entries"
    ]


def test_lists_of_parts_are_replaced_whole(files: Files) -> None:
    path = files(a=STEPS + "data: {cleaning: [{name: length, most: 50}]}\nevaluation: {metrics: [chrf]}\n")
    loaded = config.load(path)
    assert loaded.values.data.cleaning == [{"name": "length", "most": 50}]
    assert loaded.values.evaluation.metrics == [{"name": "chrf"}]
    assert config.load(path, ["data.cleaning.0.most=60"]).values.data.cleaning == [{"name": "length", "most": 60}]
    assert config.load(path, ["data.cleaning=[]"]).values.data.cleaning == []
    assert problems(path, "data.cleaning=length") == [
        "data.cleaning: must be a list of cleaning parts, but is 'length'"
    ]


def test_all_problems_at_once_with_their_lines(files: Files) -> None:
    path = files(
        bad="""trainig: {}
model:
  d_model: 510
  n_heads: 8
  n_layers: 3
  atention: multi_head
  attention: {name: muti_head}
  normalization: {name: layer_norm, esp: 1.0}
  dropout: 1.5
  d_ff: wide
  block: null
  positions: no
  encoder: {attention: null, position_layers: [3]}
  embedding: {tie: al}
training:
  monitor: blue
"""
    )
    assert set(problems(path, "seed=-1", "training.clip=0")) == {
        "trainig: unknown key. Did you mean 'training'? (bad.yaml:1)",
        "model.d_model: must be divisible by model.n_heads (8), but is 510; 504 or 512 would be (bad.yaml:3)",
        "model.n_layers: unknown key. Did you mean 'model.encoder.n_layers'? (bad.yaml:5)",
        "model.atention: unknown key. Did you mean 'attention'? (bad.yaml:6)",
        "model.attention: unknown attention 'muti_head'. Did you mean 'multi_head'? "
        "Registered: averaged, grouped_query, multi_head, multi_query. If it is a plugin, list it under plugins: (bad.yaml:7)",
        "model.normalization.esp: normalization 'layer_norm' has no option 'esp'. Did you mean 'eps'? "
        "Its options: eps (bad.yaml:8)",
        "model.dropout: must be in [0, 1), but is 1.5 (bad.yaml:9)",
        "model.d_ff: must be int, but is 'wide' (str) (bad.yaml:10)",
        "model.block: None is no part; write the name 'none' for the part that does nothing "
        "(YAML reads no, off, null as other things) (bad.yaml:11)",
        "model.positions: False is no part; write the name 'none' for the part that does nothing "
        "(YAML reads no, off, null as other things) (bad.yaml:12)",
        "model.encoder.attention: None is no part; write the name 'none' for the part that does nothing "
        "(YAML reads no, off, null as other things); leave the key out for the one of model.attention (bad.yaml:13)",
        "model.encoder.position_layers: layers are 0 to 2, but this names 3 (bad.yaml:13)",
        "model.embedding.tie: must be one of 'all' | 'none', but is 'al'; did you mean 'all'? (bad.yaml:14)",
        "training.monitor: must be one of 'bleu' | 'nll', but is 'blue'; did you mean 'bleu'? (bad.yaml:16)",
        "training: has no limit; set max_steps, max_epochs or max_minutes",
        "training.clip: must be greater than 0, but is 0",
        "seed: must be at least 0, but is -1",
    }


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("model.encoder.n_layers=0", "model.encoder.n_layers: must be at least 1, but is 0"),
        ("training.max_minutes=0", "training.max_minutes: must be greater than 0, but is 0"),
        ("trainer.devices=0", "trainer.devices: must be at least 1, but is 0"),
        ("trainer.precision=16", "trainer.precision: must be one of '32' | 'bf16-mixed' | '16-mixed' | 'bf16-true' | 'auto', but is 16"),
        ("training=5", "training: must be a mapping of loss, optimizer, schedule, max_steps, max_epochs, max_minutes, "
         "clip, accumulate, target_batch_tokens, average, checkpoint_activations, init_from, init_partial, "
         "monitor, validate_every, log_every, profile, early_stopping, but is 5"),
        ("tracking.wandb=yes please", "tracking.wandb: must be a mapping of project, entity, mode, tags, but is 'yes please'"),
        ("training.average={last: 3, ema: 0.99}",
         "training.average: is one of last, best and ema, but has last and ema; set last=0 for ema"),
        ("training.average={best: 3, ema: 0.99}",
         "training.average: is one of last, best and ema, but has best and ema; set best=0 for ema"),
        ("training={accumulate: 2, target_batch_tokens: 5000}",
         "training.accumulate: is 2, but training.target_batch_tokens chooses it; set accumulate=1, or leave target_batch_tokens out"),
        ("training.average.ema=1.0", "training.average.ema: must be in [0, 1), but is 1.0"),
        ("training.average.ema=0", "training.average.ema: must be greater than 0, but is 0"),
        ("evaluation.sets.dev.source=dev.en", "evaluation.sets.dev: needs reference"),
        ("evaluation.sets.dev=dev", "evaluation.sets.dev: must be a mapping of source, reference, but is 'dev'"),
        ("model.attention=averaged",
         "model.attention: attention 'averaged' can't stand at encoder_self, only at decoder_self; "
         "set model.encoder.attention to another"),
        ("name=../x", "name: names the run's folder: letters, digits, '.', '_' and '-', but is '../x'"),
        ("max_steps=3", "max_steps: unknown key. Did you mean 'training.max_steps'?"),
        ("training.max_steps", "training.max_steps: an override is key=value, as in training.max_steps=100"),
        ("a b=1", "a b=1: an override is key=value, as in training.max_steps=100"),
        ("model.d_model=[1", "model.d_model: not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("name=!!python/name:os.system x", "name: YAML tags are refused (!!python/name:os.system); write the value itself"),
        ("name=${oc.env:HOME}", "name: '${oc.env:HOME}': an interpolation names a key of this config, "
         "as ${model.d_model}; resolvers (oc.env and others) are refused"),
        ("model.d_ff=${model.nope}", "model.d_ff: '${model.nope}' refers to a key that this config doesn't set"),
        ("model.d_ff=${model.d_ff}", "model.d_ff: '${model.d_ff}' refers to itself"),
        ("extends=base", "extends: only a file can extend others; name the file instead"),
        ("model.d_model.x=1", "model.d_model: must be int, but is {'x': 1} (dict)"),
    ],
)  # fmt: skip
def test_what_an_override_can_get_wrong(files: Files, override: str, text: str) -> None:
    assert text in problems(files(a=STEPS), override)


def test_averaged_attention_is_fine_where_it_may_stand(files: Files) -> None:
    loaded = config.load(files(a=STEPS), ["model.decoder.attention=averaged"])
    assert loaded.values.model.decoder.attention == {"name": "averaged"}


def test_half_precision_without_cuda_is_refused_for_training_only(files: Files) -> None:
    path = files(a=STEPS + "trainer: {precision: 16-mixed, accelerator: cpu}\n")
    (text,) = problems(path)
    assert text == (
        "trainer.precision: '16-mixed' needs a CUDA device, and Lightning would silently run bf16 without one; "
        "use 'bf16-mixed' or '32' (a.yaml:2)"
    )
    assert config.load(path, check_hardware=False).values.trainer.precision == "16-mixed"
    assert config.load(path, ["trainer.precision=32"]).values.trainer.precision == "32"
    assert config.load(path, ["decoding.precision=32"], check_hardware=False).values.decoding.precision == "32"


def test_interpolation_names_keys_of_the_same_config(files: Files) -> None:
    path = files(
        a=STEPS
        + "name: run-${seed}\nmodel:\n  d_ff: ${model.d_model}\n  attention: {bias: false}\n"
        + "  decoder: {cross_attention: '${model.attention}'}\n"
    )
    loaded = config.load(path, ["model.d_model=64", "seed=7"])
    assert loaded.values.name == "run-7"
    assert loaded.values.model.d_ff == 64
    assert loaded.values.model.decoder.cross_attention == loaded.values.model.attention
    assert loaded.origins["model.d_ff"] == "a.yaml:4"


def test_a_saved_config_is_replaced_not_written_over(files: Files) -> None:
    """A run that is killed while it is resumed would be left with half a config."""
    first = config.load(files(a=STEPS))
    first.save("saved.yaml")
    os.link("saved.yaml", "first.yaml")
    config.load("a.yaml", ["seed=9"]).save("saved.yaml")
    assert config.load("first.yaml").values == first.values and config.load("saved.yaml").values.seed == 9


def test_no_environment_value_gets_in(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAMBIO_DATA", "/secret/place")
    loaded = config.load(files(a=STEPS))
    assert config.data_root(loaded) == Path("/secret/place")
    loaded.save("saved.yaml")
    assert "secret" not in Path("saved.yaml").read_text()
    assert problems(files(b=STEPS + "data:\n  root: ${oc.env:RECAMBIO_DATA}\n")) == [
        "b.yaml:3: data.root: '${oc.env:RECAMBIO_DATA}': an interpolation names a key of this config, "
        "as ${model.d_model}; resolvers (oc.env and others) are refused"
    ]
    monkeypatch.delenv("RECAMBIO_DATA")
    assert config.data_root(loaded) is None
    assert config.data_root(config.load("a", ["data.root=here"])) == Path("here")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: 1\n  x: [\n", "a.yaml:2: not valid YAML: mapping values are not allowed here"),
        ("seed: 1\nseed: 2\n", "a.yaml:2: not valid YAML: found duplicate key seed"),
        ("- 1\n", "a.yaml:1: a config is a mapping of keys (`model:`, `training:`...), not a list"),
        ("x: !!python/object/apply:os.system ['true']\n",
         "a.yaml:1: x: YAML tags are refused (!!python/object/apply:os.system); write the value itself"),
        ("model:\n  off: 1\n", "a.yaml:2: off: YAML reads this key as a boolean; a key is text, so quote it"),
        ("extends: bsae\n", "a.yaml:1: extends: no such file 'bsae' in .. Did you mean 'base.yaml'?"),
        ("extends: 3\n", "a.yaml:1: extends: must be a file or a list of files, but is 3"),
        ("extends: [base, a]\n", "a.yaml: extends: goes round in a circle: a.yaml -> a.yaml"),
        ("name: ${seed\n", "a.yaml:1: name: '${seed': an interpolation names a key of this config, as ${model.d_model}; "
         "resolvers (oc.env and others) are refused"),
    ],
)  # fmt: skip
def test_files_that_can_not_be_read(files: Files, text: str, problem: str) -> None:
    path = files(base=STEPS, a=text)
    assert problems(path) == [problem]


def test_a_file_that_is_not_text(files: Files) -> None:
    Path("a.yaml").write_bytes(b"\xff\xfe\x00")
    (text,) = problems("a.yaml")
    assert text.startswith("a.yaml: can't be read: 'utf-8' codec can't decode byte 0xff")


def test_names_are_looked_up_among_the_experiments(files: Files) -> None:
    Path("experiments").mkdir()
    Path("experiments/tiny.yaml").write_text(STEPS)
    Path("experiments/other.yaml").write_text("extends: tiny\n")
    assert config.load("tiny").values.name == "tiny"
    assert config.load("experiments/other.yaml").values.training.max_steps == 10
    assert problems("tinny") == ["tinny: no such config. Did you mean 'tiny'? In experiments/: other, tiny"]
    assert problems("experiments/tinny.yaml") == [
        "experiments/tinny.yaml: no such config. Did you mean 'tiny'? In experiments/: other, tiny"
    ]


def test_a_diamond_of_extends_is_no_circle(files: Files) -> None:
    path = files(
        base=STEPS + "seed: 1\n", left="extends: base\nseed: 2\n", right="extends: base\n", a="extends: [left, right]\n"
    )
    loaded = config.load(path)
    assert loaded.values.seed == 1  # right comes last and brings base's again
    assert loaded.origins["seed"] == "base.yaml:2"


def test_an_empty_section_sets_nothing(files: Files) -> None:
    assert config.load(files(a=STEPS + "model:\n  encoder:\n")).values.model.encoder.n_layers == 3


def test_wandb_is_a_switch_or_a_section(files: Files) -> None:
    path = files(a=STEPS)
    assert config.load(path).values.tracking.wandb is False
    on = config.load(path, ["tracking.wandb=true"])
    assert on.values.tracking.wandb == schema.Wandb()
    assert on.origins["tracking.wandb.project"] == "command line"
    mine = config.load(path, ["tracking.wandb.project=mine"]).values.tracking.wandb
    assert mine == schema.Wandb(project="mine")
    assert config.load(path, ["tracking.wandb={tags: [a]}"]).values.tracking.wandb == schema.Wandb(tags=["a"])
    assert problems(path, "tracking.wandb.porject=mine") == [
        "tracking.wandb.porject: unknown key. Did you mean 'project'?"
    ]


def test_evaluation_sets_merge_by_name(files: Files) -> None:
    path = files(
        base=STEPS + "evaluation: {sets: {dev: {source: a, reference: b}}}\n",
        a="extends: base\nevaluation: {sets: {test: {source: c, reference: [d, e]}, dev: {reference: f}}}\n",
    )
    sets = config.load(path).values.evaluation.sets
    assert sets == {"dev": schema.EvaluationSet("a", "f"), "test": schema.EvaluationSet("c", ["d", "e"])}
    assert problems(path, "evaluation.sets.dev.refs=1") == [
        "evaluation.sets.dev.refs: unknown key. Known under evaluation.sets.dev: source, reference"
    ]


def test_plugins_concatenate_and_resolve_against_the_file_that_names_them(files: Files, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        folder = tmp_path / ("inner" if name == "one" else ".")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(
            "from recambio.components.attention import MultiHead\nfrom recambio.registry import ATTENTION\n\n"
            f"@ATTENTION.register('{name}')\nclass A(MultiHead):\n"
            "    def __init__(self, width: int = 3) -> None: ...\n"
        )
    (tmp_path / "inner" / "base.yaml").write_text(STEPS + "plugins: [one.py]\n")
    path = files(a="extends: inner/base.yaml\nplugins:\n  - two.py\nmodel: {attention: one}\n")
    loaded = config.load(path, ["model.encoder.attention=two"], plugins=["three.py"])
    assert loaded.values.plugins == ["inner/one.py", "two.py", "three.py"]
    assert [p.names for p in loaded.plugins] == [("attention/one",), ("attention/two",), ("attention/three",)]
    assert loaded.values.model.attention == {"name": "one", "width": 3}
    loaded.save(tmp_path / "inner" / "saved.yaml")
    assert config.load("inner/saved.yaml").to_dict() == loaded.to_dict()


def test_a_broken_plugin_is_reported_with_everything_but_its_parts(files: Files) -> None:
    Path("broken.py").write_text("x = 1\nimport nothing_of_this_name\n")
    path = files(a=STEPS + "seed: x\nplugins: [broken.py, gone.py]\nmodel: {attention: mine}\n")
    found = problems(path)
    assert found[0].startswith(
        "broken.py: line 2: ModuleNotFoundError: No module named 'nothing_of_this_name'; install"
    )
    assert found[0].endswith(" (a.yaml:3)")
    assert found[1].startswith("gone.py: no such plugin file (looked for ") and found[1].endswith("(a.yaml:3)")
    assert found[2:] == ["seed: must be int, but is 'x' (str) (a.yaml:2)"]


def test_plugins_of_a_run_are_not_imported_again(files: Files) -> None:
    path = files(a=STEPS + "plugins: [gone.py]\n")
    loaded = config.load(path, plugins_are_loaded=True)
    assert loaded.values.plugins == ["gone.py"] and loaded.plugins == []


def test_from_dict(files: Files) -> None:
    loaded = config.from_dict({"training": {"max_steps": 3}, "name": "x"}, ["seed=5"])
    assert (loaded.values.name, loaded.values.seed, loaded.values.training.max_steps) == ("x", 5, 3)
    assert config.from_dict(loaded.to_dict()).to_dict() == loaded.to_dict()
    with pytest.raises(InputError, match=r"^sed: unknown key\. Did you mean 'seed'"):
        config.from_dict({"training": {"max_steps": 3}, "sed": 1})


def test_values_do_not_share_storage(files: Files) -> None:
    path = files(a=STEPS)
    first = config.load(path)
    first.values.model.attention["bias"] = None
    first.values.plugins.append("x")
    first.to_dict()["model"]["attention"]["name"] = "x"
    second = config.load(path)
    assert second.values.model.attention["bias"] is True and second.values.plugins == []


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
nodes = st.one_of(
    st.sampled_from(["multi_head", "grouped_query", "multi_query"]),
    st.builds(lambda b: {"name": "multi_head", "dropout_scores": b}, st.floats(0, 1)),
    st.builds(lambda n, b: {"name": "grouped_query", "n_groups": n, "bias": b}, st.integers(1, 9), st.booleans()),
)


@st.composite
def raw_configs(draw: st.DrawFn) -> dict[str, Any]:
    """Valid configs, as a user might write them."""
    n = draw(st.integers(1, 3))
    sites = st.one_of(nodes, st.lists(nodes, min_size=n, max_size=n))
    stack = st.fixed_dictionaries(
        {"n_layers": st.just(n)},
        optional={"attention": sites, "positions": st.just("none"), "position_layers": st.just([0])},
    )
    return draw(
        st.fixed_dictionaries(
            {"training": st.fixed_dictionaries({"max_steps": st.integers(1, 10**7)})},
            optional={
                "seed": st.integers(0, 2**40),
                "data": st.fixed_dictionaries({}, optional={"root": st.one_of(st.none(), texts.filter(lambda t: "$" not in t))}),
                "model": st.fixed_dictionaries(
                    {}, optional={"attention": nodes, "encoder": stack, "decoder": stack, "dropout": st.floats(0, 0.99)}
                ),
                "tracking": st.fixed_dictionaries({}, optional={"wandb": st.booleans(), "csv": st.booleans()}),
                "evaluation": st.fixed_dictionaries(
                    {}, optional={"sets": st.dictionaries(st.from_regex(r"[a-z]\w{0,5}", fullmatch=True),
                                                          st.builds(lambda a, b: {"source": a, "reference": b},
                                                                    st.just("x"), st.lists(st.just("y"), min_size=1)))}
                ),
            },
        )
    )  # fmt: skip


@settings(max_examples=30)
@given(raw=raw_configs())
def test_what_is_saved_loads_back_to_the_same_values(
    raw: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("saved")
    first = config.from_dict(raw)
    first.save(folder / "config.yaml")
    second = config.load(folder / "config.yaml")
    assert second.values == first.values
    assert second.to_dict() == first.to_dict()
    assert config.from_dict(yaml.safe_load(yaml.safe_dump(first.to_dict()))).values == first.values
    assert set(second.origins) == set(second.leaves())


awkward = st.sampled_from(["${seed}", "\\${x}", "no", "1e-5", "???", "~", "1_0", "12:30", "<<", "=", "2020-01-01"])


@settings(max_examples=200)
@given(value=st.one_of(texts, st.floats(allow_nan=False), awkward))
def test_any_text_or_number_survives_saving(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("saved") / "a.yaml"
    path.write_text(source.dump({"x": value, "l": [value]}), encoding="utf-8")
    layer = source.read(path)
    assert source.interpolate(layer.values) == ({"x": value, "l": [value]}, [])


@settings(max_examples=100)
@given(data=st.data())
def test_overriding_a_leaf_with_its_own_value_changes_nothing_but_the_origin(data: st.DataObject) -> None:
    first = config.from_dict({"training": {"max_steps": 5}, "model": {"encoder": {"attention": "grouped_query"}}})
    scalars = {k: v for k, v in first.leaves().items() if not isinstance(v, dict | list)}
    key = data.draw(st.sampled_from(sorted(scalars)))
    text = yaml.safe_dump(scalars[key], default_flow_style=True).removesuffix("...\n").strip()
    second = config.from_dict(first.to_dict(), [f"{key}={text}"])
    assert second.values == first.values
    assert second.origins[key] == "command line"


def test_every_key_of_the_schema_is_documented_or_plain() -> None:
    for _, key in schema.all_keys():
        if key.section is not None:
            assert key.section.__doc__ and not key.section.__doc__.startswith(f"{key.section.__name__}("), key.name
    assert dataclasses.is_dataclass(schema.RunConfig)
