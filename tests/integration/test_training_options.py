"""What the trainer can be asked for, from the command line: averages, killed and resumed, on two processes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from tests.integration.conftest import phrases
from tests.integration.test_training import kill_after_step, rows, same_weights


def logged(run: Path, key: str) -> dict[int, float]:
    """A column of metrics.csv by step."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(r["step"]): float(r[key]) for r in csv.DictReader(file) if r.get(key)}


def test_everything_is_counted_in_optimiser_steps(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    """Records, learning rates, validations and the end, whatever a step accumulates; epochs end within a step."""
    few = ["data.corpus.train_size=145", "data.corpus.dev_size=2", "training.validate_every=3", "training.log_every=2"]
    few += ["training.max_steps=null", "training.max_epochs=2", "evaluation.metrics=[bleu]"]
    batches, tokens = 0, set()
    for accumulate in (1, 3, 4):
        at = f"runs/{accumulate}"
        done = recambio("train", "micro", "--run", at, *few, f"training.accumulate={accumulate}")
        assert done.returncode == 0, done.stderr
        manifest = json.loads((project / at / "manifest.json").read_text())
        batches = batches or manifest["steps"] // 2
        in_epoch = math.ceil(batches / accumulate)
        assert accumulate == 1 or batches % accumulate, "no step is cut short"
        last = 2 * in_epoch
        validated = sorted({*range(3, last + 1, 3), last})
        recorded = sorted({*range(2, last + 1, 2), *validated})
        assert manifest["steps"] == last
        assert [*logged(project / at, "valid/nll")] == validated
        assert {s: int(e) for s, e in logged(project / at, "epoch").items()} == {
            s: (s - 1) // in_epoch for s in recorded
        }
        rates = {s: 0.01 * min(s / 10, (10 / s) ** 0.5) for s in recorded}
        assert logged(project / at, "train/lr") == pytest.approx(rates)
        state = torch.load(project / at / "checkpoints" / "last.ckpt", weights_only=True)
        assert state["global_step"] == last and state["TranslationData"] == {"epoch": 2, "batches": 0}
        tokens.add(manifest["tokens_seen"])
    assert len(tokens) == 1


EMA = ("training.average={last: 0, ema: 0.8}",)


@pytest.mark.parametrize("when", [pytest.param(5, marks=pytest.mark.slow), 25])
def test_a_killed_run_with_a_moving_average_ends_with_the_same_weights(  # type: ignore[no-untyped-def]
    when: int, recambio, start, unbroken, project: Path
) -> None:
    run, whole = project / "runs" / "micro", unbroken(*EMA)
    kill_after_step(start(*EMA), run, when)
    resumed = recambio("train", "micro", "--resume", *EMA)
    assert resumed.returncode == 0, resumed.stderr
    assert same_weights(run, whole) and rows(run) == rows(whole)
    states = [torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (run, whole)]
    for name, tensor in states[0]["recambio"]["average"]["weights"].items():
        assert torch.equal(tensor, states[1]["recambio"]["average"]["weights"][name]), name
        assert torch.equal(states[0]["state_dict"][f"model.{name}"], states[1]["state_dict"][f"model.{name}"]), name
    weights = json.loads((run / "manifest.json").read_text())["weights"]
    assert (weights["holds"], weights["ema"]) == ("best", 0.8)
    for checkpoint in ("best", "last", "average"):
        assert recambio("eval", "runs/micro", "--set", "test", "--checkpoint", checkpoint).returncode == 0


def test_two_processes_average_as_one(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    common = ("train", "micro", "model.dropout=0", "training.max_steps=20", *EMA)
    assert recambio(*common, "--run", "runs/alone").returncode == 0
    devices = ("training.accumulate=1", "trainer.devices=2", "trainer.strategy=ddp")
    pair = recambio(*common, "--run", "runs/pair", *devices)
    assert pair.returncode == 0, pair.stderr
    alone, both = project / "runs" / "alone", project / "runs" / "pair"
    assert logged(both, "valid/nll").keys() == {10, 20}
    for step, nll in logged(alone, "valid/nll").items():
        assert logged(both, "valid/nll")[step] == pytest.approx(nll, rel=2e-3)
    one, two = (load_file(r / "weights.safetensors") for r in (alone, both))
    for name in one:
        assert_close(one[name], two[name], rtol=1e-2, atol=2e-3)


def test_the_mean_of_the_best_validations(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    result = recambio("train", "micro", "training.average={last: 0, best: 2}", "training.monitor=nll")
    assert result.returncode == 0, result.stderr
    run = project / "runs" / "micro"
    weights = json.loads((run / "manifest.json").read_text())["weights"]
    nll = logged(run, "valid/nll")
    assert weights["holds"] == "average"
    assert weights["averaged_steps"] == sorted(sorted(nll, key=lambda step: (nll[step], step))[:2])
    assert not list((run / "checkpoints").glob("step-*"))


@pytest.mark.slow  # unit/test_average.py does the same without the command line
@pytest.mark.parametrize("average", ["{last: 3}", "{last: 0, best: 2}"], ids=["last", "best"])
def test_a_killed_run_averages_the_validations_that_an_unbroken_one_does(  # type: ignore[no-untyped-def]
    average: str, recambio, start, project: Path
) -> None:
    """Weights of before and of after the kill are in the mean, which scores what the run has written down of it."""
    options = (*phrases(project, dev=6), "training.monitor=nll", f"training.average={average}")
    run, whole = project / "runs" / "micro", project / "runs" / "whole"
    assert recambio("train", "micro", *options, "--run", "runs/whole").returncode == 0
    kill_after_step(start(*options), run, 34)
    reached = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    resumed = recambio("train", "micro", "--resume", *options)
    assert resumed.returncode == 0, resumed.stderr
    manifests = [json.loads((r / "manifest.json").read_text())["weights"] for r in (run, whole)]
    assert manifests[0] == manifests[1] and manifests[0]["holds"] == "average"
    assert manifests[0]["averaged_steps"][0] <= reached < manifests[0]["averaged_steps"][-1]
    assert same_weights(run, whole) and rows(run) == rows(whole)
    scored = recambio("eval", "runs/micro", "--set", "test", "--checkpoint", "average", "--json")
    assert scored.returncode == 0, scored.stderr
    written = [json.loads((r / "eval" / "test.json").read_text())["sets"]["test"] for r in (run, whole)]
    assert json.loads(scored.stdout)["sets"]["test"]["bleu"] == written[0]["bleu"] == written[1]["bleu"]
    assert written[0]["chrf"] == written[1]["chrf"]
    assert written[0]["bleu"]["score"] > 1, "a score of 0 would be the same of any weights"


def test_a_moving_average_of_an_average_is_refused(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    refused = recambio("train", "micro", "training.optimizer=schedule_free", *EMA)
    assert refused.returncode == 2
    assert (
        refused.stderr.strip()
        .splitlines()[-1]
        .endswith(
            "training.optimizer: 'schedule_free' averages its weights itself; leave out training.average.ema, or choose another"
        )
    )
    assert not (project / "runs").exists()


def test_fine_tuning_starts_from_the_weights_of_a_run_and_survives_a_kill(  # type: ignore[no-untyped-def]
    recambio, start, project: Path
) -> None:
    assert recambio("train", "micro", "training.max_steps=20").returncode == 0
    still = ("training.optimizer={name: adamw, lr: 1.0e-30, weight_decay: 0}", "training.init_from=runs/micro")
    untouched = recambio("train", "micro", "name=same", "seed=5", "training.max_steps=2", *still)
    assert untouched.returncode == 0, untouched.stderr
    assert same_weights(project / "runs" / "micro", project / "runs" / "same"), "a step of no size changes nothing"
    assert untouched.stderr.count("started from runs/micro/weights.safetensors\n") == 2

    # Other data, another seed, one part swapped: the vocabulary stays that of the first run.
    tune = (
        *("name=tuned", "seed=3", "data.corpus.train_size=400", "model.decoder.attention=cosine"),
        *("training.init_from=runs/micro", "training.init_partial=true"),
    )
    run = project / "runs" / "tuned"
    kill_after_step(start(*tune), run, 15)
    resumed = recambio("train", "micro", "--resume", *tune)
    assert resumed.returncode == 0, resumed.stderr
    assert "started from runs/micro/weights.safetensors; anew: model.decoder.attention" in resumed.stderr
    whole = recambio("train", "micro", "--run", "runs/unbroken", *tune)
    assert whole.returncode == 0, whole.stderr
    assert same_weights(run, project / "runs" / "unbroken")
    tokenizers = [json.loads((project / "runs" / n / "tokenizer.json").read_text()) for n in ("micro", "tuned")]
    assert tokenizers[0]["fingerprint"] == tokenizers[1]["fingerprint"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["init_from"]["fresh"] == ["model.decoder.attention"]
    assert manifest["data"]["hashes"]["tokenizer"] == tokenizers[0]["fingerprint"]

    # A source that has become another is noticed before anything is trained on.
    kill_after_step(start(*tune, "name=late"), project / "runs" / "late", 5)
    other = project / "runs" / "micro" / "checkpoints" / "best.safetensors"
    (project / "runs" / "micro" / "weights.safetensors").write_bytes(other.read_bytes())
    late = recambio("train", "micro", "--resume", *tune, "name=late")
    assert late.returncode == 2
    assert late.stderr.strip().splitlines()[-1] == (
        "error: training.init_from: runs/micro/weights.safetensors is not the file that this run started from any more; "
        "bring that back, or start a new run without --resume"
    )


def test_bfloat16_weights_are_trained_saved_and_resumed(  # type: ignore[no-untyped-def]
    recambio, start, project: Path
) -> None:
    low = ("trainer.precision=bf16-true", *EMA)
    run = project / "runs" / "micro"
    kill_after_step(start(*low), run, 15)
    assert recambio("train", "micro", "--resume", *low).returncode == 0
    assert recambio("train", "micro", "--run", "runs/unbroken", *low).returncode == 0
    assert same_weights(run, project / "runs" / "unbroken")
    assert json.loads((run / "manifest.json").read_text())["precision"] == "bf16-true"
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert {t.dtype for t in state["state_dict"].values()} == {torch.bfloat16}
    assert {t.dtype for t in state["recambio"]["average"]["weights"].values()} == {torch.float32}
    loss = logged(run, "train/nll")
    assert loss[40] < loss[4] - 0.5


@pytest.mark.slow  # bfloat16 on a processor that has none
def test_what_mixed_precision_logs_is_what_the_best_weights_score(  # type: ignore[no-untyped-def]
    recambio, project: Path
) -> None:
    """To the last digit, though the steps multiply in bfloat16 and an evaluation in float32; ``unit/test_average.py`` shows the same
    without the command line."""
    mixed = ("trainer.precision=bf16-mixed", "training.monitor=bleu", "model.d_model=32", "training.max_steps=80", *EMA)
    trained = recambio("train", "micro", *mixed)
    assert trained.returncode == 0, trained.stderr
    run = project / "runs" / "micro"
    weights = json.loads((run / "manifest.json").read_text())["weights"]
    scored = recambio("eval", str(run), *("--set", "dev", "--checkpoint", "best", "--json"), "decoding.search=greedy")
    assert scored.returncode == 0, scored.stderr
    bleu = json.loads(scored.stdout)["sets"]["dev"]["bleu"]["score"]
    assert bleu > 0.1 and bleu == logged(run, "valid/bleu")[weights["best_step"]] == weights["best_score"]


def test_auto_writes_down_what_it_chose_and_keeps_to_it(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    short = ("training.max_steps=4", "training.validate_every=2", "training.average.last=0", "trainer.precision=auto")
    first = recambio("train", "micro", *short)
    manifest = json.loads((project / "runs" / "micro" / "manifest.json").read_text())
    assert manifest["precision"] in ("32", "bf16-mixed") and f"precision: {manifest['precision']}\n" in first.stderr
    other = {"32": "bf16-mixed", "bf16-mixed": "32"}[manifest["precision"]]
    unfinished = {**manifest, "precision": other, "finished": False, "trained": False}
    (project / "runs" / "micro" / "manifest.json").write_text(json.dumps(unfinished))
    pair = ("trainer.devices=2", "trainer.strategy=ddp", "training.max_steps=6")
    resumed = recambio("train", "micro", "--resume", *short, *pair)
    assert resumed.returncode == 0 and f"precision: {other}\n" in resumed.stderr, resumed.stderr


def test_a_batch_in_target_tokens_is_the_same_on_two_processes(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    common = ("train", "micro", "model.dropout=0", "training.max_steps=8", "training.accumulate=1")
    ask = "training.target_batch_tokens=900"
    alone = recambio(*common, ask, "--run", "runs/alone")
    pair = recambio(*common, ask, "--run", "runs/pair", "trainer.devices=2", "trainer.strategy=ddp")
    manifests = []
    for name, result in (("alone", alone), ("pair", pair)):
        assert result.returncode == 0, result.stderr
        manifests.append(json.loads((project / "runs" / name / "manifest.json").read_text()))
        said = f"accumulate {manifests[-1]['accumulate']}: {manifests[-1]['step_tokens']:,} target tokens a step of the 900 asked for\n"
        assert result.stderr.count(said) == 1
    assert manifests[0]["accumulate"] == 2 * manifests[1]["accumulate"] == 4
    assert 800 < manifests[0]["step_tokens"] == manifests[1]["step_tokens"] < 1000
    a, b = (logged(project / "runs" / n, "train/tokens") for n in ("alone", "pair"))
    assert a == b and a[8] / 8 == pytest.approx(manifests[0]["step_tokens"], rel=0.1)


@pytest.mark.slow
def test_checkpointed_activations_train_the_same_weights_on_two_processes(  # type: ignore[no-untyped-def]
    recambio, project: Path
) -> None:
    """With dropout, to the bit: the second computation of a layer drops what the first did."""
    devices = ("trainer.devices=2", "trainer.strategy=ddp", "training.max_steps=12")
    for name, extra in (("plain", ()), ("again", ("training.checkpoint_activations=true",))):
        result = recambio("train", "micro", "--run", f"runs/{name}", *devices, *extra)
        assert result.returncode == 0, result.stderr
    assert same_weights(project / "runs" / "plain", project / "runs" / "again")


FULL = '''
from pathlib import Path

import torch

from recambio.registry import LOSS
from recambio.training.losses.label_smoothing import LabelSmoothing


@LOSS.register("hungry")
class Hungry(LabelSmoothing):
    """Runs out of memory where a file says so: after so many passes in training, or in validation."""

    passed = 0

    def forward(self, hidden, weight, bias, targets):
        full = Path("full").read_text().split() if Path("full").exists() else ["never"]
        self.passed += self.training
        if full[0] == "training" and self.training and self.passed > int(full[1]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\\nAnd more")
        if full[0] == "validation" and not self.training and self.passed > int(full[1]):
            torch.empty(10**15)
        return super().forward(hidden, weight, bias, targets)
'''


@pytest.mark.parametrize(
    ("full", "where", "remedy"),
    [
        ("training 31", "error: out of memory at step 16 of training, in a batch of ",
         " target positions (CUDA out of memory. Tried to allocate 2.00 GiB); resume with training.checkpoint_activations=true, or "
         "start anew with a lower data.batch_tokens, and training.accumulate raised to match"),
        ("validation 39", "error: out of memory in the validation after step 20, in a batch of ",
         "(Cannot allocate memory)); lower decoding.batch_tokens"),
    ],
)  # fmt: skip
def test_out_of_memory_is_one_line_and_loses_nothing(  # type: ignore[no-untyped-def]
    full: str, where: str, remedy: str, recambio, unbroken, project: Path
) -> None:
    (project / "plugin.py").write_text(FULL)
    hungry = ("--plugin", "plugin.py", "training.loss=hungry")
    loss = ("train", "micro", *hungry)
    (project / "full").write_text(full)
    failed = recambio(*loss)
    assert failed.returncode == 1
    line = failed.stderr.strip().splitlines()[-1]
    assert line.startswith(where) and line.endswith(remedy) and "Traceback" not in failed.stderr, line
    run = project / "runs" / "micro"
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 10
    assert not json.loads((run / "manifest.json").read_text())["trained"]
    (project / "full").unlink()
    # What the line advises is what a resumed run takes, and it changes no weight.
    advised = "decoding.batch_tokens=4096" if "validation" in full else "training.checkpoint_activations=true"
    resumed = recambio(*loss, "--resume", advised)
    assert resumed.returncode == 0, resumed.stderr
    whole = unbroken(*hungry, plugin=FULL)
    assert same_weights(run, whole) and rows(run) == rows(whole)


def test_a_profiled_run_trains_the_same_weights(recambio, project: Path) -> None:  # type: ignore[no-untyped-def]
    for name, extra in (("plain", ()), ("seen", ("training.profile=true",))):
        result = recambio("train", "micro", "training.max_steps=12", "--run", f"runs/{name}", *extra)
        assert result.returncode == 0, result.stderr
    plain, seen = project / "runs" / "plain", project / "runs" / "seen"
    assert same_weights(plain, seen) and rows(plain) == rows(seen)
    assert (seen / "profile.txt").read_text().startswith("steps 4 to 8: ")
    assert (seen / "profile.trace.json").is_file() and not (plain / "profile.txt").exists()
    waits = logged(seen, "train/wait")
    assert list(waits) == [4, 8, 10, 12] and all(0 < share < 1 for share in waits.values())
