"""Each kind of wrong input: one clear line, exit status 2, and nothing written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from recambio.cli import main
from tests.integration.conftest import MICRO


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Path:
    """A working folder with the small config and a small parallel corpus."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECAMBIO_CACHE", environment["RECAMBIO_CACHE"])
    for variable in ("RECAMBIO_DATA", "RECAMBIO_RUN_DIR", "LOCAL_RANK"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "micro.yaml").write_text(MICRO)
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.en").write_text("".join(f"{split} has {i} books.\n" for i in range(60)))
        (tmp_path / f"{split}.es").write_text("".join(f"{split} tiene {i} libros.\n" for i in range(60)))
    return tmp_path


MOSES = "data.corpus={name: moses, train: train, dev: dev, test: test}"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines of an input error; only progress may stand before them."""
    status = main(arguments)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert status == 2 and errors, captured.err
    assert captured.out == "" and "Traceback" not in captured.err
    assert lines[-len(errors) :] == errors and all(len(line) < 700 for line in errors), captured.err
    return errors


@pytest.mark.parametrize(
    ("override", "texts"),
    [
        ("model.attention=muti_head", ["unknown attention 'muti_head'. Did you mean 'multi_head'?", "plugins:"]),
        ("model.attention.bais=true", ["no option 'bais'. Did you mean 'bias'?"]),
        ("model.attention.n_heads=4", ["comes from the model"]),
        ("model.d_ff=wide", ["model.d_ff", "int", "wide"]),
        ("model.dropuot=0.1", ["dropuot", "Did you mean 'dropout'"]),
        ("model.positions=null", ["'none'"]),
        ("model.d_model=30 model.n_heads=4", ["model.d_model", "divisible", "30"]),
        ("trainer.precision=16-mixed", ["16-mixed", "bf16"]),
        ("model.attention={name: grouped_query, n_groups: 3}", ["n_groups", "grouped_query"]),
        ("training.schedule={name: cosine, warmup: 1000}", ["warmup", "40 steps"]),
        ("model.embedding.tie=all data.tokenizer.joint=false", ["joint"]),
        ("data.corpus={name: moses, train: nowhere/train, dev: dev, test: test}", ["nowhere/train", "opus"]),
        ("data.batch_tokens=8", ["data.batch_tokens", "8"]),
        ("tracking.wandb.mode=online", ["key"]),
    ],
)
def test_a_wrong_config_trains_nothing(
    capsys: pytest.CaptureFixture[str], place: Path, override: str, texts: list[str]
) -> None:
    words = [override] if "{" in override else override.split()
    lines = " ".join(refused(capsys, "train", "micro", *words))
    for text in texts:
        assert text in lines, lines
    assert not (place / "runs").exists(), "a refused config must leave no run folder"


@pytest.mark.parametrize(
    ("override", "texts"),
    [
        ("trainer.strategy=dpd", ["unknown strategy 'dpd'", "Did you mean 'ddp'?"]),
        ("trainer.strategy=fsdp", ["requires a GPU", "auto and ddp"]),
        ("trainer.strategy=ddp_fork", ["copies of this process", "ddp starts"]),
        ("trainer.devices='0,1'", ["int > 0", "a number from 1"]),
        ("trainer.accelerator=mps", ["MPS", "auto takes what there is"]),
        ("trainer.num_nodes=2", ["which node this is", "torchrun.sh", "MASTER_ADDR"]),
    ],
)
def test_hardware_that_is_not_there_is_refused_before_anything_is_prepared(
    capsys: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch, override: str, texts: list[str]
) -> None:
    monkeypatch.setenv("RECAMBIO_CACHE", str(place / "cache"))
    (line,) = refused(capsys, "train", "micro", override)
    assert line.startswith(f"error: {override.partition('=')[0]}: "), line
    for text in texts:
        assert text in line, line
    assert not (place / "runs").exists() and not (place / "cache").exists()


def test_devices_are_those_that_a_launcher_started(
    capsys: pytest.CaptureFixture[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0")
    for name, value in {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "train", **ids}.items():
        monkeypatch.setenv(name, value)
    (line,) = refused(capsys, "train", "micro", "trainer.devices=2", "trainer.strategy=ddp")
    assert line.startswith("error: trainer.devices, trainer.num_nodes: ") and "--ntasks-per-node=4" in line, line
    assert not (place / "runs").exists()


def test_all_problems_come_at_once(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    lines = refused(
        capsys, "train", "micro", "model.attention=x", "model.block=y", "training.clip=no", "seed=-1", "data.nonsense=1"
    )
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("train.es", b"uno\n" * 59, ["train.en", "train.es", "60", "59"]),
        ("dev.es", b"uno\n" * 61, ["dev.en", "dev.es", "60", "61"]),
        ("train.en", ("I have books.\n" * 60).encode("utf-16"), ["train.en", "not UTF-8"]),
        ("test.es", b"uno\n" * 30 + b"a\xf1o\n" + b"uno\n" * 29, ["test.es", "31", "UTF-8"]),
        ("train.en", b"", ["train.en"]),
    ],
    ids=["lengths", "lengths of dev", "utf-16", "latin-1 line in test", "empty side"],
)
def test_bad_files_are_named(  # type: ignore[no-untyped-def]
    capsys: pytest.CaptureFixture[str], place: Path, name: str, content: bytes, texts: list[str]
) -> None:
    (place / name).write_bytes(content)
    lines = " ".join(refused(capsys, "train", "micro", MOSES, "data.root=.", "data.tokenizer.vocabulary_size=330"))
    for text in texts:
        assert text in lines, lines
    assert not (place / "runs").exists()


def test_an_empty_corpus_is_refused(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    for language in ("en", "es"):
        (place / f"train.{language}").write_text("")
    assert "train" in " ".join(refused(capsys, "train", "micro", MOSES, "data.root=."))


def test_a_bad_line_is_counted_and_named_and_not_fatal(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    good = "".join(f"Tengo {i} libros.\n" for i in range(199)).encode()
    (place / "train.es").write_bytes(good + b"a\xf1o\n")
    (place / "train.en").write_text("".join(f"I have {i} books.\n" for i in range(200)))
    assert main(["data", "prepare", "micro", MOSES, "data.root=.", "data.tokenizer.vocabulary_size=330"]) == 0
    output = capsys.readouterr().out
    assert "train.es" in output and "200" in output and "UTF-8" in output, output


def test_a_missing_config_a_missing_run_and_no_run_at_all(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    assert "Did you mean 'micro'" in refused(capsys, "train", "mikro")[0]
    assert "run `make train`" in refused(capsys, "eval")[0]
    assert "no such run" in refused(capsys, "translate", "runs/nope")[0]


def test_a_plugin_that_fails_to_import_is_named(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    (place / "broken.py").write_text("import nonexistent_module\n")
    (line,) = refused(capsys, "train", "micro", "--plugin", "broken.py")
    assert "broken.py" in line and "nonexistent_module" in line
    assert "gone.py" in refused(capsys, "train", "micro", "--plugin", "gone.py")[0]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """A finished run."""
    place = tmp_path_factory.mktemp("trained")
    (place / "micro.yaml").write_text(MICRO)
    patch = pytest.MonkeyPatch()
    patch.chdir(place)
    patch.setenv("RECAMBIO_CACHE", environment["RECAMBIO_CACHE"])
    patch.delenv("RECAMBIO_RUN_DIR", raising=False)
    try:
        assert (
            main(
                ["train", "micro.yaml", "training.max_steps=2", "training.validate_every=2", "training.average.last=0"]
            )
            == 0
        )
    finally:
        patch.delenv("RECAMBIO_RUN_DIR", raising=False)
        patch.undo()
    return place / "runs" / "micro"


def test_a_damaged_run_folder_says_what_is_damaged(
    capsys: pytest.CaptureFixture[str], place: Path, trained: Path
) -> None:
    run = place / "runs" / "micro"
    shutil.copytree(trained, run)
    weights = (run / "weights.safetensors").read_bytes()

    (run / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    (line,) = refused(capsys, "eval", "runs/micro")
    assert "weights.safetensors" in line and "truncated" in line
    (run / "weights.safetensors").unlink()
    (line,) = refused(capsys, "translate", "runs/micro")
    assert ("weights.safetensors" in line and "--resume" in line) or "resume" in line

    checkpoint = run / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    (line,) = refused(capsys, "eval", "runs/micro", "--checkpoint", "last")
    assert "last.ckpt" in line and "truncated" in line
    (line,) = refused(capsys, "eval", "runs/micro", "--checkpoint", "average")
    assert "average" in line and "best.safetensors" in line
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "finished": False, "trained": False}))
    (line,) = refused(capsys, "train", "micro", "--resume", "training.validate_every=2", "training.average.last=0")
    assert "last.ckpt" in line and "truncated" in line
    assert "RECAMBIO_RUN_DIR" not in os.environ, "the next run of this process would go into this folder"


def test_a_run_is_not_resumed_under_another_config(
    capsys: pytest.CaptureFixture[str], place: Path, trained: Path
) -> None:
    run = place / "runs" / "micro"
    shutil.copytree(trained, run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "finished": False, "trained": False}))
    same = ["training.max_steps=2", "training.validate_every=2", "training.average.last=0"]
    lines = refused(capsys, "train", "micro", "--resume", *same, "seed=7", "model.dropout=0.3")
    assert len(lines) == 2 and "model.dropout: is 0.3" in lines[0] and "started with 0.1" in lines[0]
    assert "seed: is 7" in lines[1]
    more = ["training.max_steps=4", "decoding.search.width=1", "tracking.csv=true"]
    assert main(["train", "micro", "--resume", *same, *more]) == 0
    assert "max_steps: 4" in (run / "config.yaml").read_text()


def test_wrong_evaluation_input(capsys: pytest.CaptureFixture[str], place: Path, trained: Path) -> None:
    shutil.copytree(trained, place / "runs" / "micro")
    (place / "two.en").write_text("One.\nTwo.\n")
    (place / "one.es").write_text("Uno.\n")
    (place / "latin.es").write_bytes(b"Uno.\na\xf1o\n")
    cases = {
        ("--set", "tset"): ["tset", "wmt13"],
        ("--source", "two.en", "--reference", "one.es"): ["two.en", "one.es", "2", "1"],
        ("--source", "two.en", "--reference", "latin.es"): ["latin.es", "2", "UTF-8"],
        ("--source", "none.en", "--reference", "one.es"): ["none.en"],
        ("--source", "two.en"): ["--reference"],
        ("--checkpoint", "nowhere.safetensors"): ["nowhere.safetensors"],
    }
    for arguments, texts in cases.items():
        lines = " ".join(refused(capsys, "eval", "runs/micro", *arguments))
        assert all(text in lines for text in texts), lines
    # The lines before the one that can't be read are translated.
    assert main(["translate", "runs/micro", "latin.es"]) == 2
    captured = capsys.readouterr()
    assert "error: latin.es:2" in captured.err.splitlines()[-1] and len(captured.out.split("\n")) == 2


def test_a_corpus_without_a_test_set_trains_to_its_end(capsys: pytest.CaptureFixture[str], place: Path) -> None:
    limits = [
        "training.max_steps=2",
        "training.validate_every=2",
        "training.average.last=0",
        "data.tokenizer.vocabulary_size=300",
    ]
    assert main(["train", "micro", "data.corpus={name: moses, train: train, dev: dev}", *limits]) == 0
    assert "no test set to score" in capsys.readouterr().err
    assert json.loads((place / "runs" / "micro" / "manifest.json").read_text())["finished"]
    assert "name one with --set" in refused(capsys, "eval", "runs/micro")[0]
