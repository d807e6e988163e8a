"""Averages of weights: the moving one beside what is trained, and the mean of the last or best validations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset

from recambio import registry
from recambio.data.batch import Batch
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.model.weights import load_weights, read_weights
from recambio.training.average import MovingAverage
from recambio.training.callbacks import Checkpoints
from recambio.training.module import EvaluationText, StepBatch, TranslationModule

registry.load_builtins()

PAD, SOS, EOS, V = 0, 2, 3, 17


# -------------------------------------------------------------------------------------------------- the moving average


class Tied(nn.Module):
    """One matrix under two names, and a vector."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.source = nn.Embedding(5, 3, dtype=dtype)
        self.output = nn.Linear(3, 5, bias=False, dtype=dtype)
        self.output.weight = self.source.weight
        self.gain = nn.Parameter(torch.ones(3, dtype=dtype))

    def move(self, g: torch.Generator) -> None:
        """What an optimiser step would do, in place."""
        with torch.no_grad():
            for p in self.parameters():
                p += 0.1 * torch.randn(p.shape, generator=g).to(p.dtype)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.9999])
def test_the_average_is_its_recurrence(decay: float) -> None:
    model, g = Tied(), torch.Generator().manual_seed(1)
    average = MovingAverage(model, decay)
    wanted: np.ndarray[Any, Any] | None = None
    for t in range(40):
        model.move(g)
        average.update()
        w = model.source.weight.detach().double().numpy().copy()
        share = min(decay, (1 + t) / (10 + t))
        wanted = w if wanted is None else share * wanted + (1 - share) * w
    assert set(average.state_dict()["weights"]) == {"source.weight", "gain"}
    average.put()
    assert_close(model.source.weight.detach().double(), torch.from_numpy(wanted), rtol=1e-5, atol=1e-6)
    assert model.output.weight.data_ptr() == model.source.weight.data_ptr()


def test_before_a_step_the_average_is_the_weights_and_they_come_back_to_the_bit() -> None:
    model, g = Tied(), torch.Generator().manual_seed(1)
    average, raw = MovingAverage(model, 0.9), model.gain.detach().clone()
    average.put()
    assert torch.equal(model.gain, raw)
    average.take_back()
    for _ in range(3):
        model.move(g)
        average.update()
    raw = model.gain.detach().clone()
    for _ in range(2):  # asking twice changes nothing
        average.put()
    assert not torch.equal(model.gain, raw)
    for _ in range(2):
        average.take_back()
        assert torch.equal(model.gain, raw)


def test_steps_too_small_for_bfloat16_are_not_lost() -> None:
    model = Tied(torch.bfloat16)
    average = MovingAverage(model, 0.999)
    for _ in range(300):
        average.update()
    with torch.no_grad():
        model.gain.fill_(2.0)
    for _ in range(200):
        average.update()
    held = average.state_dict()["weights"]["gain"]
    # From 1 towards 2 with a share of 1 - (1 + t) / (10 + t) each: in bfloat16 an average above 1 stands still below 1/256.
    left = np.prod([min(0.999, (1 + t) / (10 + t)) for t in range(300, 500)])
    assert held.dtype == torch.float32
    assert_close(held, torch.full((3,), 2.0 - float(left)), rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------------------ through training


def batch(seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    source, target = torch.randint(4, V, (4, 5), generator=g), torch.randint(4, V, (4, 7), generator=g)
    target[:, 0], target[:, -1] = SOS, EOS
    return Batch(torch.arange(4), source, target, None, None, 20, 24)


class _Steps(IterableDataset[StepBatch]):
    def __init__(self, data: _Data) -> None:
        self.data = data

    def __iter__(self) -> Iterator[StepBatch]:
        for step in range(self.data.done, 100):
            yield StepBatch([batch(step)], 20, 24, 0)


class _Data(L.LightningDataModule):
    """Steps from where a checkpoint left them."""

    done = 0

    def train_dataloader(self) -> DataLoader[StepBatch]:
        return DataLoader(_Steps(self), batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader([batch(1000), batch(1001)], batch_size=None)  # type: ignore[arg-type]

    def advance(self) -> None:
        self.done += 1

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]


class _Watch(L.Callback):
    """The scores and the weights of each validation, and the weights trained around it."""

    def __init__(self) -> None:
        self.scores: list[dict[str, float]] = []
        self.validated: list[dict[str, Tensor]] = []
        self.before: list[Tensor] = []
        self.after: list[Tensor] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.after.append(pl_module.model.embedding.source.weight.detach().clone())

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.before.append(pl_module.model.embedding.source.weight.detach().clone())

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.scores.append({k: float(v) for k, v in trainer.callback_metrics.items()})


def module(ema: float | None) -> TranslationModule:
    stack, decoder = StackSpec.uniform(1), StackSpec.uniform(1, cross_attention="multi_head")
    spec = ModelSpec(stack, decoder, V, V, d_model=16, n_heads=2, d_ff=24, dropout=0.2)
    texts = [" ".join(str(i) for i in row[1:-1]) for row in batch(1000).target.tolist()]
    return TranslationModule(
        Transformer(spec),
        registry.LOSS.create("label_smoothing", pad_id=PAD),
        registry.OPTIMIZER.create({"name": "adamw", "lr": 0.01}),
        registry.SCHEDULE.create({"name": "constant"}),
        pad_id=PAD,
        sos_id=SOS,
        eos_id=EOS,
        seed=1,
        log_every=1,
        ema=ema,
        search=registry.SEARCH.create("greedy"),
        validation=EvaluationText(texts, lambda rows: [" ".join(map(str, row)) for row in rows]),
    )


def fitted(
    folder: Path, steps: int, *, ema: float | None = None, resume: bool = False, precision: Any = "32", **options: Any
) -> tuple[TranslationModule, Checkpoints, _Watch]:
    """Trained with a validation every second step."""
    kept = Checkpoints(folder, is_moving=ema is not None, **options)
    trained, watch = module(ema), _Watch()
    trainer = trainer_of(folder, [watch, kept], max_steps=steps, val_check_interval=2, precision=precision)
    resumed = {"ckpt_path": folder / "last.ckpt", "weights_only": True} if resume else {}
    trainer.fit(trained, datamodule=_Data(), **resumed)  # type: ignore[arg-type]
    assert trainer.global_step == steps
    return trained, kept, watch


def trainer_of(folder: Path, callbacks: list[L.Callback], **options: Any) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )


def test_validations_score_the_average_and_training_goes_on_with_the_raw_weights(tmp_path: Path) -> None:
    averaged, _, watch = fitted(tmp_path / "ema", 6, ema=0.9)
    plain, _, other = fitted(tmp_path / "raw", 6)
    # Averaging changes nothing of what is trained, and what is validated differs from it.
    for (name, a), b in zip(averaged.model.named_parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [s["valid/nll"] for s in watch.scores] != [s["valid/nll"] for s in other.scores]
    for ended, started in zip(watch.before[1::2], watch.after[2::2], strict=False):
        assert torch.equal(ended, started)
    state = torch.load(tmp_path / "ema" / "last.ckpt", weights_only=True)
    saved = load_file(tmp_path / "ema" / "average.safetensors")
    for name, p in plain.model.named_parameters():
        assert torch.equal(state["state_dict"][f"model.{name}"], p), "last.ckpt must hold the raw weights"
        assert torch.equal(state["recambio"]["average"]["weights"][name], saved[name])
        if name.endswith("weight"):
            assert not torch.equal(saved[name], p)


def test_a_resumed_run_continues_weights_and_average_to_the_bit(tmp_path: Path) -> None:
    whole, _, watch = fitted(tmp_path / "whole", 8, ema=0.9)
    fitted(tmp_path / "cut", 4, ema=0.9)
    resumed, _, rest = fitted(tmp_path / "cut", 8, ema=0.9, resume=True)
    assert whole.average is not None and resumed.average is not None
    assert resumed.average.n_steps == whole.average.n_steps == 8
    for name, p in whole.model.named_parameters():
        assert torch.equal(p, resumed.model.get_parameter(name)), name
        assert torch.equal(whole.average.state_dict()["weights"][name], resumed.average.state_dict()["weights"][name])
    assert rest.scores == watch.scores[2:]
    for file in ("best.safetensors", "average.safetensors"):
        a, b = (load_file(tmp_path / f / file) for f in ("whole", "cut"))
        assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(("keep", "average"), [("last", 5), ("best", 3)])
def test_a_resumed_run_averages_the_validations_of_both_its_parts_to_the_bit(
    keep: Literal["last", "best"], average: int, tmp_path: Path
) -> None:
    """Cut at a validation; what is averaged are weights of before and of after, and the mean scores the same."""
    _, whole, _ = fitted(tmp_path / "whole", 12, average=average, keep=keep)
    fitted(tmp_path / "cut", 8, average=average, keep=keep)
    _, resumed, _ = fitted(tmp_path / "cut", 12, average=average, keep=keep, resume=True)
    assert resumed.kept == whole.kept
    assert whole.kept[0] <= 8 < whole.kept[-1] and len(whole.kept) == average, "else the cut shows nothing"
    files = [kept.write_average() for kept in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()  # type: ignore[union-attr]
    scores = []
    for file in files:
        mean = module(None)
        load_weights(mean.model, file)  # type: ignore[arg-type]
        trainer = trainer_of(tmp_path, [])
        trainer.validate(mean, datamodule=_Data(), verbose=False)
        scores.append({k: float(v) for k, v in trainer.callback_metrics.items()})
    assert scores[0] == scores[1] and "valid/nll" in scores[0]


@pytest.mark.parametrize(
    ("monitor", "ema", "precision"),
    [
        ("nll", None, "32"),
        ("nll", 0.5, "32"),
        ("bleu", None, "32"),
        ("bleu", 0.5, "32"),
        ("nll", None, "bf16-mixed"),
        ("bleu", 0.5, "bf16-mixed"),
    ],
)
def test_the_best_file_rescored_from_disk_gives_the_scores_that_were_logged(
    monitor: str, ema: float | None, precision: str, tmp_path: Path
) -> None:
    """In float32, whatever the training has multiplied in."""
    _, kept, watch = fitted(tmp_path, 12, ema=ema, monitor=monitor, precision=precision)
    fresh = module(None)
    load_weights(fresh.model, tmp_path / "best.safetensors")
    trainer = trainer_of(tmp_path, [])
    trainer.validate(fresh, datamodule=_Data(), verbose=False)
    logged = watch.scores[kept.best_step // 2 - 1]
    choose = min if monitor == "nll" else max
    assert logged[f"valid/{monitor}"] == choose(s[f"valid/{monitor}"] for s in watch.scores)
    for key in ("valid/nll", "valid/bleu"):
        assert float(trainer.callback_metrics[key]) == logged[key]
        assert len({s[key] for s in watch.scores}) > 2, f"{key} hardly changes, so that this shows nothing"


# ------------------------------------------------------------------------------------------------- the mean of several


def test_the_best_validations_are_averaged(tmp_path: Path) -> None:
    _, kept, watch = fitted(tmp_path, 12, average=3, keep="best")
    scores = {2 * (i + 1): s["valid/nll"] for i, s in enumerate(watch.scores)}
    wanted = sorted(sorted(scores, key=scores.__getitem__)[:3])
    assert kept.kept == wanted
    assert sorted(p.name for p in tmp_path.glob("step-*")) == [f"step-{k:08d}.safetensors" for k in wanted]
    path = kept.write_average()
    files = [read_weights(kept.snapshot(k)) for k in wanted]
    for name, tensor in load_file(path).items():  # type: ignore[arg-type]
        mean = np.mean([f[name].double().numpy() for f in files], axis=0)
        assert torch.equal(tensor, torch.from_numpy(mean).float()), name


def test_a_run_killed_before_old_weights_are_removed_removes_them_once_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "remove_snapshots", lambda *_, **__: None)
        fitted(tmp_path, 6, average=2)
    (tmp_path / "step-00000007.safetensors").touch()  # and one that the state knows nothing of yet
    assert len([*tmp_path.glob("step-*")]) == 4
    _, kept, _ = fitted(tmp_path, 8, average=2, resume=True)
    assert kept.kept == [6, 8]
    assert sorted(p.name for p in tmp_path.glob("step-*")) == [f"step-0000000{k}.safetensors" for k in (6, 8)]


@pytest.mark.parametrize(
    ("monitor", "scores", "kept"),
    [
        ("nll", [5.0, 3.0, 4.0, 3.5, 9.0], [2, 4]),
        ("bleu", [5.0, 3.0, 4.0, 3.5, 9.0], [1, 5]),
        ("nll", [2.0, 2.0, 2.0], [1, 2]),
        ("nll", [float("nan"), 4.0, float("nan"), 5.0], [2, 4]),
        ("nll", [float("nan")], [1]),
    ],
)
def test_which_are_the_best(monitor: str, scores: list[float], kept: list[int]) -> None:
    checkpoints = Checkpoints(Path(), monitor, 2, "best")
    dropped: list[int] = []
    for step, score in enumerate(scores, start=1):
        dropped += checkpoints._rank({**checkpoints.scores, step: score})
    assert checkpoints.kept == kept
    assert sorted([*dropped, *kept]) == list(range(1, len(scores) + 1))


def test_the_last_are_the_last_whatever_they_score() -> None:
    checkpoints = Checkpoints(Path(), "nll", 2)
    for step, score in enumerate([1.0, 9.0, 8.0, 7.0], start=1):
        checkpoints._rank({**checkpoints.scores, step: score})
    assert checkpoints.kept == [3, 4]
