"""Runs as CTranslate2 models: the same probabilities and translations, and a refusal for what CTranslate2 lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recambio import registry
from recambio.errors import InputError
from recambio.experiment.details import Details
from recambio.experiment.translator import Translator, load
from recambio.interop import export
from recambio.interop.ctranslate2_engine import Engine
from recambio.model.weights import save_weights
from tests.unit.interop_runs import make_run

ctranslate2 = pytest.importorskip("ctranslate2", reason="needs ctranslate2: pip install 'recambio[ctranslate2]'")

registry.load_builtins()

LINES = ["The cat eats fish.", "", "My sister sees 7 ñandúes — 猫", "A dog has eaten the red house and what I said."]


MULTI_HEAD_ACROSS = {"n_layers": 2, "cross_attention": "multi_head"}


def their_scores(place: Path, run: Translator, source: list[int], target: list[int]) -> torch.Tensor:
    """Log-probability of each token of the target and of the end, by CTranslate2."""
    model = ctranslate2.Translator(str(place), compute_type="float32", intra_threads=1)
    tokenizer = run.tokenizer
    (found,) = model.score_batch([tokenizer.pieces(source, "source")], [tokenizer.pieces(target, "target")])
    return torch.tensor(found.log_probs)


def our_scores(run: Translator, source: list[int], target: list[int]) -> torch.Tensor:
    tokenizer = run.tokenizer
    whole = torch.tensor([[tokenizer.sos_id, *target, tokenizer.eos_id]])
    with torch.no_grad():
        hidden, _ = run.model(torch.tensor([source]), whole[:, :-1])
        logits = run.model.logits(hidden)
        logits[..., [tokenizer.sos_id, tokenizer.pad_id]] = float("-inf")
        return logits.log_softmax(-1).gather(-1, whole[:, 1:, None])[0, :, 0]


@pytest.mark.parametrize(
    ("joint", "model"),
    [
        (True, {"block": "pre_norm"}),
        (True, {"block": "post_norm", "activation": "gelu", "decoder": {"n_layers": 1, "block": "pre_norm"}}),
        (True, {"positions": {"name": "sinusoidal", "layout": "half"}, "normalization": "rms_norm", "activation": "silu"}),
        (True, {"positions": "rope", "feed_forward": "swiglu", "block": "pre_norm"}),
        (True, {"positions": {"name": "rope", "fraction": 0.5, "base": 500.0}, "feed_forward": "geglu"}),
        (True, {"positions": {"name": "rope", "scaling": "linear", "factor": 2.0}}),
        (True, {"positions": {"name": "rope", "scaling": "ntk", "factor": 3.0}}),
        (True, {"positions": "none", "decoder": {"n_layers": 1, "positions": "alibi"}}),
        (True, {"positions": "learned", "activation": "tanh"}),
        (True, {"positions": "t5", "block": "pre_norm"}),
        (True, {"positions": {"name": "t5", "n_buckets": 16, "max_distance": 32}}),
        (True, {"positions": "none", "attention": {"name": "shaw", "max_distance": 4}, "decoder": MULTI_HEAD_ACROSS}),
        (True, {"positions": "none", "attention": {"name": "shaw", "values": False}, "decoder": MULTI_HEAD_ACROSS}),
        (True, {"attention": {"name": "grouped_query", "n_groups": 2, "bias": False}, "positions": "rope"}),
        (True, {"decoder": {"n_layers": 2, "cross_attention": {"name": "grouped_query", "n_groups": 1}}}),
        (True, {"normalization": {"name": "layer_norm", "eps": 1e-2, "bias": False}, "feed_forward": {"name": "mlp", "bias": False}}),
        (True, {"embedding": {"name": "standard", "tie": "none", "output_bias": True, "scale": False}}),
        (False, {"activation": {"name": "gelu", "approximate": "tanh"}}),
    ],
    ids=lambda value: " ".join(str(v) for v in value.values())[:60] if isinstance(value, dict) else str(value),
)  # fmt: skip
def test_ctranslate2_computes_the_same(tmp_path: Path, joint: bool, model: dict[str, Any]) -> None:
    folder = make_run(tmp_path / "run", joint, **model)
    place = export.run(folder, "ctranslate2", tmp_path / "out")
    run = load(folder, device="cpu")
    torch.manual_seed(1)
    for length in (3, 70):
        source = torch.randint(4, run.tokenizer.source_vocabulary_size, (length,)).tolist()
        target = torch.randint(4, run.tokenizer.target_vocabulary_size, (length + 5,)).tolist()
        source.append(run.tokenizer.eos_id)
        torch.testing.assert_close(
            their_scores(place, run, source, target), our_scores(run, source, target), atol=1e-4, rtol=1e-5
        )


@pytest.mark.parametrize(
    "search",
    [
        {"name": "beam", "width": 3},
        {"name": "beam", "width": 4, "normalize": "gnmt", "length_penalty": 0.6},
        {"name": "beam", "width": 2, "length_penalty": 0.0},
        "greedy",
    ],
    ids=["average", "gnmt", "sum", "greedy"],
)
def test_engine_translates_the_same(tmp_path: Path, search: Any) -> None:
    folder = make_run(tmp_path / "run", search=search)
    export.run(folder, "ctranslate2")
    run, engine = load(folder, device="cpu"), Engine(folder, device="cpu")
    ours, theirs = run.parts(LINES), engine.parts(LINES)
    for a, b in zip(ours, theirs, strict=True):
        best, found = a[0].hypotheses[0], b[0].hypotheses[0]
        assert found.tokens == best.tokens and found.is_finished == best.is_finished
        assert found.score == pytest.approx(best.score, rel=1e-5)
    assert engine.translate(LINES) == run.translate(LINES) == list(engine.stream(iter(LINES), chunk=3))
    assert engine.translate(["", "  "]) == ["", ""]


def test_engine_gives_as_many_as_asked_and_splits_what_is_too_long(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", search={"name": "beam", "width": 3})
    export.run(folder, "ctranslate2")
    run, engine = load(folder, device="cpu", n_best=3), Engine(folder, device="cpu", n_best=3)
    lines = ["The cat eats fish.", "The cat eats fish. " * 60]
    ours, theirs = run.parts(lines), engine.parts(lines)
    assert [len(parts) for parts in theirs] == [len(parts) for parts in ours] and len(theirs[1]) > 1
    assert [h.tokens for h in theirs[0][0].hypotheses] == [h.tokens for h in ours[0][0].hypotheses]
    assert len(theirs[0][0].hypotheses) == 3 and len(Engine(folder, device="cpu").parts(lines)[0][0].hypotheses) == 1
    assert Details(engine, 3, False, False, -1)(theirs[0], 1)["translations"][0]["text"] == run.text(ours[0])
    with pytest.raises(InputError, match="--scores, --align: another engine tells neither; leave out --engine"):
        Details(engine, 3, True, False, -1)


def test_quantised_models_are_smaller_and_load(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    sizes = {}
    for quantization in export.QUANTIZATIONS:
        place = export.run(folder, "ctranslate2", tmp_path / quantization, quantization=quantization)
        sizes[quantization] = (place / "model.bin").stat().st_size
        assert len(Engine(folder, place, device="cpu").translate(LINES)) == len(LINES)
    assert sizes["int8"] < sizes["float32"] and sizes["float16"] < 0.55 * sizes["float32"]


def test_refusals_name_the_part_its_place_and_the_nearest(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        block="peri_norm",
        normalization="scale_norm",
        encoder={"n_layers": 2, "attention": ["multi_head", "shaw"], "feed_forward": ["mlp", "swiglu"], "positions": "alibi"},
        decoder={"n_layers": 2, "activation": ["relu", "mish"], "positions": {"name": "rope", "scaling": "yarn", "factor": 2.0}},
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        export.run(folder, "ctranslate2", tmp_path / "out")
    lacks = "can't be expressed in CTranslate2; the nearest is"
    assert error.value.problems == [
        f"model.encoder.block: block 'peri_norm' {lacks} 'pre_norm' or 'post_norm'",
        f"model.encoder.positions: positions 'alibi' in an encoder {lacks} 't5' or 'rope'; a decoder may have 'alibi'",
        f"model.encoder.attention: attention 'shaw' beside others (layers 1) {lacks} 'shaw' in all layers",
        f"model.encoder.positions: positions 'alibi' beside attention 'shaw' {lacks} 'none'",
        f"model.encoder.feed_forward: more than one kind in a stack {lacks} the same one in all layers",
        f"model.encoder.activation: more than one function in a stack {lacks} the same one in all layers",
        f"model.decoder.block: block 'peri_norm' {lacks} 'pre_norm' or 'post_norm'",
        f"model.decoder.positions: positions 'rope' with scaling 'yarn' {lacks} scaling 'linear' or 'ntk'",
        f"model.decoder.activation: activation 'mish' (layers 1) {lacks} 'silu'",
        f"model.decoder.activation: more than one function in a stack {lacks} the same one in all layers",
    ]


def test_positions_in_some_layers_are_refused_where_they_act_in_layers(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        encoder={"n_layers": 2, "position_layers": [1], "positions": "rope"},
        decoder={"n_layers": 2, "position_layers": [1]},
    )
    with pytest.raises(InputError) as error:
        export.run(folder, "ctranslate2", tmp_path / "out")
    assert error.value.problems == [
        "model.encoder.position_layers: a stack with positions in layers 1 only can't be expressed in CTranslate2; the nearest is "
        "null, which is all layers"
    ]


def test_what_the_engine_refuses(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"no CTranslate2 model; make one: recambio export .*run --to ctranslate2"):
        Engine(folder)
    place = export.run(folder, "ctranslate2")
    with pytest.raises(InputError, match="exists already; remove it, or name another place"):
        export.run(folder, "ctranslate2")
    with pytest.raises(InputError, match=r"decoding.search.stop: is 'exact'.*the nearest is 'width'"):
        Engine(folder, overrides=["decoding.search.stop=exact"])
    with pytest.raises(InputError, match=r"decoding.precision: an exported model has its own; export with --quant"):
        Engine(folder, overrides=["decoding.precision=bf16"])
    other = make_run(tmp_path / "other", joint=False)
    with pytest.raises(InputError, match="has another vocabulary than the run"):
        Engine(other, place)
    save_weights(load(other, device="cpu").model, folder / "weights.safetensors")
    with pytest.raises(InputError, match=r"was made before .*weights.safetensors changed; remove it, and export"):
        Engine(folder)
    with pytest.raises(InputError) as error:
        export.run(folder, "onnx", quantization="int8")
    assert error.value.problems == ["--to onnx: no such format; there is safetensors, marian, ctranslate2"]
    with pytest.raises(InputError, match="--quantization: marian has none; leave it out, or export --to ctranslate2"):
        export.run(folder, "marian", quantization="int8")
    with pytest.raises(InputError, match="--quantization int4: no such precision; there is float32, float16, int8"):
        export.run(folder, "ctranslate2", tmp_path / "new", quantization="int4")
