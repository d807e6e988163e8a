"""``trainer.compile``: every layer runs compiled, with few graphs, and the count is told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.compilation import GRAPHS_A_LAYER, SPENT, Compilation, compile_layers, graphs

V = 20
N = 1
SHAPES = [(3, 7, 6, True), (5, 4, 9, True), (4, 6, 6, False), (7, 3, 8, False), (1, 5, 4, False)]


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


def test_all_layers_stay_compiled_whatever_the_shapes() -> None:
    made = model().train()
    before = graphs()
    budget = compile_layers(made, backend="eager")
    assert budget == 2 * N * GRAPHS_A_LAYER
    for shape in SHAPES:
        step(made, *shape)
    first = graphs() - before
    for shape in SHAPES * 2:
        step(made, *shape)
    assert graphs() - before == first, "shapes that came before make no new graph"
    assert 2 * N * 2 < first < budget
    step(made, 9, 11, 10, True)
    assert graphs() - before == first, "nor do new lengths"


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
