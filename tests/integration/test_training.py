"""Training from the command line: to its end, twice the same, killed and resumed, on two processes."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.integration.conftest import phrases
from tests.integration.forks import Forked


def rows(run: Path) -> list[dict[str, str]]:
    """metrics.csv without the columns that depend on the clock."""
    with (run / "metrics.csv").open(newline="") as file:
        return [
            {k: v for k, v in row.items() if "per_second" not in k and k != "train/wait"}
            for row in csv.DictReader(file)
        ]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with bit-equal weights."""
    a, b = load_file(one / "weights.safetensors"), load_file(other / "weights.safetensors")
    return a.keys() == b.keys() and all(bool((a[k] == b[k]).all()) for k in a)


def test_a_run_leaves_all_that_its_folder_promises(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    result = recambio("train", "micro")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "runs/micro"
    run = project / "runs" / "micro"
    for name in (
        "config.yaml",
        "manifest.json",
        "weights.safetensors",
        "metrics.csv",
        "report.html",
        "tokenizer.model",
    ):
        assert (run / name).is_file(), name
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["finished"] and manifest["steps"] == 40 and manifest["tokens_seen"] > 0 and manifest["threads"] == 1
    assert manifest["weights"]["holds"] == "average" and manifest["weights"]["averaged_steps"] == [30, 40]
    # The end shows scores, translations, where things are and what to do next.
    for text in ("BLEU", "source", "reference", "report.html", "recambio translate runs/micro"):
        assert text in result.stderr, text
    sets = json.loads((run / "eval" / "test.json").read_text())["sets"]
    assert {"bleu", "chrf", "n", "hypotheses", "sha256", "phenomena"} <= sets["test"].keys()
    assert "nrefs:1" in sets["test"]["bleu"]["signature"] and "tok:13a" in sets["test"]["bleu"]["signature"]
    for part in ("test", "recombination", "length"):
        assert len((run / "eval" / f"{part}.hyp").read_text().splitlines()) == 8
    recorded = {int(r["step"]): float(r["valid/nll"]) for r in rows(run) if r["valid/nll"]}
    best = manifest["weights"]["best_step"]
    assert manifest["weights"]["best_score"] == recorded[best] == min(recorded.values()), "to the last digit"
    steps = [int(r["step"]) for r in rows(run)]
    assert steps == sorted(steps) and steps[-1] == 40

    again = recambio("train", "micro", "training.max_steps=5", "training.validate_every=5")
    assert again.stdout.strip() == "runs/micro-2", "a run must never be overwritten"

    # The recommended weights re-score to what was written.
    scored = recambio("eval", "runs/micro", "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["sets"]["test"]["bleu"] == sets["test"]["bleu"]
    for checkpoint in ("best", "last", "average"):
        other = recambio("eval", "runs/micro", "--set", "test", "--checkpoint", checkpoint, "--json")
        assert other.returncode == 0, other.stderr

    # Lines in, lines out, empty ones too, in order.
    piped = recambio("translate", "runs/micro", stdin="The cat eats fish.\n\nMaria reads.\n")
    assert piped.returncode == 0, piped.stderr
    assert len(piped.stdout.split("\n")) == 4 and piped.stdout.split("\n")[1] == ""
    (project / "in.txt").write_text("The cat eats fish.\n\nMaria reads.\n")
    assert recambio("translate", "runs/micro", "in.txt").stdout == piped.stdout

    # Two runs with one vocabulary translate together; what is asked for comes as JSON lines.
    asked = [
        "--with",
        "runs/micro-2",
        "--n-best",
        "2",
        "--scores",
        "--align",
        "--prefix",
        "El gato",
        "--forbid",
        "pescado",
    ]
    detailed = recambio("translate", "runs/micro", "in.txt", *asked)
    assert detailed.returncode == 0, detailed.stderr
    first, empty, _ = map(json.loads, detailed.stdout.splitlines())
    assert first["text"].startswith("El gato") and "pescado" not in first["text"].split() and empty["text"] == ""
    for found in first["translations"]:
        assert sum(found["log_probabilities"]) == pytest.approx(found["log_probability"], abs=1e-3)
        assert len(found["alignment"]) == len(found["tokens"])


def test_the_same_seed_gives_the_same_losses_and_weights(  # type: ignore[no-untyped-def]
    recambio, unbroken, project: Path
) -> None:
    """In two processes that hash strings differently, and one of another seed."""
    for seed in ("1", "2"):
        assert recambio("train", "micro", f"seed={seed}", "training.max_steps=12").returncode == 0
    one, same, other = (
        unbroken("seed=1", "training.max_steps=12"),
        *(project / "runs" / n for n in ("micro", "micro-2")),
    )
    assert rows(one) == rows(same)
    assert same_weights(one, same)
    assert rows(one) != rows(other) and not same_weights(one, other)


def kill_after_step(process: Forked, run: Path, step: int) -> None:
    """SIGKILL once metrics.csv shows a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.csv").is_file() and any(int(r["step"] or 0) >= step for r in rows(run) if r.get("step")):
            break
        time.sleep(0.01)
    assert process.poll() is None, f"ended before it could be killed: {process.communicate()[1]}"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("when", [5, 25, *(pytest.param(step, marks=pytest.mark.slow) for step in (15, 30))])
def test_a_killed_and_resumed_run_ends_with_the_same_weights(  # type: ignore[no-untyped-def]
    when: int, recambio, start, unbroken, project: Path
) -> None:
    run = project / "runs" / "micro"
    kill_after_step(start(), run, when)
    assert not json.loads((run / "manifest.json").read_text())["finished"]
    resumed = recambio("train", "micro", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.strip() == "runs/micro"
    assert same_weights(run, unbroken())
    assert rows(run) == rows(unbroken())
    done = recambio("train", "micro", "--resume")
    assert done.returncode == 0 and "is finished" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_interrupt_ends_with_130_and_nothing_is_lost(  # type: ignore[no-untyped-def]
    number: int, recambio, start, project: Path
) -> None:
    """The step is finished and saved: the resumed run ends with the weights of an unbroken one."""
    long = "training.validate_every=1000"  # no checkpoint but the interrupt's own
    process = start("training.max_steps=2000", long)
    run = project / "runs" / "micro"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (run / "metrics.csv").is_file():
        time.sleep(0.01)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert not json.loads((run / "manifest.json").read_text())["finished"]
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert f"interrupted: step {step} is saved in runs/micro; the same command with --resume goes on" in error
    end = f"training.max_steps={step + 20}"
    resumed = recambio("train", "micro", "--resume", end, long)
    assert resumed.returncode == 0, resumed.stderr
    assert recambio("train", "micro", "--run", "runs/unbroken", end, long).returncode == 0
    assert same_weights(run, project / "runs" / "unbroken")


def test_two_processes_take_the_steps_of_one(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    """Two ranks with one batch each take the same global steps as one rank with two, dropout off: the same update; and several batches
    of sentences each, which they translate as well as one, make up the validation."""
    options = [*phrases(project, dev=40), "training.validate_every=20", "decoding.batch_tokens=96"]
    alone = recambio("train", "micro", "--run", "runs/alone", *options)
    assert alone.returncode == 0, alone.stderr
    pair = recambio(
        *("train", "micro", "--run", "runs/pair", *options, "training.accumulate=1"),
        *("trainer.devices=2", "trainer.strategy=ddp"),
    )
    assert pair.returncode == 0, pair.stderr
    assert "sync_dist" not in pair.stderr and "distributed" not in pair.stderr, (
        "advice and announcements of Lightning's"
    )
    assert pair.stdout.strip() == "runs/pair", "only the first process prints"
    a, b = rows(project / "runs" / "alone"), rows(project / "runs" / "pair")
    assert [r["step"] for r in a] == [r["step"] for r in b]
    for mine, theirs in zip(a, b, strict=True):
        for key in ("train/loss", "train/nll", "train/tokens", "valid/nll", "valid/bleu"):
            if mine.get(key):
                assert float(mine[key]) == pytest.approx(float(theirs[key]), rel=2e-3, abs=1e-6), (key, mine["step"])
    assert float(a[-1]["valid/bleu"]) > 5, "a score of 0 would be the same of any sentences"
    one, two = (load_file(project / "runs" / n / "weights.safetensors") for n in ("alone", "pair"))
    for name in one:
        assert_close(one[name], two[name], rtol=1e-2, atol=2e-3)


def test_a_plugin_file_trains_in_every_process_and_loads_again_at_evaluation(  # type: ignore[no-untyped-def]
    recambio, project: Path
) -> None:
    (project / "plugins").mkdir()
    plugin = project / "plugins" / "softsign.py"
    plugin.write_text(
        "from torch import Tensor\n"
        "from recambio.components.activation.base import Activation\n"
        "from recambio.registry import ACTIVATION\n\n\n"
        '@ACTIVATION.register("softsign")\n'
        "class Softsign(Activation):\n"
        '    """x / (1 + |x|)."""\n\n'
        "    def forward(self, x: Tensor) -> Tensor:\n"
        "        return x / (1 + x.abs())\n"
    )
    arguments = [
        "train",
        "micro",
        "model.activation=softsign",
        "training.max_steps=10",
        "trainer.devices=2",
        "trainer.strategy=ddp",
    ]
    unknown = recambio(*arguments)
    assert unknown.returncode == 2 and "unknown activation 'softsign'" in unknown.stderr
    trained = recambio(*arguments, "--plugin", "plugins/softsign.py")
    assert trained.returncode == 0, trained.stderr
    scored = recambio("eval", "runs/micro", "--set", "test", "--json")
    assert scored.returncode == 0, scored.stderr
    manifest = json.loads((project / "runs" / "micro" / "manifest.json").read_text())
    assert [p["names"] for p in manifest["plugins"]] == [["activation/softsign"]]
    plugin.write_text(plugin.read_text() + "\n# changed\n")
    changed = recambio("translate", "runs/micro", "--devices", "2", stdin="A dog.\n")
    assert changed.returncode == 0 and changed.stdout.count("\n") == 1
    assert changed.stderr.count("has changed") == 1, "each process loads it, one says so"
    plugin.unlink()
    missing = recambio("eval", "runs/micro", "--set", "test")
    assert missing.returncode == 2 and "--plugin" in missing.stderr


def test_wandb_offline_beside_csv(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("wandb")
    result = recambio("train", "micro", "training.max_steps=10", "tracking.wandb.project=micro")
    assert result.returncode == 0, result.stderr
    assert "W&B failed" not in result.stderr
    run = project / "runs" / "micro"
    files = list(run.rglob("*.wandb"))
    assert files, "no offline run, though there is no account"
    assert len({p.stem for p in files}) == 1, "one id over training and final evaluation"
    text = b"".join(p.read_bytes() for p in files)
    for expected in (b"train/loss", b"valid/nll", b"eval/test/bleu", b"n_heads", b"samples/test"):
        assert expected in text, expected
    assert rows(run), "metrics.csv is written as well"
