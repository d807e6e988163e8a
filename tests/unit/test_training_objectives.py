"""The z-loss and R-Drop against autograd over all logits, and through the trainer's step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recambio import registry
from recambio.data.batch import Batch
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.losses import fused
from recambio.training.module import TranslationModule

registry.load_builtins()

N, D, V, PAD, SOS, EOS = 23, 6, 13, 0, 2, 3


@pytest.fixture
def leaves(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Two passes of random vectors in float64, walked over in uneven pieces."""
    monkeypatch.setattr(fused, "PIECE", 10)
    g = torch.Generator().manual_seed(5)
    shapes = {"hidden": (2 * N, D), "weight": (V, D), "bias": (V,)}
    return {k: torch.randn(v, generator=g, dtype=torch.float64, requires_grad=True) for k, v in shapes.items()}


TARGETS = torch.randint(1, V, (N,), generator=torch.Generator().manual_seed(6))


def smoothed(logits: Tensor, targets: Tensor, e: float) -> Tensor:
    """Cross-entropy with the uniform mass on all but PAD."""
    log_p = logits.log_softmax(-1)
    return (1 - e) * -log_p[torch.arange(len(targets)), targets].sum() - e / (V - 1) * log_p[:, 1:].sum()


def divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(softmax a || softmax b), summed."""
    return (a.softmax(-1) * (a.softmax(-1) / b.softmax(-1)).log()).sum()


def r_drop(logits: Tensor, targets: Tensor, alpha: float, e: float) -> Tensor:
    one, two = logits.chunk(2)
    likely = smoothed(one, targets, e) + smoothed(two, targets, e)
    return likely / 2 + alpha / 4 * (divergence(one, two) + divergence(two, one))


def same_gradients(ours: Tensor, theirs: Tensor, leaves: dict[str, Tensor]) -> None:
    wanted = list(leaves.values())
    for a, b in zip(torch.autograd.grad(ours * 0.3, wanted), torch.autograd.grad(theirs * 0.3, wanted), strict=True):
        assert_close(a, b)


@pytest.mark.parametrize(("name", "e"), [("cross_entropy", 0.0), ("label_smoothing", 0.0), ("label_smoothing", 0.1)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_z_loss_adds_the_squared_log_of_the_denominator(
    leaves: dict[str, Tensor], name: str, e: float, with_bias: bool
) -> None:
    leaves["hidden"] = leaves["hidden"][:N].detach().requires_grad_()
    if not with_bias:
        del leaves["bias"]
    node = {"name": name, "z_loss": 0.05} if name == "cross_entropy" else {"name": name, "z_loss": 0.05, "smoothing": e}
    terms = registry.LOSS.create(node, pad_id=PAD)(leaves["hidden"], leaves["weight"], leaves.get("bias"), TARGETS)
    logits = torch.nn.functional.linear(leaves["hidden"], leaves["weight"], leaves.get("bias"))
    plain = smoothed(logits, TARGETS, e)
    wanted = plain + 0.05 * logits.logsumexp(-1).square().sum()
    assert_close(terms.loss, wanted)
    assert_close(terms.nll, smoothed(logits, TARGETS, 0.0).detach())
    same_gradients(terms.loss, wanted, leaves)
    assert float(wanted.detach()) > float(plain.detach()) + 1


@pytest.mark.parametrize(("alpha", "e"), [(5.0, 0.1), (1.0, 0.0), (0.0, 0.1)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_r_drop_is_its_formula(leaves: dict[str, Tensor], alpha: float, e: float, with_bias: bool) -> None:
    if not with_bias:
        del leaves["bias"]
    loss = registry.LOSS.create({"name": "r_drop", "alpha": alpha, "smoothing": e}, pad_id=PAD)
    terms = loss(leaves["hidden"], leaves["weight"], leaves.get("bias"), TARGETS)
    logits = torch.nn.functional.linear(leaves["hidden"], leaves["weight"], leaves.get("bias"))
    wanted = r_drop(logits, TARGETS, alpha, e)
    assert_close(terms.loss, wanted)
    likelihoods = [smoothed(part, TARGETS, 0.0).detach() for part in logits.chunk(2)]
    assert_close(terms.nll, sum(likelihoods) / 2)
    same_gradients(terms.loss, wanted, leaves)


def test_r_drop_derivatives_are_difference_quotients(leaves: dict[str, Tensor]) -> None:
    loss = registry.LOSS.create("r_drop", pad_id=PAD)
    assert torch.autograd.gradcheck(lambda h, w, b: loss(h, w, b, TARGETS).loss, tuple(leaves.values()))


def test_r_drop_of_equal_passes_or_one_pass_is_label_smoothing(leaves: dict[str, Tensor]) -> None:
    weight, bias = leaves["weight"], leaves["bias"]
    once = leaves["hidden"][:N].detach()
    plain = registry.LOSS.create("label_smoothing", pad_id=PAD)(once, weight, bias, TARGETS)
    loss = registry.LOSS.create("r_drop", pad_id=PAD)
    for hidden in (once, once.repeat(2, 1)):
        terms = loss(hidden, weight, bias, TARGETS)
        assert_close(terms.loss, plain.loss)
        assert_close(terms.nll, plain.nll)


def test_r_drop_holds_the_logits_of_one_piece_only(leaves: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    plain = torch.log_softmax

    def counted(logits: Tensor, *args: Any, **options: Any) -> Tensor:
        sizes.append(logits.shape[:-1].numel())
        return plain(logits, *args, **options)

    monkeypatch.setattr(torch, "log_softmax", counted)
    registry.LOSS.create("r_drop", pad_id=PAD)(*leaves.values(), TARGETS).loss.backward()
    assert max(sizes) == 10 and sum(sizes) == 2 * N


# ------------------------------------------------------------------------------------------------ the trainer's step


def batch() -> Batch:
    """Three sentences of different lengths."""
    lengths = torch.tensor([4, 2, 5])
    g = torch.Generator().manual_seed(3)
    source, target = torch.randint(4, V, (3, 6), generator=g), torch.randint(4, V, (3, 6), generator=g)
    target[:, 0] = SOS
    target[torch.arange(6) > lengths[:, None]] = PAD
    real = target[:, 1:] != PAD
    return Batch(
        ids=torch.arange(3),
        source=source,
        target=target,
        source_mask=torch.arange(6) < torch.tensor([6, 3, 5])[:, None],
        target_positions=real.flatten().nonzero()[:, 0],
        source_tokens=14,
        target_tokens=int(real.sum()),
    )


def module(loss: Any, dropout: float) -> TranslationModule:
    stack, decoder = StackSpec.uniform(1), StackSpec.uniform(1, cross_attention="multi_head")
    spec = ModelSpec(stack, decoder, V, V, d_model=8, n_heads=2, d_ff=12, dropout=dropout)
    return TranslationModule(
        Transformer(spec),
        registry.LOSS.create(loss, pad_id=PAD),
        registry.OPTIMIZER.create("adamw"),
        registry.SCHEDULE.create("constant"),
        pad_id=PAD,
        sos_id=SOS,
        eos_id=EOS,
        seed=1,
    ).double()


def test_a_step_with_r_drop_is_that_of_two_passes_written_out() -> None:
    trained, data = module("r_drop", dropout=0.3), batch()
    torch.manual_seed(7)
    terms, _ = trained.terms(data)
    torch.manual_seed(7)
    twice = [torch.cat([x, x]) for x in (data.source, data.decoder_input, data.source_mask, data.target[:, 1:] != PAD)]
    hidden, _ = trained.model(*twice)
    logits = trained.model.logits(hidden)
    real = data.target[:, 1:] != PAD
    kept = torch.cat([logits[:3][real], logits[3:][real]])
    targets = data.target[:, 1:][real]
    assert len(targets) == data.target_tokens
    assert not torch.equal(*kept.chunk(2)), "both passes dropped the same"
    wanted = r_drop(kept, targets, 5.0, 0.1)
    assert_close(terms.loss, wanted)
    parameters = list(trained.model.parameters())
    for a, b in zip(torch.autograd.grad(terms.loss, parameters), torch.autograd.grad(wanted, parameters), strict=True):
        assert_close(a, b)


def test_without_dropout_a_step_with_r_drop_is_one_with_label_smoothing() -> None:
    data, twice, once = batch(), module("r_drop", 0.0), module("label_smoothing", 0.0)
    losses = [m.terms(data)[0] for m in (twice, once)]
    assert_close(losses[0].loss, losses[1].loss)
    assert_close(losses[0].nll, losses[1].nll)
    gradients = [
        torch.autograd.grad(t.loss, list(m.model.parameters())) for t, m in zip(losses, (twice, once), strict=True)
    ]
    for a, b in zip(*gradients, strict=True):
        assert_close(a, b)


def test_validation_passes_once() -> None:
    trained, plain, data = module("r_drop", 0.3).eval(), module("label_smoothing", 0.3).eval(), batch()
    rows: list[int] = []
    trained.model.encoder.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    assert_close(trained.terms(data)[0], plain.terms(data)[0])
    assert rows == [3]
    trained.train().terms(data)
    assert rows == [3, 6]


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"name": "cross_entropy", "z_loss": -1.0}, "`z_loss` must not be negative, but is -1.0"),
        ({"name": "label_smoothing", "z_loss": -1.0}, "`z_loss` must not be negative"),
        ({"name": "r_drop", "alpha": -0.5}, "`alpha` must not be negative, but is -0.5"),
        ({"name": "r_drop", "smoothing": 1.0}, r"`smoothing` must be in \[0, 1\)"),
    ],
)
def test_wrong_options_are_refused(node: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        registry.LOSS.create(node, pad_id=PAD)
