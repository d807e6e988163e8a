"""Residual blocks against their formulas written out, and the property that makes each of them what it is."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise, permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from recambio.components.normalization import LayerNorm
from recambio.errors import InputError
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.model.transformer import no_decay_names
from recambio.registry import BLOCK, Node

D = 6
Sublayer = Callable[[Tensor], Tensor]
Weights = dict[str, Tensor]
Sublayers = list[list[Sublayer]]


def random_norm(layer_index: int | None = None) -> LayerNorm:
    norm = LayerNorm(D)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def plain_norm(layer_index: int | None = None) -> LayerNorm:
    return LayerNorm(D)


def make(
    node: Node,
    n_layers: int = 2,
    n_sublayers: int = 3,
    normalization: Callable[[int | None], nn.Module] = plain_norm,
    dropout: float = 0.0,
    n_other: int | None = None,
    d_model: int = D,
) -> Any:
    """A block in float64; of a decoder where a layer has three sub-layers."""
    is_decoder = n_sublayers == 3
    other = n_layers if n_other is None else n_other
    block: nn.Module = BLOCK.create(
        node,
        d_model=d_model,
        n_heads=2,
        dropout=dropout,
        n_encoder=other if is_decoder else n_layers,
        n_decoder=n_layers if is_decoder else other,
        stack="decoder" if is_decoder else "encoder",
        n_layers=n_layers,
        n_sublayers=n_sublayers,
        normalization=normalization,
    )
    return block.double()


def some_sublayers(n_layers: int = 2, n_sublayers: int = 3, width: int = D, seed: int = 0) -> Sublayers:
    """Sub-layers that mix channels and positions and are not linear."""
    g = torch.Generator().manual_seed(seed)

    def one() -> Sublayer:
        w = torch.randn(width, width, generator=g, dtype=torch.float64) / width**0.5
        return lambda x: torch.sin(x @ w) + 0.3 * x.mean(1, keepdim=True)

    return [[one() for _ in range(n_sublayers)] for _ in range(n_layers)]


def run(block: Any, x: Tensor, sublayers: Sublayers) -> Tensor:
    state = block.enter(x)
    for index, layer in enumerate(sublayers):
        state = block.layer(index, state, layer)
    y: Tensor = block.exit(state)
    return y


def randomise(module: nn.Module, seed: int = 1, scale: float = 0.5) -> None:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) * scale)


def stream(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*(shape or (2, 5, D)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------ formulas, written out


def ln(x: Tensor, w: Weights, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def sandwich_norm(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            x = x + ln(f(ln(x, w, f"norms.{i}.{k}")), w, f"output_norms.{i}.{k}")
    return ln(x, w, "final_norm")


def peri_norm(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    return sandwich_norm(ln(x, w, "input_norm"), layers, w)


def deep_norm(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    n = len(layers)
    alpha = (3 * n) ** (1 / 4) if len(layers[0]) == 3 else 0.81 * (n**4 * n) ** (1 / 16)
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            x = ln(alpha * x + f(x), w, f"norms.{i}.{k}")
    return x


def admin(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            x = ln(x * w[f"omegas.{i}.{k}"] + f(x), w, f"norms.{i}.{k}")
    return x


def rezero(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            scales = w[f"scales.{i}"]
            x = x + scales[k if len(scales) > 1 else 0] * f(x)
    return ln(x, w, "final_norm") if "final_norm.weight" in w else x


def layer_scale(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            x = x + f(ln(x, w, f"norms.{i}.{k}")) @ torch.diag(w[f"scales.{i}.{k}"])
    return ln(x, w, "final_norm")


def parallel(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    for i, layer in enumerate(layers):
        x = x + torch.stack([f(ln(x, w, f"norms.{i}.0")) for f in layer]).sum(0)
    return ln(x, w, "final_norm")


def b2t(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    for i, layer in enumerate(layers):
        if len(layer) == 2:  # the encoder's equation, then the decoder's
            attended = ln(layer[0](x) + x, w, f"norms.{i}.0")
            x = ln(x + attended + layer[1](attended), w, f"norms.{i}.1")
        else:
            attended = ln(layer[0](x) + x, w, f"norms.{i}.0")
            crossed = ln(layer[1](attended) + attended, w, f"norms.{i}.1")
            x = ln(x + crossed + layer[2](crossed), w, f"norms.{i}.2")
    return x


def res_dual(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    added = [x]
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            added.append(f(x))
            x = ln(x + added[-1], w, f"norms.{i}.{k}")
    return x + ln(sum(added), w, "final_norm")  # type: ignore[arg-type]


def dlcl(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    outputs = [x]
    for i, layer in enumerate(layers):
        y = sum(w[f"weights.{i}"][j] * z for j, z in enumerate(outputs))
        for k, f in enumerate(layer):
            y = y + f(ln(y, w, f"norms.{i}.{k}"))  # type: ignore[arg-type]
        outputs.append(ln(y, w, f"output_norms.{i}"))  # type: ignore[arg-type]
    return ln(sum(w[f"weights.{len(layers)}"][j] * z for j, z in enumerate(outputs)), w, "final_norm")  # type: ignore[arg-type]


def hyper_connections(x: Tensor, layers: Sublayers, w: Weights) -> Tensor:
    n = len(w["connections.0.0.shares"])
    rows, length, _ = x.shape
    streams = [x.clone() for _ in range(n)]
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            at = f"connections.{i}.{k}"
            mix = w[f"{at}.mixing"].expand(rows, length, n, n + 1).clone()
            share = w[f"{at}.shares"].expand(rows, length, n).clone()
            if f"{at}.weight" in w:
                for b in range(rows):
                    for t in range(length):
                        for s in range(n):
                            moved = torch.tanh(ln(streams[s][b, t], w, f"{at}.norm") @ w[f"{at}.weight"])
                            mix[b, t, s] += w[f"{at}.mixing_scale"] * moved[: n + 1]
                            share[b, t, s] += w[f"{at}.shares_scale"][0] * moved[n + 1]
            read = sum(mix[..., s, 0, None] * streams[s] for s in range(n))
            y = f(ln(read, w, f"norms.{i}.{k}"))  # type: ignore[arg-type]
            streams = [
                sum(mix[..., s, j + 1, None] * streams[s] for s in range(n)) + share[..., j, None] * y for j in range(n)
            ]
    return ln(sum(streams), w, "final_norm")  # type: ignore[arg-type]


FORMULAS: list[tuple[Node, Callable[[Tensor, Sublayers, Weights], Tensor]]] = [
    ("sandwich_norm", sandwich_norm),
    ("peri_norm", peri_norm),
    ("deep_norm", deep_norm),
    ("admin", admin),
    ("rezero", rezero),
    ({"name": "rezero", "shared": False}, rezero),
    ({"name": "rezero", "final_norm": True}, rezero),
    ("layer_scale", layer_scale),
    ("parallel", parallel),
    ("b2t", b2t),
    ("res_dual", res_dual),
    ("dlcl", dlcl),
    ("hyper_connections", hyper_connections),
    ({"name": "hyper_connections", "n_streams": 2, "dynamic": False}, hyper_connections),
    ({"name": "hyper_connections", "n_streams": 1}, hyper_connections),
]
NODES = [node for node, _ in FORMULAS]


@pytest.mark.parametrize("n_sublayers", [2, 3], ids=["encoder", "decoder"])
@pytest.mark.parametrize(("node", "formula"), FORMULAS, ids=[str(node) for node, _ in FORMULAS])
def test_a_block_is_its_formula(node: Node, formula: Any, n_sublayers: int) -> None:
    block = make(node, n_layers=3, n_sublayers=n_sublayers)
    randomise(block)
    layers, x = some_sublayers(3, n_sublayers), stream()
    weights = {name: p.detach() for name, p in block.named_parameters()}
    assert_close(run(block, x, layers), formula(x, layers, weights))


@pytest.mark.parametrize("node", NODES, ids=str)
def test_dropout_is_on_what_each_sublayer_gives(node: Node) -> None:
    block = make(node, dropout=0.3)
    randomise(block)
    given_out: list[Tensor] = []
    dropped: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            dropped.append(y)
            return y

    assert block.dropout.p == 0.3
    block.dropout = Spy()
    layers = some_sublayers()

    def spied(f: Sublayer) -> Sublayer:
        def call(x: Tensor) -> Tensor:
            given_out.append(f(x))
            return given_out[-1]

        return call

    run(block, stream(), [[spied(f) for f in layer] for layer in layers])
    assert len(dropped) == len(given_out) == 6
    assert all(a is b for a, b in zip(dropped, given_out, strict=True))


@pytest.mark.parametrize("node", NODES, ids=str)
def test_norms_are_those_of_their_layer(node: Node) -> None:
    asked: list[int | None] = []

    def normalization(layer_index: int | None) -> LayerNorm:
        asked.append(layer_index)
        return LayerNorm(D)

    block = make(node, n_layers=2, normalization=normalization)
    assert asked.count(0) == asked.count(1)
    outside = [name for name, _ in block.named_children() if name in ("final_norm", "input_norm")]
    assert asked.count(None) == len(outside)


# ------------------------------------------------------------------------------------------------ sandwich_norm, peri_norm


@pytest.mark.parametrize("node", ["sandwich_norm", "peri_norm"])
def test_the_scale_of_a_sublayer_does_not_matter_behind_a_second_norm(node: str) -> None:
    layers, x = some_sublayers(), stream()
    louder = [[lambda x, f=f: 1000 * f(x) for f in layer] for layer in layers]
    block, plain = make(node), make("pre_norm")
    assert_close(run(block, x, louder), run(block, x, layers), rtol=1e-3, atol=1e-3)
    assert (run(plain, x, louder) - run(plain, x, layers)).abs().max() > 0.5


def test_what_a_sandwiched_sublayer_adds_has_the_scale_of_the_gain() -> None:
    block = make("sandwich_norm", n_layers=1, n_sublayers=1)
    with torch.no_grad():
        block.output_norms[0][0].weight.fill_(0.25)
    x = stream(8, 20, D)
    added = block.layer(0, x, [lambda x: 1e4 * x]) - x
    assert_close(added.square().mean(-1).sqrt(), torch.full((8, 20), 0.25, dtype=torch.float64), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("node", ["sandwich_norm", "peri_norm"])
def test_the_variance_of_a_deep_sandwiched_stream_grows_by_one_a_sublayer(node: str) -> None:
    n_layers, width = 40, 64
    block = make(node, n_layers, 2, normalization=lambda index: LayerNorm(width))
    g = torch.Generator().manual_seed(0)
    state = block.enter(stream(4, 8, width))
    for index in range(n_layers):
        maps = [torch.randn(width, width, generator=g, dtype=torch.float64) for _ in range(2)]
        state = block.layer(index, state, [lambda x, w=w: 1e3 * x @ w for w in maps])
    assert state.var().item() == pytest.approx(1 + 2 * n_layers, rel=0.3)


def test_the_first_norm_of_peri_norm_hides_the_scale_of_the_embedding() -> None:
    layers, x = some_sublayers(), stream()
    peri, sandwich = make("peri_norm"), make("sandwich_norm")
    assert_close(run(peri, 50 * x, layers), run(peri, x, layers), rtol=1e-3, atol=1e-3)
    assert (run(sandwich, 50 * x, layers) - run(sandwich, x, layers)).abs().max() > 0.1
    unit = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, correction=0)
    assert_close(run(peri, unit, layers), run(sandwich, unit, layers), rtol=1e-3, atol=1e-3)


# ------------------------------------------------------------------------------------------------ deep_norm


@pytest.mark.parametrize(
    ("n_encoder", "n_decoder", "encoder", "decoder"),
    [(6, 6, (1.418, 0.497), (2.060, 0.343)), (18, 6, (1.866, 0.378), (2.060, 0.343))],
)
def test_deep_norms_constants(n_encoder: int, n_decoder: int, encoder: tuple, decoder: tuple) -> None:  # type: ignore[type-arg]
    block = make("deep_norm", n_encoder, 2, n_other=n_decoder)
    assert (block.alpha, block.beta) == pytest.approx(encoder, abs=1e-3)
    block = make("deep_norm", n_decoder, 3, n_other=n_encoder)
    assert (block.alpha, block.beta) == pytest.approx(decoder, abs=1e-3)


def spec(n_encoder: int = 2, n_decoder: int = 2, **parts: Any) -> ModelSpec:
    return ModelSpec(
        StackSpec.uniform(n_encoder, **parts),
        StackSpec.uniform(n_decoder, **{"cross_attention": parts.get("attention", "multi_head"), **parts}),
        source_vocabulary=13,
        target_vocabulary=13,
        d_model=16,
        n_heads=4,
        d_ff=24,
        dropout=0.0,
    )


def ratios(one: Transformer, other: Transformer) -> dict[str, float]:
    """Initial weights of linear maps, by role: how many times those of the other."""
    found: dict[str, float] = {}
    others = dict(other.named_modules())
    for name, module in one.named_modules():
        if ".layers." in name and isinstance(module, nn.Linear):
            rows = zip(
                module.splits,  # type: ignore[arg-type]
                module.weight.split(list(module.splits.values())),  # type: ignore[operator, arg-type, union-attr]
                others[name].weight.split(list(module.splits.values())),  # type: ignore[operator, arg-type, union-attr]
                strict=True,
            )
            for role, ours, theirs in rows:
                ratio = (ours / theirs).detach()
                assert_close(ratio, ratio.flatten()[0].expand_as(ratio))
                found[f"{name}.{role}"] = ratio.flatten()[0].item()
    return found


@pytest.mark.parametrize(
    "parts",
    [{}, {"attention": {"name": "grouped_query", "n_groups": 2}, "feed_forward": "swiglu"}],
    ids=["mlp", "swiglu"],
)
def test_deep_norm_starts_values_outputs_and_feed_forwards_smaller_and_queries_and_keys_not(parts: dict) -> None:  # type: ignore[type-arg]
    found = ratios(
        Transformer(spec(3, 2, block="deep_norm", **parts)), Transformer(spec(3, 2, block="post_norm", **parts))
    )
    assert len(found) == 3 * (4 + 2) + 2 * (8 + 2) + ("feed_forward" in parts) * 5
    for name, ratio in found.items():
        beta = 0.87 * (3**4 * 2) ** (-1 / 16) if name.startswith("encoder") else (12 * 2) ** -0.25
        role = name.rsplit(".", 1)[1]
        assert ratio == pytest.approx(1.0 if role in ("q", "k") else beta, abs=1e-5), name


def change_of_output(node: Node, n_layers: int) -> float:
    """Relative change of a stack's output when each weight moves by the same small amount, as a step of Adam moves it."""
    width, g = 64, torch.Generator().manual_seed(0)
    block = make(node, n_layers, 2, normalization=lambda index: LayerNorm(width))
    draws = [
        [torch.randn(width, width, generator=g, dtype=torch.float64) for _ in range(4)] for _ in range(n_layers * 2)
    ]
    x = stream(2, 8, width)

    def output(step: float) -> Tensor:
        layers: Sublayers = []
        for i in range(n_layers):
            layer: list[Sublayer] = []
            for k, roles in enumerate((("v", "o"), ("ffn_in", "ffn_out"))):
                first, second, *moves = draws[2 * i + k]
                a = block.init_gain(roles[0], i) * width**-0.5 * first + step * moves[0].sign()
                b = block.init_gain(roles[1], i) * width**-0.5 * second + step * moves[1].sign()
                layer.append(lambda x, a=a, b=b: x @ a @ b)
            layers.append(layer)
        return run(block, x, layers)

    before, after = output(0.0), output(1e-4)
    return ((after - before).norm() / before.norm()).item() / 1e-4


def test_an_update_changes_a_deep_norm_stack_by_an_amount_that_depth_does_not_raise() -> None:
    deep = [change_of_output("deep_norm", n) for n in (6, 96)]
    post = [change_of_output("post_norm", n) for n in (6, 96)]
    assert deep[1] < 1.2 * deep[0]
    assert post[1] > 2.5 * post[0]
    assert deep[1] < post[1] / 5


# ------------------------------------------------------------------------------------------------ admin


def test_admin_is_post_norm_until_it_is_calibrated() -> None:
    layers, x = some_sublayers(), stream()
    assert_close(run(make("admin"), x, layers), run(make("post_norm"), x, layers), rtol=0, atol=0)


def calibrate(block: Any, x: Tensor, layers: Sublayers, n_passes: int = 1) -> Tensor:
    """Calibrate on x. Returns: what the last pass gave."""
    outputs: list[Tensor] = []
    with torch.no_grad():
        block.calibrate(lambda: outputs.extend(run(block, x, layers) for _ in range(n_passes)))
    return outputs[-1]


def variance(x: Tensor) -> Tensor:
    return ((x - x.mean()) ** 2).mean()


@pytest.mark.parametrize("n_passes", [1, 2])
def test_admin_measures_the_variance_that_the_stream_would_have_without_norms(n_passes: int) -> None:
    layers, x = some_sublayers(3, 2), 1.5 * stream(4, 9, D)
    block = make("admin", 3, 2)
    randomise(block.omegas)  # whatever was there before
    in_pass = calibrate(block, x, layers, n_passes)
    omega = torch.ones((), dtype=torch.float64)
    y, weights = x, {name: p.detach() for name, p in block.named_parameters()}
    for i, layer in enumerate(layers):
        for k, f in enumerate(layer):
            ours = block.omegas[i][k]
            assert_close(ours.detach(), omega.expand(D), rtol=1e-6, atol=0)
            added = f(y)
            omega, y = (variance(omega * y) + variance(added)).sqrt(), ln(omega * y + added, weights, f"norms.{i}.{k}")
    assert_close(in_pass, y, rtol=1e-6, atol=1e-6)
    assert_close(run(block, x, layers), y, rtol=1e-6, atol=1e-6)


def test_admins_omega_is_one_plus_the_variances_of_all_sublayers_before() -> None:
    """With a stream of unit variance and sub-layers of known variance 4, omega^2 is 1, 5, 9, ..."""
    width = 512
    block = make("admin", 3, 2, normalization=lambda index: LayerNorm(width), d_model=width)
    noise = torch.Generator().manual_seed(0)
    layers = [[lambda x: 2 * torch.randn(x.shape, generator=noise, dtype=x.dtype) for _ in range(2)] for _ in range(3)]
    calibrate(block, stream(8, 16, width), layers)
    squares = [float(p.detach().square().mean()) for row in block.omegas for p in row]
    assert squares == pytest.approx([1 + 4 * i for i in range(6)], rel=0.02)


def batch() -> tuple[Tensor, ...]:
    """Four right-padded pairs and their masks."""
    g = torch.Generator().manual_seed(0)
    source, target = torch.randint(4, 13, (4, 7), generator=g), torch.randint(4, 13, (4, 6), generator=g)
    source_tokens = torch.arange(7) < torch.tensor([7, 3, 5, 1])[:, None]
    target_tokens = torch.arange(6) < torch.tensor([2, 6, 4, 6])[:, None]
    return source * source_tokens, target * target_tokens, source_tokens, target_tokens


def calibrated(n_encoder: int = 3, n_decoder: int = 2, compiled: bool = False) -> Transformer:
    model = Transformer(spec(n_encoder, n_decoder, block="admin")).train()
    if compiled:
        for layer in [*model.encoder.layers, *model.decoder.layers]:
            layer.compile(backend="eager", dynamic=True)
    assert model.calibrate(lambda: _discard(model(*batch())))
    return model


def _discard(_: object) -> None:
    pass


def test_admin_in_a_model_is_calibrated_once_and_for_all() -> None:
    model, again = calibrated(), calibrated()
    for stack, count in ((model.encoder, 6), (model.decoder, 6)):
        omegas = [p.detach() for row in stack.block.omegas for p in row]
        assert len(omegas) == count
        values = [float(p[0]) for p in omegas]
        assert values[0] == 1.0 and all(b > a for a, b in pairwise(values))
        assert all(bool((p == p[0]).all()) for p in omegas)
    state = model.state_dict()
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in state.items())
    fresh, twin = Transformer(spec(3, 2, block="admin")), copy.deepcopy(model)
    fresh.load_state_dict(state)
    y, _ = model.eval()(*batch())
    for other in (fresh, twin):
        assert_close(other.eval()(*batch())[0], y, rtol=0, atol=0)
    assert "encoder.block.omegas.2.1" in no_decay_names(model)


@pytest.mark.slow
def test_admin_is_calibrated_through_compiled_layers() -> None:
    plain, compiled = calibrated(1, 1), calibrated(1, 1, compiled=True)
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert_close(a, b)
    y, _ = compiled(*batch())
    y.sum().backward()
    assert_close(y, plain(*batch())[0])
    torch._dynamo.reset()


def test_admin_forgets_its_measuring_where_the_pass_fails() -> None:
    block, x, layers = make("admin"), stream(), some_sublayers()

    def fails() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        block.calibrate(fails)
    run(block, x, layers)
    assert all(bool((p == 1).all()) for p in block.omegas.parameters())


# ------------------------------------------------------------------------------------------------ rezero


@pytest.mark.parametrize("shared", [True, False])
def test_a_rezero_stack_of_any_depth_starts_as_the_identity(shared: bool) -> None:
    layers, x = some_sublayers(50), stream()
    block = make({"name": "rezero", "shared": shared}, n_layers=50)
    assert torch.equal(run(block, x, layers), x)
    assert sum(p.numel() for p in block.parameters()) == 50 * (1 if shared else 3)
    assert not any(isinstance(m, LayerNorm) for m in block.modules())
    block = make({"name": "rezero", "shared": shared, "final_norm": True}, n_layers=50)
    assert torch.equal(run(block, x, layers), block.final_norm(x))
    assert sum(isinstance(m, LayerNorm) for m in block.modules()) == 1


def test_rezeros_scalars_learn_first_then_the_sublayers() -> None:
    """In a whole model the decoder's scalars move in the first step, the encoder's in the second, the rest after that."""
    model = Transformer(spec(block="rezero")).double().train()
    source, target, source_tokens, target_tokens = batch()
    weight = stream(4, 6, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def moving() -> set[str]:
        optimizer.zero_grad()
        y, _ = model(source, target, source_tokens, target_tokens)
        (y * weight * target_tokens[..., None]).sum().backward()
        optimizer.step()
        moved = {n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        return {".".join(n.split(".")[:2]) for n in moved if not n.startswith("embedding")}

    assert moving() == {"decoder.block"}
    assert moving() == {"decoder.block", "decoder.layers", "encoder.block"}
    assert moving() == {"decoder.block", "decoder.layers", "encoder.block", "encoder.layers"}


# ------------------------------------------------------------------------------------------------ layer_scale


def test_layer_scale_with_gains_of_one_is_pre_norm() -> None:
    layers, x = some_sublayers(), stream()
    block = make({"name": "layer_scale", "init": 1.0})
    assert_close(run(block, x, layers), run(make("pre_norm"), x, layers), rtol=0, atol=0)


@pytest.mark.parametrize(("n_layers", "init"), [(1, 0.1), (18, 0.1), (19, 1e-5), (24, 1e-5), (25, 1e-6)])
def test_layer_scale_starts_smaller_the_deeper_the_stack(n_layers: int, init: float) -> None:
    block = make("layer_scale", n_layers)
    assert_close(
        torch.cat(list(block.scales.parameters())).float(), torch.full((n_layers * 3 * D,), init), rtol=1e-6, atol=0
    )


def test_layer_scale_weighs_each_channel_for_itself() -> None:
    block = make("layer_scale", n_layers=1)
    with torch.no_grad():
        for scale in block.scales.parameters():
            scale.copy_(torch.tensor([0.0, 1, 0, 1, 0, 1]))
    x = stream()
    moved = (block.layer(0, x, some_sublayers()[0]) - x).abs().amax((0, 1)) > 0
    assert moved.tolist() == [False, True] * 3


def test_layer_scale_refuses_to_switch_sublayers_off_for_good() -> None:
    with pytest.raises(ValueError, match=r"`init` must be positive, but is 0\.0"):
        make({"name": "layer_scale", "init": 0.0})


# ------------------------------------------------------------------------------------------------ parallel


def test_parallel_sublayers_do_not_see_each_other() -> None:
    block, x, (layer,) = make("parallel", n_layers=1), stream(), some_sublayers(1)
    whole = block.layer(0, x, layer)
    for order in permutations(layer):
        assert_close(block.layer(0, x, list(order)), whole)
    alone = [block.layer(0, x, [f]) - x for f in layer]
    assert_close(whole - x, torch.stack(alone).sum(0))
    assert (make("pre_norm", n_layers=1).layer(0, x, layer[::-1]) - whole).abs().max() > 0.01


# ------------------------------------------------------------------------------------------------ b2t


@pytest.mark.parametrize("n_sublayers", [2, 3])
def test_b2t_without_its_path_is_post_norm(n_sublayers: int) -> None:
    """A layer whose input is zero has nothing to hand on; any other differs, in the last norm alone."""
    layers = some_sublayers(1, n_sublayers)
    block, post = make("b2t", 1, n_sublayers), make("post_norm", 1, n_sublayers)
    shifted = [[lambda x, f=f: f(x + 1) for f in layers[0]]]
    zeros = torch.zeros(2, 5, D, dtype=torch.float64)
    assert_close(run(block, zeros, shifted), run(post, zeros, shifted), rtol=0, atol=0)
    x = stream()
    assert (run(block, x, layers) - run(post, x, layers)).abs().max() > 0.01
    for b, p in ((block, post),):
        b.norms[0][-1] = p.norms[0][-1] = nn.Identity()
        assert_close(run(b, x, layers), run(p, x, layers) + x)


def gradient_at_the_bottom(node: Node, n_layers: int) -> float:
    """Of a random direction at the top of a decoder's stack, the norm of what arrives at its input.

    The sub-layers' outputs have unit variance, a quarter of which follows their inputs.
    """
    width, g = 64, torch.Generator().manual_seed(0)
    block = make(node, n_layers, 3, normalization=lambda index: LayerNorm(width))

    def one() -> Sublayer:
        w = torch.randn(width, width, generator=g, dtype=torch.float64) * width**-0.5
        own = torch.randn(2, 8, width, generator=g, dtype=torch.float64)
        return lambda x: 0.5 * x @ w + 0.75**0.5 * own

    x = stream(2, 8, width).requires_grad_()
    y = run(block, x, [[one() for _ in range(3)] for _ in range(n_layers)])
    (gradient,) = torch.autograd.grad((y * stream(2, 8, width, seed=5)).sum(), x)
    return gradient.norm().item()


@pytest.mark.parametrize("node", ["b2t", "res_dual"])
def test_the_gradient_reaches_the_bottom_of_a_deep_stack(node: str) -> None:
    """Through 16 layers instead of 2 post-norm's shrinks ten thousandfold, around the norms much less."""
    post = [gradient_at_the_bottom("post_norm", n) for n in (2, 16)]
    ours = [gradient_at_the_bottom(node, n) for n in (2, 16)]
    assert post[1] < post[0] / 5000
    assert ours[1] > ours[0] / 50


@pytest.mark.parametrize(("scaled_init", "gain"), [(False, 1.0), (True, 3**-0.5)])
def test_b2t_may_start_the_sublayers_smaller_the_deeper_the_stack(scaled_init: bool, gain: float) -> None:
    block: Node = {"name": "b2t", "scaled_init": scaled_init}
    found = ratios(Transformer(spec(3, 3, block=block)), Transformer(spec(3, 3, block="post_norm")))
    assert len(found) == 3 * (4 + 2) + 3 * (8 + 2)
    assert list(found.values()) == pytest.approx([gain] * len(found), abs=1e-5)


# ------------------------------------------------------------------------------------------------ res_dual


def test_res_dual_is_post_norm_plus_the_normed_sum_of_all_that_was_added() -> None:
    block, post = make("res_dual"), make("post_norm")
    x, added = stream(), []
    layers = some_sublayers()
    recorded = [[lambda x, f=f: added.append(f(x)) or added[-1] for f in layer] for layer in layers]
    y = run(block, x, recorded)  # type: ignore[arg-type]
    dual = y - run(post, x, layers)
    assert_close(dual, block.final_norm(x + sum(added)))
    assert_close(block.enter(x), (x, x))


# ------------------------------------------------------------------------------------------------ dlcl


def test_dlcl_starts_as_the_mean_of_all_before() -> None:
    block = make("dlcl", n_layers=4)
    assert [p.tolist() for p in block.weights] == [pytest.approx([1 / n] * n) for n in range(1, 6)]


@settings(max_examples=15)
@given(st.data())
def test_dlcl_with_one_hot_weights_is_a_chain_of_the_chosen_layers(data: st.DataObject) -> None:
    """A layer reads just what its weights point at; pointing at the last one each time is the plain chain."""
    n_layers = data.draw(st.integers(1, 4))
    block, x, layers = make("dlcl", n_layers, 2), stream(), some_sublayers(n_layers, 2)
    is_plain = data.draw(st.booleans())
    chosen = [n - 1 if is_plain else data.draw(st.integers(0, n - 1)) for n in range(1, n_layers + 2)]
    with torch.no_grad():
        for weights, one in zip(block.weights, chosen, strict=True):
            weights.copy_(torch.eye(len(weights))[one])
    norm = nn.LayerNorm(D, dtype=torch.float64)
    outputs = [x]
    for one, layer in zip(chosen, layers, strict=False):
        y = outputs[one]
        for f in layer:
            y = y + f(norm(y))
        outputs.append(norm(y))
    assert_close(run(block, x, layers), norm(outputs[chosen[-1]]))


# ------------------------------------------------------------------------------------------------ hyper_connections


@pytest.mark.parametrize("n_sublayers", [2, 3])
def test_one_static_stream_starts_as_pre_norm(n_sublayers: int) -> None:
    layers, x = some_sublayers(2, n_sublayers), stream()
    block = make({"name": "hyper_connections", "n_streams": 1, "dynamic": False}, 2, n_sublayers)
    assert_close(run(block, x, layers), run(make("pre_norm", 2, n_sublayers), x, layers))


@pytest.mark.parametrize("n_streams", [1, 2, 4])
@pytest.mark.parametrize("dynamic", [False, True])
def test_any_number_of_streams_starts_as_pre_norm(n_streams: int, dynamic: bool) -> None:
    """But for the norm's epsilon, which is less to a sum of n equal streams, and for the noise of dynamic connections."""
    layers, x = some_sublayers(4), stream()
    block = make({"name": "hyper_connections", "n_streams": n_streams, "dynamic": dynamic}, 4)
    plain = run(make("pre_norm", 4), x, layers)
    assert_close(run(block, x, layers), plain, rtol=0, atol=5e-3 if dynamic else 1e-4)
    for row in block.connections:
        for connection in row:
            if dynamic:
                nn.init.zeros_(connection.weight)
    assert_close(run(block, x, layers), plain, rtol=0, atol=1e-4)


def test_sublayers_take_turns_in_reading_the_streams() -> None:
    block = make({"name": "hyper_connections", "n_streams": 4}, n_layers=2)
    read = [connection.mixing[:, 0].argmax().item() for row in block.connections for connection in row]
    assert read == [0, 1, 2, 3, 0, 1]
    assert all(bool((c.mixing.sum(0) == 1).all()) for row in block.connections for c in row)


@settings(max_examples=15)
@given(st.permutations([0, 1, 2]), st.booleans())
def test_the_names_of_the_streams_do_not_matter(order: list[int], dynamic: bool) -> None:
    block = make({"name": "hyper_connections", "n_streams": 3, "dynamic": dynamic})
    randomise(block)
    renamed = copy.deepcopy(block)
    columns = [0, *(1 + s for s in order)]
    with torch.no_grad():
        for row in renamed.connections:
            for c in row:
                c.mixing.copy_(c.mixing[order][:, columns].clone())
                c.shares.copy_(c.shares[order].clone())
                if dynamic:
                    c.weight.copy_(c.weight[:, [*columns, 4]].clone())
    layers, x = some_sublayers(), stream()
    assert_close(run(renamed, x, layers), run(block, x, layers))


def test_dynamic_connections_move_by_no_more_than_their_scale_and_static_ones_not_at_all() -> None:
    """Whatever the maps and the streams, a connection stays within s of its static value."""
    block = make("hyper_connections", n_layers=1)
    connection = block.connections[0][0]
    nn.init.normal_(connection.weight, std=30.0)
    token = 1e3 * stream(1, 1, D)
    for s, stay in ((0.01, 0.01), (0.0, 0.0)):
        nn.init.constant_(connection.mixing_scale, s)
        nn.init.constant_(connection.shares_scale, s)
        unit = torch.eye(4, D, dtype=torch.float64)[None, None] * token.norm()
        reading, mixed, shares = connection.connect(unit)
        mixing = torch.cat([reading[0, 0, None], mixed[0, 0]])[:, :4].T / token.norm()
        assert_close(mixing, connection.mixing.detach(), rtol=0, atol=stay * 1.0001)
        assert_close(shares[0, 0, :, 0], connection.shares.detach(), rtol=0, atol=stay * 1.0001)
        assert (mixing - connection.mixing).abs().max().item() == pytest.approx(stay, rel=0.1)


def test_streams_stay_in_float32_under_autocast() -> None:
    block = make("hyper_connections").float()
    randomise(block)
    layers = [[lambda x, f=f: f(x.double()).bfloat16() for f in layer] for layer in some_sublayers()]
    x = stream().float()
    plain = block.connections[0][0].connect(block.enter(x))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = block.connections[0][0].connect(block.enter(x))
        state = block.layer(0, block.enter(x), layers[0])
    for a, b in zip(mixed, plain, strict=True):
        assert_close(a, b, rtol=0, atol=0)
    assert state.dtype == torch.float32 and state.shape == (2, 5, 4, D)


def test_hyper_connections_need_a_stream() -> None:
    with pytest.raises(ValueError, match="`n_streams` must be at least 1, but is 0"):
        make({"name": "hyper_connections", "n_streams": 0})
    with pytest.raises(InputError, match="streams"):
        make({"name": "hyper_connections", "streams": 2})


# ------------------------------------------------------------------------------------------------ whole models


@pytest.mark.parametrize("node", NODES, ids=str)
def test_in_a_whole_model_gradients_flow_and_cached_steps_equal_the_full_pass(node: Node) -> None:
    model = Transformer(spec(block=node)).double()
    randomise(model, scale=0.3)
    source, target, source_tokens, target_tokens = batch()
    hidden, _ = model(source, target, source_tokens, target_tokens)
    (hidden * stream(4, 6, 16) * target_tokens[..., None]).sum().backward()
    for name, p in model.named_parameters():
        if not name.startswith("embedding"):
            assert p.grad is not None and bool(torch.isfinite(p.grad).all()) and bool(p.grad.any()), name
    model.eval()
    with torch.no_grad():
        target = torch.randint(4, 13, (4, 6), generator=torch.Generator().manual_seed(3))
        memory, _ = model.encode(source, source_tokens)
        wanted, _ = model.decode(target, memory, source_tokens)
        for chunk in (1, 4):
            state = model.start(source, source_tokens, max_length=2)
            steps = [model.step(state, target[:, i : i + chunk]) for i in range(0, 6, chunk)]
            assert_close(torch.cat(steps, dim=1), wanted)
        state = model.start(source, source_tokens).select(torch.tensor([2, 0]))
        assert_close(model.step(state, target[[2, 0]]), wanted[[2, 0]])


def test_weight_decay_leaves_residual_weights_alone_and_takes_the_maps_of_dynamic_connections() -> None:
    for node, spared in (
        ("admin", "omegas"),
        ("rezero", "scales"),
        ("layer_scale", "scales"),
        ("dlcl", "weights"),
        ("hyper_connections", "mixing"),
        ("hyper_connections", "shares"),
    ):
        model = Transformer(spec(block=node))
        names = {n for n, _ in model.named_parameters() if f".{spared}" in n}
        assert names and names <= no_decay_names(model)
    decayed = {n for n, _ in model.named_parameters()} - no_decay_names(model)
    assert {n.split(".connections.")[1] for n in decayed if ".connections." in n} == {
        f"{i}.{k}.weight" for i in range(2) for k in range(3)
    }


def test_blocks_start_alike_whatever_stands_around_them() -> None:
    """What a block draws depends on the seed and its place alone, and draws nothing from the global generator."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = Transformer(spec(block="hyper_connections")).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    other = Transformer(
        spec(block="hyper_connections", attention={"name": "grouped_query", "n_groups": 2}, feed_forward="swiglu")
    ).state_dict()
    ours = [k for k in one if ".block." in k]
    assert ours and all(torch.equal(one[k], other[k]) for k in ours)
    assert math.isclose(float(one["encoder.block.connections.0.0.weight"].std()), 0.01 / 16**0.5, rel_tol=0.2)
