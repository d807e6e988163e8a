"""One optimiser step: the update is that of the whole step's tokens, however they are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from recambio import registry
from recambio.data.batch import Batch
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.module import StepBatch, TranslationModule

registry.load_builtins()

PAD, SOS, EOS, V = 0, 2, 3, 17


def batch(lengths: list[tuple[int, int]], seed: int, weight: float = 1.0) -> Batch:
    """Random sentences of these (source, target) lengths, EOS included; a sentence depends on its seed alone."""
    n_source, n_target = max(s for s, _ in lengths), max(t for _, t in lengths)
    source = torch.full((len(lengths), n_source), PAD)
    target = torch.full((len(lengths), n_target + 1), PAD)
    for row, (s, t) in enumerate(lengths):
        g = torch.Generator().manual_seed(seed + 100 * s + t)
        source[row, :s] = torch.tensor([*torch.randint(4, V, (s - 1,), generator=g).tolist(), EOS])
        target[row, : t + 1] = torch.tensor([SOS, *torch.randint(4, V, (t - 1,), generator=g).tolist(), EOS])
    real = target[:, 1:] != PAD
    return Batch(
        ids=torch.arange(len(lengths)),
        source=source,
        target=target,
        source_mask=None if bool((source != PAD).all()) else source != PAD,
        target_positions=None if bool(real.all()) else real.flatten().nonzero()[:, 0],
        source_tokens=int((source != PAD).sum()),
        target_tokens=int(real.sum()),
        weight=weight,
    )


SENTENCES = [(3, 4), (5, 2), (5, 5), (7, 9), (2, 1), (4, 4)]


def cuts(seed: int) -> dict[str, list[Batch]]:
    """The same six sentences as one batch, three uneven ones, and with a filler that must not count."""
    parts = [SENTENCES[:1], SENTENCES[1:5], SENTENCES[5:]]
    uneven = [batch(p, seed) for p in parts]
    return {
        "one": [batch(SENTENCES, seed)],
        "uneven": uneven,
        "filler": [*uneven, batch(SENTENCES[3:4], seed, weight=0.0)],
    }


ROUTED = {"name": "mixture_of_experts", "n_experts": 3, "balance": 0.0, "router_z": 0.5}
"""A feed-forward with a loss of its own that is a sum over tokens."""


def module(loss: Any = "label_smoothing", clip: float | None = 0.05, feed_forward: Any = "mlp") -> TranslationModule:
    shared = {"positions": "t5", "feed_forward": feed_forward}
    stack = StackSpec.uniform(1, **shared)
    decoder = StackSpec.uniform(1, cross_attention="multi_head", **shared)
    spec = ModelSpec(stack, decoder, V, V, d_model=16, n_heads=2, d_ff=24, dropout=0.0)
    return TranslationModule(
        Transformer(spec),
        registry.LOSS.create(loss, pad_id=PAD),
        registry.OPTIMIZER.create({"name": "adamw", "lr": 0.01}),
        registry.SCHEDULE.create({"name": "constant"}),
        pad_id=PAD,
        sos_id=SOS,
        eos_id=EOS,
        seed=1,
        clip=clip,
        log_every=1,
    )


class Masks(torch.nn.Module):
    """Dropout that a cut doesn't change: every row of the first pass loses the same elements, every row of the second others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.stack([torch.arange(x.shape[-1]) % 3 != i for i in range(2)])
        # (2 B, T, D) -> (2, B, T, D)
        return (x.unflatten(0, (2, -1)) * kept[:, None, None] * 1.5).flatten(0, 1)


def trained(cut: str, tmp_path: Path, masks: Masks | None = None, **options: Any) -> TranslationModule:
    """After three steps, in float64."""
    steps = [cuts(seed)[cut] for seed in (0, 1000, 2000)]

    def step(parts: list[Batch]) -> StepBatch:
        real = [p for p in parts if p.weight]
        return StepBatch(parts, sum(p.source_tokens for p in real), sum(p.target_tokens for p in real), 0)

    loader = DataLoader([step(parts) for parts in steps], batch_size=None)
    fitted = module(**options)
    if masks is not None:
        for stack in (fitted.model.encoder, fitted.model.decoder):
            stack.dropout = masks
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        precision="64-true",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(fitted, loader)
    assert trainer.global_step == 3, "a batch of the loader is one optimiser step"
    return fitted


@pytest.mark.parametrize("cut", ["uneven", "filler"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_update_does_not_depend_on_how_a_step_is_cut(cut: str, clip: float | None, tmp_path: Path) -> None:
    one, other = trained("one", tmp_path, clip=clip), trained(cut, tmp_path, clip=clip)
    for (name, a), (_, b) in zip(one.model.named_parameters(), other.model.named_parameters(), strict=True):
        # Keys' biases have no gradient but rounding, which Adam's division by its size brings up to 1e-10.
        assert_close(a, b, rtol=1e-9, atol=1e-9, msg=name)
    assert one.tokens_seen == other.tokens_seen == 3 * sum(t for _, t in SENTENCES)
    for key in ("train/loss", "train/nll", "train/grad_norm"):
        assert one.latest[key] == pytest.approx(other.latest[key], rel=1e-9)


@pytest.mark.parametrize(
    ("options", "without"),
    [
        ({"loss": "r_drop", "masks": Masks()}, {"loss": {"name": "r_drop", "alpha": 0.0}, "masks": Masks()}),
        ({"loss": {"name": "label_smoothing", "z_loss": 0.5}}, {}),
        ({"feed_forward": ROUTED}, {"feed_forward": {**ROUTED, "router_z": 0.0}}),
        ({"feed_forward": ROUTED, "loss": "r_drop", "masks": Masks()}, {"loss": "r_drop", "masks": Masks()}),
    ],
    ids=["r_drop", "z_loss", "router_z", "both"],
)
def test_nor_does_it_with_a_loss_of_more_terms(
    options: dict[str, Any], without: dict[str, Any], tmp_path: Path
) -> None:
    one, other = trained("one", tmp_path, **options), trained("filler", tmp_path, **options)
    for (name, a), (_, b) in zip(one.model.named_parameters(), other.model.named_parameters(), strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9, msg=name)
    for key in ("train/loss", "train/grad_norm"):
        assert one.latest[key] == pytest.approx(other.latest[key], rel=1e-9)
    # The term is there, or its normalisation wouldn't be seen.
    assert one.latest["train/grad_norm"] != pytest.approx(
        trained("one", tmp_path, **without).latest["train/grad_norm"], rel=0.01
    )


def test_the_recorded_nll_is_plain_beside_the_smoothed_loss(tmp_path: Path) -> None:
    smooth = trained("one", tmp_path)
    assert smooth.latest["train/loss"] != pytest.approx(smooth.latest["train/nll"], rel=1e-3)
    plain = trained("one", tmp_path, loss="cross_entropy")
    assert plain.latest["train/loss"] == pytest.approx(plain.latest["train/nll"], rel=1e-9)


def test_decayed_and_plain_parameters_are_all_there_once(tmp_path: Path) -> None:
    fitted = trained("one", tmp_path)
    optimizer = fitted.optimizers(use_pl_optimizer=False)
    groups = optimizer.param_groups  # type: ignore[union-attr]
    assert [g["weight_decay"] for g in groups] == [0.01, 0.0]
    ids = [id(p) for g in groups for p in g["params"]]
    assert sorted(ids) == sorted(id(p) for p in fitted.model.parameters())
