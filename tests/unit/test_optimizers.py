"""Optimizers against their papers' formulas, number by number, and through the trainer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.data import DataLoader, IterableDataset

from recambio import registry
from recambio.components.linear import Linear
from recambio.data.batch import Batch
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.callbacks import Checkpoints
from recambio.training.module import StepBatch, TranslationModule
from recambio.training.optimizers.base import OptimizerPart, ParameterGroups
from recambio.training.optimizers.muon import COEFFICIENTS, orthogonalised

registry.load_builtins()

PAD, SOS, EOS, V = 0, 2, 3, 17
RATES = [0.5, 1.0, 0.7, 0.2]


def built(name: str, parameters: ParameterGroups, **options: Any) -> tuple[OptimizerPart, torch.optim.Optimizer]:
    part: OptimizerPart = registry.OPTIMIZER.create({"name": name, **options})
    return part, part.build(parameters, is_fused=False)


def stepped(part: OptimizerPart, optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One step as the trainer takes it."""
    for group in optimizer.param_groups:
        group["lr"] = part.lr * rate * group.get("lr_scale", 1.0)
    optimizer.step()


def case() -> tuple[nn.Parameter, nn.Parameter, list[Tensor], list[Tensor]]:
    """A matrix and a vector in float64, and the gradients of four steps."""
    g = torch.Generator().manual_seed(2)
    matrix, vector = (nn.Parameter(torch.randn(s, generator=g, dtype=torch.float64)) for s in ((3, 4), (5,)))
    gradients = [[torch.randn(p.shape, generator=g, dtype=torch.float64) for _ in RATES] for p in (matrix, vector)]
    return matrix, vector, *gradients


def run(
    name: str, **options: Any
) -> tuple[list[float], list[float], list[float], list[float], list[list[float]], list[list[float]]]:
    """Four steps. Returns: start and end of matrix and vector as numbers, and their gradients."""
    matrix, vector, for_matrix, for_vector = case()
    starts = [p.detach().flatten().tolist() for p in (matrix, vector)]
    part, optimizer = built(name, ParameterGroups([matrix], [vector], {}), **options)
    for rate, a, b in zip(RATES, for_matrix, for_vector, strict=True):
        matrix.grad, vector.grad = a.clone(), b.clone()
        stepped(part, optimizer, rate)
    ends = [p.detach().flatten().tolist() for p in (matrix, vector)]
    return (
        *starts,
        *ends,
        *([g.flatten().tolist() for g in gs] for gs in (for_matrix, for_vector)),
    )  # type: ignore[return-value]


def test_lion_moves_by_the_sign() -> None:
    matrix, vector, matrix_end, vector_end, for_matrix, for_vector = run(
        "lion", lr=0.1, beta1=0.8, beta2=0.95, weight_decay=0.3
    )
    for start, end, gradients, decay in (
        (matrix, matrix_end, for_matrix, 0.3),
        (vector, vector_end, for_vector, 0.0),
    ):
        for i, w in enumerate(start):
            m = 0.0
            for rate, gradient in zip(RATES, gradients, strict=True):
                direction = math.copysign(1.0, 0.8 * m + 0.2 * gradient[i])
                w -= 0.1 * rate * (direction + decay * w)
                m = 0.95 * m + 0.05 * gradient[i]
            assert end[i] == pytest.approx(w, rel=1e-12)


def test_schedule_free_averages_what_it_tries() -> None:
    matrix, vector, matrix_end, vector_end, for_matrix, for_vector = run(
        "schedule_free", lr=0.1, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.3
    )
    for start, end, gradients, decay in (
        (matrix, matrix_end, for_matrix, 0.3),
        (vector, vector_end, for_vector, 0.0),
    ):
        for i, y in enumerate(start):
            x, z, v, weights = y, y, 0.0, 0.0
            for t, (rate, gradient) in enumerate(zip(RATES, gradients, strict=True), start=1):
                v = 0.95 * v + 0.05 * gradient[i] ** 2
                z -= 0.1 * rate * (gradient[i] / (math.sqrt(v / (1 - 0.95**t)) + 1e-6) + decay * y)
                weights += (0.1 * rate) ** 2
                c = (0.1 * rate) ** 2 / weights
                x = (1 - c) * x + c * z
                y = 0.2 * z + 0.8 * x
            assert end[i] == pytest.approx(y, rel=1e-12)


def test_schedule_free_exchanges_its_weights_to_the_bit() -> None:
    parameter = nn.Parameter(torch.randn(5, 3))
    part, optimizer = built("schedule_free", ParameterGroups([parameter], [], {}))
    before = parameter.detach().clone()
    optimizer.eval()  # type: ignore[attr-defined]
    assert torch.equal(parameter, before), "before the first step there is nothing to exchange"
    for rate in RATES:
        parameter.grad = torch.randn(5, 3)
        stepped(part, optimizer, rate)
    trained = parameter.detach().clone()
    for _ in range(2):
        optimizer.eval()  # type: ignore[attr-defined]
        assert torch.equal(parameter, optimizer.state[parameter]["x"]) and not torch.equal(parameter, trained)
    for _ in range(2):
        optimizer.train()  # type: ignore[attr-defined]
        assert torch.equal(parameter, trained)


def test_adafactor_keeps_rows_and_columns() -> None:
    matrix, vector, for_matrix, for_vector = case()
    part, optimizer = built("adafactor", ParameterGroups([matrix], [vector], {}), lr=0.6, clip=1.02, weight_decay=0.3)
    expected = [matrix.detach().clone(), vector.detach().clone()]
    row, column, square = torch.zeros(3, 1).double(), torch.zeros(1, 4).double(), torch.zeros(5).double()
    for t, (rate, g, h) in enumerate(zip(RATES, for_matrix, for_vector, strict=True), start=1):
        matrix.grad, vector.grad = g.clone(), h.clone()
        stepped(part, optimizer, rate)
        keep = 1 - t**-0.8
        row = keep * row + (1 - keep) * (g**2).mean(1, keepdim=True)
        column = keep * column + (1 - keep) * (g**2).mean(0, keepdim=True)
        square = keep * square + (1 - keep) * h**2
        updates = g / (row * column / row.mean()).sqrt(), h / square.sqrt()
        for w, u, decay in zip(expected, updates, (0.3, 0.0), strict=True):
            size = max(1e-3, w.square().mean().sqrt().item()) * min(0.6 * rate, t**-0.5)
            w *= 1 - 0.6 * rate * decay
            w -= size * u / max(1.0, u.square().mean().sqrt().item() / 1.02)
        assert_close(matrix.detach(), expected[0])
        assert_close(vector.detach(), expected[1])
    assert sum(s.numel() for s in optimizer.state[matrix].values()) == 3 + 4 + 1


def test_adafactor_adapts_to_gradients_as_small_as_those_of_a_token_mean() -> None:
    """torch's own default treats squared gradients below 1e-7 as noise."""
    updates = []
    for scale in (1.0, 1e-6):
        matrix, _, gradients, _ = case()
        matrix = nn.Parameter(matrix.detach().float())
        part, optimizer = built("adafactor", ParameterGroups([matrix], [], {}))
        for rate, g in zip(RATES, gradients, strict=True):
            matrix.grad = g.float() * scale
            stepped(part, optimizer, rate)
        updates.append(matrix.detach())
    assert_close(updates[0], updates[1])


# ------------------------------------------------------------------------------------------------ muon


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (9, 2)])
def test_orthogonalisation_maps_singular_values_and_keeps_their_vectors(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, dtype=torch.float64)
    for matrix, ours in zip(matrices, orthogonalised(matrices, 5), strict=True):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        s = s / s.norm()
        a, b, c = COEFFICIENTS
        for _ in range(5):
            s = a * s + b * s**3 + c * s**5
        assert_close(ours, u @ torch.diag(s) @ v)
        large = s[torch.linalg.svdvals(matrix) > 0.05 * matrix.norm()]
        assert bool((large > 0.6).all() and (large < 1.3).all())
    assert not bool(orthogonalised(torch.zeros(1, *shape), 5).any())


def test_muon_is_torchs_muon_with_the_rate_of_adamw() -> None:
    """Within the bfloat16 that torch's runs in."""
    g = torch.Generator().manual_seed(3)
    start = torch.randn(12, 8, generator=g)
    gradients = [torch.randn(12, 8, generator=g) for _ in RATES]
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    part, optimizer = built("muon", ParameterGroups([ours], [], {ours: (12,)}), lr=0.1, weight_decay=0.2)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for rate, gradient in zip(RATES, gradients, strict=True):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        stepped(part, optimizer, rate)
        reference.param_groups[0]["lr"] = 0.1 * rate
        reference.step()
    assert ((ours - theirs).norm() / (theirs - start).norm()).item() < 0.02


def test_muon_treats_fused_maps_as_if_they_were_apart() -> None:
    fused = Linear(6, {"q": 6, "k": 2, "v": 2}, bias=False).double()
    apart = [nn.Parameter(p.detach().clone()) for p in fused.weight.split([6, 2, 2])]
    whole = ParameterGroups([fused.weight], [], {fused.weight: (6, 2, 2)})
    optimizers = [built("muon", whole), built("muon", ParameterGroups(apart, [], {p: (len(p),) for p in apart}))]
    for rate in RATES:
        fused.weight.grad = torch.randn(10, 6, dtype=torch.float64)
        for p, gradient in zip(apart, fused.weight.grad.split([6, 2, 2]), strict=True):
            p.grad = gradient.clone()
        for part, optimizer in optimizers:
            stepped(part, optimizer, rate)
    assert_close(fused.weight.detach(), torch.cat([p.detach() for p in apart]))


def test_muons_updates_are_as_large_as_adams() -> None:
    for shape in ((64, 64), (16, 128), (128, 32)):
        matrix = nn.Parameter(torch.zeros(shape))
        part, optimizer = built("muon", ParameterGroups([matrix], [], {matrix: (shape[0],)}), lr=1.0)
        matrix.grad = torch.randn(shape)
        stepped(part, optimizer, 1.0)
        assert 0.1 < matrix.detach().square().mean().sqrt().item() < 0.3


@pytest.mark.parametrize("is_fused", [False, True])
def test_muon_leaves_the_rest_to_adamw(is_fused: bool) -> None:
    matrix, vector, for_matrix, for_vector = case()
    theirs = [nn.Parameter(p.detach().clone()) for p in (matrix, vector)]
    part = registry.OPTIMIZER.create({"name": "muon", "lr": 0.1, "weight_decay": 0.2, "adam_scale": 0.3})
    optimizer = part.build(ParameterGroups([matrix], [vector], {}), is_fused=is_fused)
    reference = torch.optim.AdamW(
        [{"params": theirs[:1], "weight_decay": 0.2}, {"params": theirs[1:], "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        eps=1e-9,
    )
    for rate, a, b in zip(RATES, for_matrix, for_vector, strict=True):
        matrix.grad, vector.grad, theirs[0].grad, theirs[1].grad = (g.clone() for g in (a, b, a, b))
        stepped(part, optimizer, rate)
        for group in reference.param_groups:
            group["lr"] = 0.03 * rate
        reference.step()
    assert_close([matrix.detach(), vector.detach()], [p.detach() for p in theirs])


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"name": "muon", "n_iterations": 0}, "`n_iterations` must be at least 1, but is 0"),
        ({"name": "adafactor", "clip": 0.5}, "`clip` must be at least 1, but is 0.5"),
    ],
)
def test_wrong_options_are_refused(node: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        registry.OPTIMIZER.create(node)


# ------------------------------------------------------------------------------------------------ in the trainer


def model() -> Transformer:
    stack = StackSpec.uniform(1, feed_forward={"name": "mixture_of_experts", "n_experts": 3}, positions="t5")
    spec = ModelSpec(
        stack, StackSpec.uniform(1, cross_attention="multi_head"), V, V, d_model=16, n_heads=2, d_ff=24, dropout=0.2
    )
    return Transformer(spec)


def test_groups_of_a_model() -> None:
    built_model = model()
    groups, names = ParameterGroups.of(built_model), {p: n for n, p in built_model.named_parameters()}
    assert sorted(names[p] for p in (*groups.decayed, *groups.plain)) == sorted(names.values())
    assert "embedding.source.weight" in {names[p] for p in groups.decayed}
    assert {names[p]: rows for p, rows in groups.hidden.items()} == {
        "encoder.layers.0.self_attention.input.weight": (16, 16, 16),
        "encoder.layers.0.self_attention.output.weight": (16,),
        "encoder.layers.0.feed_forward.router.weight": (3,),
        "encoder.layers.0.feed_forward.inner.weight": (24, 24, 24),
        "encoder.layers.0.feed_forward.output.weight": (16, 16, 16),
        "decoder.layers.0.self_attention.input.weight": (16, 16, 16),
        "decoder.layers.0.self_attention.output.weight": (16,),
        "decoder.layers.0.cross_attention.query.weight": (16,),
        "decoder.layers.0.cross_attention.memory.weight": (16, 16),
        "decoder.layers.0.cross_attention.output.weight": (16,),
        "decoder.layers.0.feed_forward.inner.weight": (24,),
        "decoder.layers.0.feed_forward.output.weight": (16,),
    }


def batch(seed: int) -> Batch:
    g = torch.Generator().manual_seed(seed)
    source, target = torch.randint(4, V, (4, 5), generator=g), torch.randint(4, V, (4, 7), generator=g)
    target[:, 0], target[:, -1] = SOS, EOS
    return Batch(torch.arange(4), source, target, None, None, 20, 24)


class _Steps(IterableDataset[StepBatch]):
    """Optimiser steps from one on, as the training plan serves them after a resume."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[StepBatch]:
        for step in range(self.first, 6):
            yield StepBatch([batch(step)], 20, 24, 0)


class _Keeper(L.Callback):
    """Saves the state in the middle of an epoch, and looks at the weights that are validated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.validated: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == 3 and not self.path.exists():
            Checkpoints(self.path.parent).save_state(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated.append({k: v.clone() for k, v in pl_module.model.state_dict().items()})  # type: ignore[union-attr,operator]


def fitted(node: str, folder: Path, first: int = 0) -> tuple[TranslationModule, _Keeper]:
    module = TranslationModule(
        model(),
        registry.LOSS.create("r_drop", pad_id=PAD),
        registry.OPTIMIZER.create(node),
        registry.SCHEDULE.create({"name": "linear", "warmup": 2}, max_steps=8),
        pad_id=PAD,
        sos_id=SOS,
        eos_id=EOS,
        seed=1,
        log_every=1,
    )
    keeper = _Keeper(folder / "last.ckpt")
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        max_steps=6,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        callbacks=[keeper],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    resumed = {"ckpt_path": keeper.path, "weights_only": True} if first else {}
    validation = DataLoader([batch(99)], batch_size=None)
    trainer.fit(module, DataLoader(_Steps(first), batch_size=None), validation, **resumed)  # type: ignore[arg-type]
    assert trainer.global_step == 6
    return module, keeper


@pytest.mark.parametrize("node", ["lion", "muon", "adafactor", "schedule_free"])
def test_a_resumed_run_ends_with_the_same_weights(node: str, tmp_path: Path) -> None:
    whole, _ = fitted(node, tmp_path)
    resumed, _ = fitted(node, tmp_path, first=3)
    for (name, a), b in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert whole.latest["train/loss"] == resumed.latest["train/loss"]


def test_schedule_free_validates_and_saves_the_average_and_trains_what_it_trained(tmp_path: Path) -> None:
    module, keeper = fitted("schedule_free", tmp_path)
    optimizer = module.optimizers(use_pl_optimizer=False)
    assert len(keeper.validated) == 3
    for name, p in module.model.named_parameters():
        x, z = optimizer.state[p]["x"], optimizer.state[p]["z"]  # type: ignore[union-attr]
        assert torch.equal(keeper.validated[-1][name], x), name
        assert_close(p.detach(), z + 0.9 * (x - z))
        if name.endswith("weight"):
            assert not torch.equal(p, x), name
    saved = torch.load(keeper.path, weights_only=True)
    groups = ParameterGroups.of(module.model)
    names = {p: n for n, p in module.model.named_parameters()}
    for index, p in enumerate([*groups.decayed, *groups.plain]):
        assert torch.equal(saved["state_dict"][f"model.{names[p]}"], saved["optimizer_states"][0]["state"][index]["x"])
