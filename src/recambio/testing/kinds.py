"""Checks of one kind of part each."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from recambio import registry
from recambio.components.compatible import attention_conflict
from recambio.components.positions.base import PositionalEncoding
from recambio.registry import Node
from recambio.testing.kit import applies_to, finite, gradient_of, name_of, same
from recambio.testing.rig import (
    D_MODEL,
    MAX_LENGTH,
    N_HEADS,
    VOCABULARY,
    build,
    build_embedding,
    context_of,
    cross_context,
    inputs_of,
    output_of,
    self_context,
)
from recambio.testing.stack import stored


@applies_to("attention", where=("encoder_self", "decoder_self"))
def positions_used(kind: str, node: Node, site: str) -> None:
    """Rotations reach the scores, unless the part says that it takes none and is refused with them."""
    if attention_conflict(node, "rope"):
        return
    outputs: list[Tensor] = []
    for positions in ("none", "rope"):
        torch.default_generator.manual_seed(3)
        rig = build(kind, node, site, positions=positions)
        torch.default_generator.manual_seed(4)
        outputs.append(rig(*inputs_of(rig)))
    assert (outputs[0] - outputs[1]).abs().max().item() > 1e-4, (
        "positions 'rope' change nothing: q or k are not rotated"
    )


@applies_to("attention", where=("encoder_self", "decoder_self"))
def bias(kind: str, node: Node, site: str) -> None:
    """A bias of -10000 forbids like a mask, a moderate one shifts attention its way, and gradients reach it, if any is taken."""
    if attention_conflict(node, "alibi"):
        return
    is_causal = site == "decoder_self"
    attention = build(kind, node, site, positions="none", n_layers=1).parts()[0]
    x, nowhere = torch.randn(2, 6, D_MODEL, dtype=torch.float64), PositionalEncoding()

    def biased(bias: Tensor) -> Tensor:
        return output_of(attention(x, None, self_context(nowhere, 6, is_causal, bias)))

    def masked(allowed: Tensor) -> Tensor:
        order = torch.arange(6)[None]
        mask = allowed & (order <= order.T) if is_causal else allowed
        return output_of(attention(x, None, context_of(nowhere, order, order, mask, None, None, None)))

    forbidden = (torch.rand(1, 1, 6, 6) < 0.4) & ~torch.eye(6, dtype=torch.bool)
    first = torch.zeros(1, 1, 6, 6)
    first[..., 0] = 1.0
    y = biased(forbidden * -1e4)
    same(y, masked(~forbidden), "a bias of -10000 against a mask", 1e-4)
    # What the first key by itself adds; weights need not sum to 1, so the output need not come nearer to it.
    only = masked(first.bool()) - masked(torch.zeros_like(forbidden))
    shares = [(biased(first * size) * only).sum().item() for size in (-2.0, 0.0, 2.0)]
    assert shares[0] < shares[1] < shares[2], "a bias towards a key takes the output away from its value"
    bias = torch.zeros(1, N_HEADS, 6, 6, requires_grad=True)
    y = biased(bias)
    gradient = gradient_of((y * torch.randn_like(y)).sum(), bias)
    finite(gradient, "gradient of the bias")
    assert bool(gradient.any()), "no gradient reaches the bias"


@applies_to("attention", where=("cross",))
def folded_beams(kind: str, node: Node, site: str) -> None:
    """Cross-attention's queries never see each other, so the beams of a source may share its one row of memory."""
    attention = build(kind, node, site, n_layers=1).parts()[0]
    memory = torch.randn(2, 5, D_MODEL, dtype=torch.float64)
    tokens = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    x = torch.randn(2, 6, D_MODEL, dtype=torch.float64)  # 3 beams of 2 tokens for each of 2 sources
    with torch.no_grad():
        cache = attention.new_cache(2, 5, memory)
        folded = output_of(attention(x, None, cross_context(x, tokens), cache))
        plain = output_of(attention(x, memory, cross_context(x, tokens)))
        same(folded, plain, "with the cache against without")
        for t in range(6):
            one = output_of(attention(x[:, t : t + 1], memory, cross_context(x[:, :1], tokens)))
            same(folded[:, t : t + 1], one, "one query by itself against among others")


@applies_to("positions")
def hooks(kind: str, node: Node, site: str) -> None:
    """Each hook keeps its shapes, takes any number of heads and positions by row, and depends on positions only."""
    scheme = build(kind, node, site).positions
    rows = torch.stack([torch.arange(5), torch.arange(5) + 11])
    for heads, width in ((1, 8), (N_HEADS, 8), (3, 6)):
        q = torch.randn(2, heads, 5, width, dtype=torch.float64)
        for name, hook in (("rotate_queries", scheme.rotate_queries), ("rotate_keys", scheme.rotate_keys)):
            y = hook(q, rows)
            assert y.shape == q.shape, f"{name}: {tuple(q.shape)} became {tuple(y.shape)}"
            low = hook(q.bfloat16(), rows)
            assert low.dtype == torch.bfloat16, f"{name}: bfloat16 became {low.dtype}"
            for i in range(2):
                same(hook(q[i : i + 1], rows[i : i + 1])[0], y[i], f"{name}: one row against the batch")
            same(hook(q[:1], rows[:1, :]), y[:1], f"{name}: again after other positions")
    x = torch.randn(2, 5, D_MODEL, dtype=torch.float64)
    y = scheme.add_to_embeddings(x, rows)
    assert y.shape == x.shape, f"add_to_embeddings: {tuple(x.shape)} became {tuple(y.shape)}"
    for i in range(2):
        same(scheme.add_to_embeddings(x[i : i + 1], rows[i : i + 1])[0], y[i], "add_to_embeddings: one row")
    keys = torch.stack([torch.arange(7), torch.arange(7) + 11])
    bias = scheme.attention_bias(rows, keys)
    if bias is not None:
        shape = tuple(bias.shape)
        fits = len(shape) == 4 and shape[0] in (1, 2) and shape[1] in (1, N_HEADS) and shape[2:] == (5, 7)
        assert fits, f"attention_bias: shape {shape}, expected (1|B, 1|H, T, S) = (1|2, 1|{N_HEADS}, 5, 7)"
        wide = torch.float32, torch.float64
        assert bias.dtype in wide, f"attention_bias: {bias.dtype}, expected float32 at least"
        finite(bias, "attention_bias (the mask forbids, a bias stays finite)")
        for i in range(2):
            one = scheme.attention_bias(rows[i : i + 1], keys[i : i + 1])
            assert one is not None
            same(one[0], bias.expand(2, -1, -1, -1)[i], "attention_bias: one row")
    far = torch.arange(MAX_LENGTH - 8, MAX_LENGTH)[None]
    q = torch.randn(1, 1, 1, 8).expand(1, N_HEADS, 8, 8)
    added = scheme.add_to_embeddings(torch.randn(1, 1, D_MODEL).expand(1, 8, D_MODEL), far)[0]
    # One row for each position: all that the scheme says of it.
    said = [added, *scheme.rotate_queries(q, far)[0], *scheme.rotate_keys(q, far)[0]]
    if (bias := scheme.attention_bias(far, far)) is not None:
        said += list(bias[0])
    if name_of(node) != "none":
        together = torch.cat(said, dim=-1)
        steps = (together[1:] - together[:-1]).abs().amax(-1)
        assert bool((steps > 0).all()), f"positions {MAX_LENGTH - 8} to {MAX_LENGTH - 1} are not told apart"


@applies_to("positions", where=("encoder",))
def order(kind: str, node: Node, site: str) -> None:
    """Without a causal mask, exchanging two tokens changes what a third sees; with 'none', the control, it doesn't."""
    rig = build(kind, node, site)
    x = torch.randn(2, 6, D_MODEL, dtype=rig.dtype)
    with torch.no_grad():
        difference = (rig(x) - rig(x[:, [1, 0, 2, 3, 4, 5]]))[:, 2:].abs().max().item()
    if name_of(node) == "none":
        assert difference < 1e-5, "positions 'none' reveal order"
    else:
        assert difference > 1e-4, "exchanging two tokens changes nothing: the scheme doesn't reveal order"


@applies_to("normalization")
def tokenwise(kind: str, node: Node, site: str) -> None:
    """Each token is normalised by itself, whatever the leading axes; zeros stay finite, and statistics are float32."""
    norm = registry.NORMALIZATION.create(node, dim=D_MODEL).double().eval()
    x = torch.randn(3, 4, 5, D_MODEL, dtype=torch.float64)
    y = norm(x)
    same(norm(x[1, 2, 3]), y[1, 2, 3], "one token by itself against among others")
    same(norm(x[:, :, :1]), y[:, :, :1], "one position by itself against among others")
    same(norm(x[:1]), y[:1], "one row by itself against among others")
    norm, x = norm.float(), x.float()
    zeros = torch.zeros(2, D_MODEL, requires_grad=True)
    out = norm(zeros)
    finite(out, "zeros")
    finite(gradient_of(out.sum(), zeros), "gradient at zeros")
    far = (x * 30 + 1000).bfloat16()
    error = ((norm(far).float() - norm(far.float())).norm() / norm(far.float()).norm()).item()
    assert error < 0.005, f"bfloat16 inputs far from zero give {error:.1%} error: statistics are not float32"


@applies_to("activation")
def elementwise(kind: str, node: Node, site: str) -> None:
    """Each output depends on its own input only, and large inputs stay finite, with finite gradients."""
    activation = registry.ACTIVATION.create(node).eval()
    x = torch.randn(4, 6)
    y = activation(x)
    changed = x.clone()
    changed[1, 2] += 1.0
    z = activation(changed)
    others = torch.ones_like(x, dtype=torch.bool)
    others[1, 2] = False
    same(z[others], y[others], "other elements when one changes", 0.0)
    same(activation(x.view(2, 3, 4)), y.view(2, 3, 4), "another shape", 0.0)
    extreme = torch.tensor([-1e4, -30.0, 0.0, 30.0, 1e4], requires_grad=True)
    out = activation(extreme)
    finite(out, "large inputs")
    finite(gradient_of(out.sum(), extreme), "gradient at large inputs")


@applies_to("embedding")
def tables(kind: str, node: Node, site: str) -> None:
    """Vectors and logits have their shapes, gradients reach every parameter, and sharing survives copying and loading."""
    embedding = build_embedding(node)
    tokens = torch.randint(VOCABULARY, (3, 7))
    vectors = embedding.embed_source(tokens), embedding.embed_target(tokens)
    for side, x in zip(("embed_source", "embed_target"), vectors, strict=True):
        assert x.shape == (3, 7, D_MODEL), f"{side}: {tuple(x.shape)}, expected (3, 7, {D_MODEL})"
    weight, bias = embedding.output()
    assert weight.shape == (VOCABULARY, D_MODEL), f"output weight: {tuple(weight.shape)}"
    assert bias is None or bias.shape == (VOCABULARY,), f"output bias: {tuple(bias.shape)}"
    logits = embedding.project(vectors[1])
    same(logits, nn.functional.linear(vectors[1], weight, bias), "project against the weight that output() hands out")
    same(embedding.embed_source(tokens[:, 2:3]), vectors[0][:, 2:3], "one token by itself")
    (logits * torch.randn_like(logits) + (vectors[0] * torch.randn_like(vectors[0])).sum()).sum().backward()
    for name, parameter in embedding.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.any()), f"parameter {name!r} gets no gradient"
        finite(parameter.grad, f"gradient of {name!r}")

    def sharing(module: nn.Module) -> list[list[str]]:
        groups: dict[int, list[str]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            groups.setdefault(id(parameter), []).append(name)
        return sorted(groups.values())

    before, state = sharing(embedding), stored(embedding)
    for what, change in (
        ("deepcopy", copy.deepcopy),
        ("to(float32)", lambda m: copy.deepcopy(m).float()),
        ("load_state_dict", lambda m: _loaded(build_embedding(node), state, False)),
        ("load_state_dict(assign=True)", lambda m: _loaded(build_embedding(node), state, True)),
    ):
        twin = change(embedding)  # type: ignore[no-untyped-call]
        assert sharing(twin) == before, f"{what} changes which parameters are one: {sharing(twin)}, were {before}"
        logits_now = twin.project(twin.embed_target(tokens)).double()
        same(logits_now, logits.detach(), f"logits after {what}", 1e-5 if "float32" in what else None)


def _loaded(module: nn.Module, state: dict[str, Tensor], assign: bool) -> Any:
    module.load_state_dict({k: v.clone() for k, v in state.items()}, assign=assign)
    return module


@applies_to("embedding")
def low_precision(kind: str, node: Node, site: str) -> None:
    """In bfloat16 vectors and logits are bfloat16, finite and near float32's."""
    embedding = build_embedding(node, torch.float32)
    tokens = torch.randint(VOCABULARY, (3, 7))
    full = embedding.project(embedding.embed_target(tokens))
    embedding = embedding.bfloat16()
    x = embedding.embed_target(tokens)
    assert x.dtype == torch.bfloat16, f"vectors of a bfloat16 table are {x.dtype}"
    error = ((embedding.project(x).float() - full).norm() / full.norm()).item()
    assert error <= 0.03, f"logits are {error:.1%} from float32's, more than 3%"
