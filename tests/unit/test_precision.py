"""What ``auto`` means on each kind of device, training with bfloat16 weights, and the scale of float16's gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.utils.data import DataLoader

from recambio import registry
from recambio.config.schema import Trainer
from recambio.data.batch import Batch
from recambio.errors import InputError
from recambio.experiment import precision
from recambio.experiment.precision import chosen_precision
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.callbacks import Checkpoints
from recambio.training.module import StepBatch, TranslationModule
from recambio.training.optimizers.base import ParameterGroups
from tests.unit.test_training_step import SENTENCES, batch
from tests.unit.test_training_step import module as step_module

registry.load_builtins()


def machine(
    monkeypatch: pytest.MonkeyPatch,
    *,
    cuda: list[tuple[int, int]] | None = None,
    mps: bool = False,
    cpu: dict[str, bool] | None = None,
) -> None:
    """Pretend to be a machine with these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cuda or []))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda i: (cuda or [])[i])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu or {}, raising=False)


FAST = {"avx512_bf16": True, "amx_bf16": False}


@pytest.mark.parametrize(
    ("devices", "accelerator", "wanted"),
    [
        ({"cuda": [(9, 0)]}, "auto", "bf16-mixed"),
        ({"cuda": [(8, 0), (8, 6)]}, "gpu", "bf16-mixed"),
        ({"cuda": [(8, 0), (7, 5)]}, "cuda", "16-mixed"),
        ({"cuda": [(7, 0)]}, "auto", "16-mixed"),
        ({"cuda": [(9, 0)], "cpu": {}}, "cpu", "32"),
        ({"cuda": [(7, 0)], "cpu": FAST}, "cpu", "bf16-mixed"),
        ({"mps": True, "cpu": FAST}, "auto", "32"),
        ({"cpu": FAST}, "auto", "bf16-mixed"),
        ({"cpu": {"amx_bf16": True}}, "cpu", "bf16-mixed"),
        ({"cpu": {"avx512_f": True, "avx512_bf16": False}}, "auto", "32"),
        ({}, "auto", "32"),
    ],
)
def test_auto_by_device(
    monkeypatch: pytest.MonkeyPatch, devices: dict[str, Any], accelerator: Any, wanted: str
) -> None:
    machine(monkeypatch, **devices)
    assert chosen_precision(Trainer(accelerator=accelerator, precision="auto"), None) == wanted


@pytest.mark.parametrize(
    ("flags", "wanted"), [("fpu sse4_2 avx512_bf16 avx2", "bf16-mixed"), ("fpu avx512_bf16x", "32"), (None, "32")]
)
def test_an_older_torch_leaves_the_flags_to_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: str | None, wanted: str
) -> None:
    machine(monkeypatch)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "cpuinfo")
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    assert chosen_precision(Trainer(precision="auto"), None) == wanted


def test_a_run_keeps_what_it_chose_and_what_is_named_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cpu=FAST)
    assert chosen_precision(Trainer(precision="auto"), "32") == "32"
    assert chosen_precision(Trainer(precision="bf16-true"), None) == "bf16-true"
    assert chosen_precision(Trainer(precision="32"), None) == "32"
    with pytest.raises(
        InputError, match=r"^trainer\.precision: this run has chosen 16-mixed, which needs a CUDA device"
    ):
        chosen_precision(Trainer(precision="auto"), "16-mixed")


# ------------------------------------------------------------------------------------------------- bfloat16 weights

PAD, SOS, EOS, V, T = 0, 2, 3, 17, 6


def copying(seed: int) -> Batch:
    """Sentences whose translation is themselves."""
    tokens = torch.randint(4, V, (32, T), generator=torch.Generator().manual_seed(seed))
    ends = torch.full((32, 1), EOS)
    target = torch.cat([torch.full((32, 1), SOS), tokens, ends], 1)
    n_tokens = 32 * (T + 1)
    return Batch(torch.arange(32), torch.cat([tokens, ends], 1), target, None, None, n_tokens, n_tokens)


def trained(dtype: torch.dtype, parts: dict[str, Any], optimizer: Any) -> tuple[list[float], TranslationModule]:
    stack = StackSpec.uniform(1, **parts)
    decoder = StackSpec.uniform(1, cross_attention="multi_head", **parts)
    spec = ModelSpec(stack, decoder, V, V, d_model=32, n_heads=4, d_ff=64, dropout=0.0)
    module = TranslationModule(
        Transformer(spec).to(dtype),
        registry.LOSS.create("cross_entropy", pad_id=PAD),
        registry.OPTIMIZER.create(optimizer),
        registry.SCHEDULE.create("constant"),
        pad_id=PAD,
        sos_id=SOS,
        eos_id=EOS,
        seed=1,
    )
    made = module.optimizer_part.build(ParameterGroups.of(module.model), is_fused=True)
    losses = []
    for step in range(150):
        batch = copying(step)
        loss = module.terms(batch)[0].loss / batch.target_tokens
        assert loss.dtype == torch.float32, "the loss is summed in float32"
        losses.append(float(loss))
        loss.backward()  # type: ignore[no-untyped-call]
        made.step()
        made.zero_grad()
    return losses, module


@pytest.mark.parametrize(
    "parts",
    [{"positions": "sinusoidal"}, {"positions": "rope", "normalization": "rms_norm"}],
    ids=["sinusoidal", "rope"],
)
def test_bfloat16_weights_learn_to_copy(parts: dict[str, Any]) -> None:
    optimizer = {"name": "adamw", "lr": 0.004}
    low, module = trained(torch.bfloat16, parts, optimizer)
    exact, _ = trained(torch.float32, parts, optimizer)
    assert all(p.dtype == torch.bfloat16 for p in module.model.parameters())
    # Chance is log 13 = 2.56 a token.
    assert exact[-1] < 1.5 and low[-1] < 1.5
    assert low[0] == pytest.approx(exact[0], rel=0.01)
    assert sum(low) == pytest.approx(sum(exact), rel=0.1)


def test_the_statistics_inside_stay_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[torch.dtype]] = {"norm": set(), "softmax": set()}
    norm, softmax = torch.nn.functional.layer_norm, torch.softmax

    def watched_norm(x: Tensor, *args: Any, **options: Any) -> Tensor:
        seen["norm"].add(x.dtype)
        return norm(x, *args, **options)

    def watched_softmax(x: Tensor, *args: Any, **options: Any) -> Tensor:
        y = softmax(x, *args, **options)
        seen["softmax"].add(y.dtype)
        return y

    monkeypatch.setattr(torch.nn.functional, "layer_norm", watched_norm)
    monkeypatch.setattr(torch, "softmax", watched_softmax)
    spec = ModelSpec(
        StackSpec.uniform(1), StackSpec.uniform(1, cross_attention="multi_head"), V, V, d_model=16, n_heads=2, d_ff=24
    )
    model = Transformer(spec).to(torch.bfloat16)
    batch = copying(0)
    hidden, _ = model(batch.source, batch.decoder_input)
    weight, bias = model.embedding.output()
    registry.LOSS.create("label_smoothing", pad_id=PAD)(
        hidden.flatten(0, 1), weight, bias, batch.labels
    ).loss.backward()
    assert hidden.dtype == torch.bfloat16
    assert seen == {"norm": {torch.float32}, "softmax": {torch.float32}}


# ------------------------------------------------------------------------------------------------- float16 with a scale

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


class _Scaled(L.Callback):
    """A run in 16-mixed of so many epochs of four steps, whose gradients overflow at first, and what its scaler knew as it began."""

    def __init__(self, device: str, folder: Path, epochs: int, state: Path | None = None) -> None:
        scaler = torch.amp.GradScaler(device, init_scale=2.0**20, growth_interval=100)
        self.module = step_module(clip=1.0)
        self.trainer = L.Trainer(
            accelerator=device,
            devices=1,
            plugins=[MixedPrecision("16-mixed", device, scaler)],
            callbacks=[self],
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        parts = [batch(SENTENCES, seed) for seed in range(4)]
        steps = [StepBatch([p], p.source_tokens, p.target_tokens, 0) for p in parts]
        self.trainer.fit(self.module, DataLoader(steps, batch_size=None), ckpt_path=state, weights_only=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.before = self.scaler

    @property
    def scaler(self) -> dict[str, Any]:
        return dict(self.trainer.precision_plugin.state_dict())


@pytest.mark.parametrize("device", DEVICES)
def test_a_resumed_run_has_the_scale_that_it_had(device: str, tmp_path: Path) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("gpu: no CUDA device")
    whole = _Scaled(device, tmp_path, epochs=4)
    first = _Scaled(device, tmp_path, epochs=2)
    Checkpoints(tmp_path).save_state(first.trainer)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["MixedPrecision"] == first.scaler
    fresh = first.before
    assert first.scaler["scale"] < fresh["scale"], "no gradient has overflowed"
    assert first.scaler["_growth_tracker"] != 0, "and it has counted steps since"

    resumed = _Scaled(device, tmp_path, epochs=4, state=tmp_path / "last.ckpt")
    assert resumed.before == first.scaler
    assert resumed.scaler == whole.scaler and resumed.trainer.global_step == whole.trainer.global_step == 16
    for a, b in zip(resumed.module.parameters(), whole.module.parameters(), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b)
    untrained = step_module(clip=1.0)
    assert any(
        not torch.equal(a.cpu(), b) for a, b in zip(whole.module.parameters(), untrained.parameters(), strict=True)
    ), "every step has overflowed"
