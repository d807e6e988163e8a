"""``trainer.compile``: every layer runs compiled, with few graphs, and the count is told."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recambio import registry
from recambio.components.attention.kernels import attend, split_heads
from recambio.components.context import AttentionContext
from recambio.components.positions.base import PositionalEncoding
from recambio.data.store import StoreWriter, TokenStore
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.compilation import GRAPHS_A_LAYER, SPENT, Compilation, compile_layers, graphs
from recambio.training.datamodule import TranslationData
from recambio.training.module import EvaluationText, StepBatch, TranslationModule

registry.load_builtins()

V = 20
N = 1
SPECIAL = {"pad_id": 0, "sos_id": 2, "eos_id": 3}


@pytest.fixture(autouse=True)
def fresh():  # type: ignore[no-untyped-def]
    """Each test begins with torch's own limits and without graphs."""
    config = torch._dynamo.config
    torch._dynamo.reset()
    with config.patch(recompile_limit=8, accumulated_recompile_limit=256):
        yield
    torch._dynamo.reset()
    torch.compiler.set_stance("default")


def model(n: int = N) -> Transformer:
    encoder, decoder = StackSpec.uniform(n), StackSpec.uniform(n, cross_attention="multi_head")
    return Transformer(ModelSpec(encoder, decoder, V, V, d_model=8, n_heads=2, d_ff=12, dropout=0.1))


def step(made: Transformer, rows: int, source: int, target: int, is_padded: bool) -> None:
    mask = torch.ones(rows, source, dtype=torch.bool) if is_padded else None
    if mask is not None:
        mask[0, -1] = False
    hidden, _ = made(torch.randint(4, V, (rows, source)), torch.randint(4, V, (rows, target)), mask)
    hidden.sum().backward()


class Counting:
    """A backend that compiles nothing: it counts graphs, and how often one runs."""

    def __init__(self) -> None:
        self.graphs = self.calls = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1

        def run(*arguments: Any) -> Any:
            self.calls += 1
            return graph(*arguments)

        return run


def stored(folder: Path, split: str, size: int) -> tuple[TokenStore, list[str]]:
    """Sentences of the embedded corpus, a token a word. Returns: the store, and the Spanish side."""
    corpus = registry.CORPUS.create({"name": "embedded", "train_size": size, "dev_size": size, "test_size": 1})
    pairs = list(corpus.read(split))
    ids = [[[4 + zlib.crc32(w.encode()) % (V - 4) for w in t.split()] for t in (p.source, p.target)] for p in pairs]
    folder.mkdir()
    with StoreWriter(folder, V, has_text=False) as writer:
        writer.add([i[0] for i in ids], [i[1] for i in ids], np.arange(size))
        writer.finish({})
    return TokenStore(folder), [p.target for p in pairs]


class Moves(L.Callback):
    """Moves the cursor, as :class:`recambio.training.callbacks.Checkpoints` does."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.datamodule.advance()  # type: ignore[attr-defined]


class Watch(L.Callback):
    """Micro-batches by shape, and the graphs there are after each epoch."""

    def __init__(self, backend: Counting) -> None:
        self.backend = backend
        self.shapes: list[tuple[int, int, int, bool, bool]] = []
        self.made: list[int] = []
        self.validated: list[int] = []

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: StepBatch, batch_idx: int) -> None:
        if batch.epoch == len(self.made):
            self.made.append(0)
        for part in batch.batches:
            is_padded = part.source_mask is not None, part.target_positions is not None
            self.shapes.append((*part.source.shape, part.decoder_input.shape[1], *is_padded))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: StepBatch, _: int) -> None:
        self.made[batch.epoch] = self.backend.graphs

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.validated.append(self.backend.calls)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        assert self.backend.calls == self.validated[-1], "a validation runs uncompiled"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_two_epochs_of_a_real_plan_stay_within_the_budget(precision: Any, tmp_path: Path) -> None:
    """Every length of the embedded corpus, batches of one row, with and without padding, the last one of an epoch, validations that
    translate in between: few graphs, no new one in the second epoch, and each layer of each pass runs as exactly one of them."""
    (train, _), (dev, texts) = stored(tmp_path / "train", "train", 80), stored(tmp_path / "dev", "dev", 4)
    data = TranslationData(train, dev, **SPECIAL, seed=1, batch_tokens=40, accumulate=2, valid_batch_tokens=40)
    data.max_epochs = 2
    made, backend = model(), Counting()
    torch._dynamo.config.recompile_limit = 2  # what a larger model's layers would do to torch's own 8
    budget = compile_layers(made, backend=backend)
    watch, told = Watch(backend), Compilation(budget)
    module = TranslationModule(
        made,
        registry.LOSS.create("label_smoothing", pad_id=SPECIAL["pad_id"]),
        registry.OPTIMIZER.create("adamw"),
        registry.SCHEDULE.create("constant"),
        **SPECIAL,
        seed=1,
        search=registry.SEARCH.create("greedy"),
        validation=EvaluationText(texts, lambda rows: [" ".join(map(str, row)) for row in rows]),
        max_length=8,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=-1,
        max_steps=data.steps(2, 1),
        val_check_interval=4,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        callbacks=[Moves(), watch, told],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, datamodule=data)
    rows, sources, targets, *padded = zip(*watch.shapes, strict=True)
    assert 1 in rows and max(rows) > 1 and len({*sources}) > 5 and len({*targets}) > 5
    assert all({*side} == {True, False} for side in padded), "with and without padding on each side"
    assert len(watch.validated) > 3
    assert backend.calls == 2 * N * len(watch.shapes), "a layer ran uncompiled, or in pieces"
    assert watch.made[1] == watch.made[0], "the second epoch makes no new graph"
    assert 2 * 2 * N <= watch.made[0] <= 4 * 2 * N and budget == GRAPHS_A_LAYER * 2 * N, (
        "half of the budget is to spare"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_with_gradients_is_one_graph_for_any_length(dtype: torch.dtype) -> None:
    """Which half precision on CPU otherwise asks for, and for rows that may attend to nothing."""
    backend = Counting()
    compiled = torch.compile(by_heads, backend=backend, dynamic=True, fullgraph=True)
    for n_queries, n_keys in ((5, 7), (12, 9), (7, 20)):
        mask = torch.ones(2, 1, n_queries, n_keys, dtype=torch.bool)
        mask[1] = False
        q, k, v = (torch.randn(2, n, 8, dtype=dtype, requires_grad=True) for n in (n_queries, n_keys, n_keys))
        y = compiled(q, k, v, mask)
        assert_close(y, by_heads(q, k, v, mask), rtol=0, atol=0)
        assert not y[1].any()
    assert backend.graphs == 1


def by_heads(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    order = torch.zeros(1, 1, dtype=torch.int64)
    context = AttentionContext(PositionalEncoding(), order, order, mask=mask, merged=mask)
    return attend(split_heads(q, 2), split_heads(k, 2), split_heads(v, 2), context)


@pytest.mark.slow
def test_torchs_own_limit_would_leave_layers_uncompiled() -> None:
    """What the budget is for: if torch raises its limit, or shares graphs between layers, it can go."""
    made = model(5).train()
    before = graphs()
    for layer in [*made.encoder.layers, *made.decoder.layers]:
        layer.compile(backend="eager", dynamic=True)
    step(made, 3, 7, 6, True)
    assert graphs() - before < 10


def test_the_count_is_told_and_validations_run_uncompiled(capsys: pytest.CaptureFixture[str]) -> None:
    made = model().train()
    compile_layers(made, backend="eager")
    trainer = SimpleNamespace(is_global_zero=True, global_step=7)
    watch = Compilation(budget=10 * N)
    step(made, 3, 7, 6, True)
    watch.on_validation_start(trainer, None)  # type: ignore[arg-type]
    assert capsys.readouterr().err == f"trainer.compile: {2 * N} graphs of {10 * N} by step 7\n"
    before = graphs()
    with torch.no_grad():
        made(torch.randint(4, V, (2, 3)), torch.randint(4, V, (2, 3)))
    assert graphs() == before
    watch.on_validation_end(trainer, None)  # type: ignore[arg-type]
    watch.budget = 4 * N
    step(made, 3, 7, 6, False)
    assert graphs() > before
    watch.on_validation_start(trainer, None)  # type: ignore[arg-type]
    assert SPENT in capsys.readouterr().err
    watch.teardown(trainer, None, "fit")  # type: ignore[arg-type]
