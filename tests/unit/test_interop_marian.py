"""Runs as Hugging Face's Marian models and back: the same logits and translations, and a refusal for what Marian lacks."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recambio import registry
from recambio.config import load as load_config
from recambio.data.tokenizers import Tokenizer, load_tokenizer
from recambio.errors import InputError
from recambio.experiment.build import build_model
from recambio.experiment.init_from import initial_weights
from recambio.experiment.translator import Translator, load
from recambio.interop import export, marian_import
from tests.unit.interop_runs import ENGLISH, SPANISH, make_run, stir

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'recambio[bench]'")
transformers.logging.set_verbosity_error()

registry.load_builtins()


def marian_logits(folder: Path, source: Tensor, mask: Tensor, target: Tensor) -> Tensor:
    model = transformers.MarianMTModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(input_ids=source, attention_mask=mask.long(), decoder_input_ids=target, use_cache=False).logits  # type: ignore[no-any-return]


def our_logits(run: Translator, source: Tensor, mask: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        hidden, _ = run.model(source, target, mask)
        return run.model.logits(hidden)


def batch(tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor]:
    """Random sources of two lengths, and targets that begin as the decoder does."""
    torch.manual_seed(3)
    source = torch.randint(4, tokenizer.source_vocabulary_size, (3, 9))
    mask = torch.ones_like(source, dtype=torch.bool)
    mask[1, 5:] = False
    source[~mask] = tokenizer.pad_id
    target = torch.randint(4, tokenizer.target_vocabulary_size, (3, 7))
    target[:, 0] = tokenizer.sos_id
    return source, mask, target


@pytest.mark.parametrize(
    ("joint", "model"),
    [
        (True, {}),
        (True, {"positions": {"name": "sinusoidal", "layout": "half"}, "activation": "silu"}),
        (True, {"embedding": {"name": "standard", "tie": "none", "output_bias": True, "scale": False}}),
        (False, {"activation": {"name": "gelu", "approximate": "tanh"}}),
        (False, {"attention": {"name": "grouped_query", "n_groups": 2, "bias": False}, "activation": "gelu"}),
        (
            True,
            {"feed_forward": {"name": "mlp", "bias": False}, "normalization": {"name": "layer_norm", "bias": False}},
        ),
    ],
    ids=["tied", "half", "untied", "two-vocabularies", "groups", "no-bias"],
)
def test_marian_computes_the_same(tmp_path: Path, joint: bool, model: dict[str, Any]) -> None:
    folder = make_run(tmp_path / "run", joint, **model)
    written = export.run(folder, "marian", tmp_path / "out")
    run = load(folder, device="cpu")
    source, mask, target = batch(run.tokenizer)
    theirs = marian_logits(written, source, mask, target)
    torch.testing.assert_close(theirs, our_logits(run, source, mask, target), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("joint", [True, False])
def test_marian_reads_and_writes_the_same_text(tmp_path: Path, joint: bool) -> None:
    folder = make_run(tmp_path / "run", joint)
    written = export.run(folder, "marian", tmp_path / "out")
    run = load(folder, device="cpu")
    tokenizer = transformers.AutoTokenizer.from_pretrained(written)
    lines = ["The cat eats fish.", "My sister sees 7 ñandúes € — 猫", "A dog has eaten the red house."]
    own = [[*row, run.tokenizer.eos_id] for row in run.tokenizer.encode(lines, "source")]
    inputs = tokenizer(lines, return_tensors="pt", padding=True)
    assert [row[: len(o)] for row, o in zip(inputs["input_ids"].tolist(), own, strict=True)] == own
    model = transformers.MarianMTModel.from_pretrained(written).eval()
    # Their longest is one number for all; ours depends on the source.
    run.config.values.decoding.max_ratio, run.config.values.decoding.max_extra = 0.01, 20
    found = model.generate(**inputs, max_new_tokens=20)
    assert tokenizer.batch_decode(found, skip_special_tokens=True) == [t.strip() for t in run.translate(lines)]
    assert len({tuple(row) for row in found.tolist()}) > 1  # the weights do tell sentences apart


def test_refusals_name_the_part_its_place_and_the_nearest(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        block="pre_norm",
        positions="rope",
        normalization={"name": "layer_norm", "eps": 1e-6},
        encoder={"n_layers": 2, "attention": ["multi_head", "shaw"], "feed_forward": "swiglu"},
        decoder={"n_layers": 1, "activation": "relu", "block": "post_norm", "normalization": "rms_norm"},
    )
    with pytest.raises(InputError) as error:
        export.run(folder, "marian", tmp_path / "out")
    assert error.value.problems == [
        "model.encoder.attention: attention 'shaw' (layers 1) can't be expressed in Marian; the nearest is 'multi_head' or "
        "'grouped_query'",
        "model.encoder.positions: positions 'rope' can't be expressed in Marian; the nearest is 'sinusoidal'",
        "model.encoder.block: block 'pre_norm' can't be expressed in Marian; the nearest is 'post_norm'",
        "model.decoder.positions: positions 'rope' can't be expressed in Marian; the nearest is 'sinusoidal'",
        "model.encoder.feed_forward: feed_forward 'glu' (layers 0, 1) can't be expressed in Marian; the nearest is 'mlp'",
    ]
    assert not list(tmp_path.glob("*out*"))  # nor is anything left


def test_what_marian_fixes_is_refused(tmp_path: Path) -> None:
    folder = make_run(
        tmp_path / "run",
        normalization={"name": "layer_norm", "eps": 1e-6},
        decoder={"n_layers": 1, "activation": "gelu", "positions": {"name": "sinusoidal", "layout": "half"}},
    )
    with pytest.raises(InputError) as error:
        export.run(folder, "marian", tmp_path / "out")
    text = "\n".join(error.value.problems)
    assert "layer_norm' with eps 1e-06 (layers 0, 1) can't be expressed in Marian; the nearest is eps 1e-05" in text
    assert "model.decoder.positions: a `layout` of sinusoids unlike the encoder's" in text
    assert "model.activation: more than one function in a model" in text


# ------------------------------------------------------------------------------------------------ import


def spm(lines: list[str], size: int) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=size, hard_vocab_limit=False, minloglevel=2
    )
    return model.getvalue()


def published(folder: Path, *, as_bin: bool = False, separate: bool = False, **options: Any) -> Path:
    """A checkpoint as OPUS-MT publishes them, of random weights: one table over the pieces of two SentencePiece models, ``</s>`` first
    and padding last."""
    import sentencepiece

    folder.mkdir()
    pieces: list[list[str]] = []
    for name, lines in (("source", ENGLISH), ("target", SPANISH)):
        content = spm(lines, 60)
        (folder / f"{name}.spm").write_bytes(content)
        processor = sentencepiece.SentencePieceProcessor(model_proto=content)
        # Marian drops what it never saw, so a piece may have no id.
        pieces.append([p for p in (processor.id_to_piece(i) for i in range(len(processor))) if p[0] != "<"][:-2])
    special = ["</s>", "<unk>", ">>spa<<"]
    tables = pieces if separate else [list(dict.fromkeys(pieces[0] + pieces[1]))]
    names = ["vocab.json", "target_vocab.json"][: len(tables)]
    vocabularies = [{p: i for i, p in enumerate([*special, *table, "<pad>"])} for table in tables]
    if separate:  # the padding id is one for both
        pad = max(map(len, vocabularies)) - 1
        vocabularies = [{**{p: i for p, i in v.items() if p != "<pad>"}, "<pad>": pad} for v in vocabularies]
    for name, table in zip(names, vocabularies, strict=True):
        (folder / name).write_text(json.dumps(table))
    sizes = [max(v.values()) + 1 for v in vocabularies]
    config = transformers.MarianConfig(
        **{
            **{"vocab_size": sizes[0], "decoder_vocab_size": sizes[-1], "d_model": 16, "encoder_layers": 2},
            **{"decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4},
            **{"encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "activation_function": "swish", "scale_embedding": True},
            **{"pad_token_id": sizes[0] - 1, "eos_token_id": 0, "decoder_start_token_id": sizes[0] - 1},
            **{"forced_eos_token_id": 0, "max_position_embeddings": 512},
            **{"share_encoder_decoder_embeddings": not separate},
            **options,
        }
    )
    model = transformers.MarianMTModel(config).eval()
    model.generation_config.num_beams = 3
    stir(model)
    with torch.no_grad():
        model.final_logits_bias.copy_(torch.randn(model.final_logits_bias.shape))
        model.final_logits_bias[0, 1] = -30.0  # the unknown, which the two write in other ways
    settings = {
        "tokenizer_class": "MarianTokenizer",
        "source_lang": "en",
        "target_lang": "es",
        "separate_vocabs": separate,
    }
    model.save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if as_bin:
        state = model.state_dict()  # of what is tied any name may be the one that is stored
        torch.save(
            {n: t for n, t in state.items() if "shared" not in n and "encoder.embed" not in n},
            folder / "pytorch_model.bin",
        )
        (folder / "model.safetensors").unlink()
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"as_bin": True, "activation_function": "gelu", "scale_embedding": False},
        {"separate": True},
        {"separate": True, "tie_word_embeddings": False, "activation_function": "relu"},
    ],
    ids=["opus", "bin", "two-tables", "untied"],
)
def test_imported_model_computes_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    path = published(tmp_path / "opus", **options)
    run = load(marian_import.run(path, tmp_path / "run"), device="cpu")
    source, mask, target = batch(run.tokenizer)
    assert run.tokenizer.sos_id == run.tokenizer.pad_id and bool((target[:, 0] == run.tokenizer.pad_id).all())
    theirs = marian_logits(path, source, mask, target)
    torch.testing.assert_close(our_logits(run, source, mask, target), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("separate", [False, True])
def test_imported_run_translates_the_same(tmp_path: Path, separate: bool) -> None:
    path = published(tmp_path / "opus", separate=separate)
    run = load(marian_import.run(path, tmp_path / "run"), device="cpu")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    lines = [">>spa<< The cat eats fish.", "My sister sees zebras.", "A dog has eaten 3.50 apples."]
    own = [[*row, run.tokenizer.eos_id] for row in run.tokenizer.encode(lines, "source")]
    inputs = tokenizer(lines, return_tensors="pt", padding=True)
    assert [row[: len(o)] for row, o in zip(inputs["input_ids"].tolist(), own, strict=True)] == own
    assert run.tokenizer.unk_id in own[1]  # z is in no sentence of the vocabulary's
    model = transformers.MarianMTModel.from_pretrained(path).eval()
    decoding = run.config.values.decoding
    decoding.max_ratio, decoding.max_extra = 0.01, 15
    pad = run.tokenizer.pad_id
    found = model.generate(
        **inputs, num_beams=3, max_new_tokens=15, suppress_tokens=[pad], renormalize_logits=True, early_stopping=True,
        forced_eos_token_id=None,
    )  # fmt: skip
    ours = [parts[0].hypotheses[0].tokens for parts in run.parts(lines)]
    assert ours == [[i for i in row if i not in (0, pad)] for row in found.tolist()]
    texts = tokenizer.batch_decode(found, skip_special_tokens=True, use_source_tokenizer=False)
    assert run.translate(lines) == [t.strip() for t in texts]
    assert len(set(texts)) > 1


def test_a_run_goes_there_and_back(tmp_path: Path) -> None:
    path = published(tmp_path / "opus")
    first = marian_import.run(path, tmp_path / "first")
    second = marian_import.run(export.run(first, "marian", tmp_path / "out"), tmp_path / "second")
    a, b = load(first, device="cpu"), load(second, device="cpu")
    state = b.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in a.model.state_dict().items())
    lines = ["The cat eats fish.", "zebras"]
    assert a.tokenizer.encode(lines, "source") == b.tokenizer.encode(lines, "source")
    assert a.translate(lines) == b.translate(lines)


def test_training_starts_from_an_imported_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = marian_import.run(published(tmp_path / "opus"))
    assert folder == Path("runs/opus")
    Path("fine.yaml").write_text("extends: runs/opus/config.yaml\ntraining: {max_steps: 2, init_from: runs/opus}\n")
    config = load_config("fine.yaml")
    initial = initial_weights(config)
    assert initial is not None and initial.differences == []
    model = build_model(config, initial.tokenizer)
    initial.fill(model)
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in load(folder).model.state_dict().items())
    assert load_tokenizer(folder).fingerprint == initial.tokenizer.fingerprint
    with pytest.raises(InputError, match=r"'marian' is not learnt from text; set training.init_from"):
        registry.TOKENIZER.create("marian").train(["a"], ["b"], 1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_type": "bart"}, "config.json: has model_type 'bart'; only 'marian' can be imported"),
        ({"decoder_ffn_dim": 48}, "encoder_ffn_dim is 24, but decoder_ffn_dim is 48; only equal ones can be imported"),
        ({"normalize_before": True}, "normalize_before is true; only false can be imported"),
        ({"activation_function": "quick_gelu"}, "activation_function is 'quick_gelu'; there is relu, swish"),
        (
            {"decoder_layers": 2},
            "has no tensor model.decoder.layers.1.self_attn.q_proj.weight; its config is of another model",
        ),
        ({"eos_token_id": [0, 1]}, r"eos_token_id is \[0, 1\]; one number is needed"),
    ],
)
def test_what_cannot_be_imported_is_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    path = published(tmp_path / "opus")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InputError, match=expected):
        marian_import.run(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_learned_positions_are_not_taken_for_sinusoids(tmp_path: Path) -> None:
    path = published(tmp_path / "opus", as_bin=True)
    state = torch.load(path / "pytorch_model.bin", weights_only=True)
    state["model.encoder.embed_positions.weight"] = torch.randn(512, 16)
    torch.save(state, path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"model.encoder.embed_positions.weight are no sinusoids"):
        marian_import.run(path, tmp_path / "run")
    (path / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match=r"has neither model.safetensors nor pytorch_model.bin"):
        marian_import.run(path, tmp_path / "run")
