"""Models made ready for decoding: packed and rounded weights, attention of many rows, the best tokens, beams that stay in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.testing import assert_close

from recambio import registry
from recambio.components import packed
from recambio.components.attention import attend, attend_plain
from recambio.components.attention.cache import KeyValueCache
from recambio.components.context import AttentionContext
from recambio.components.feed_forward import MLP
from recambio.components.packed import WeightPrecision, _SingleRow, int8_problem, product
from recambio.components.positions.base import PositionalEncoding
from recambio.config import load as load_config
from recambio.config.schema import Decoding
from recambio.decoding import ModelScorer, generate
from recambio.decoding.best import best_tokens
from recambio.decoding.searches.beam import in_their_parents_place
from recambio.errors import InputError
from recambio.experiment import build as building
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.model.prepare import prepared
from recambio.registry import (
    ACTIVATION,
    ATTENTION,
    BLOCK,
    EMBEDDING,
    FEED_FORWARD,
    NORMALIZATION,
    POSITIONS,
    SEARCH,
    Node,
    Registry,
)

registry.load_builtins()
PRECISIONS: tuple[WeightPrecision, ...] = ("32", "bf16", "int8")
PAD, SOS, EOS, V = 0, 2, 3, 40


@pytest.fixture(autouse=True)
def small_maps_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As large ones are: those of these models are small."""
    monkeypatch.setattr(packed, "_LEAST_PACKED", 0)


def needs(precision: str) -> None:
    if precision == "int8" and (problem := int8_problem(torch.device("cpu"))):
        pytest.skip(problem)


def model_with(
    positions: Node = "sinusoidal",
    decoder: Node = "multi_head",
    embedding: Node = "standard",
    cross_attention: Node = "multi_head",
    **parts: Node,
) -> Transformer:
    spec = ModelSpec(
        encoder=StackSpec.uniform(1, positions="sinusoidal"),
        decoder=StackSpec.uniform(2, positions=positions, attention=decoder, cross_attention=cross_attention, **parts),  # type: ignore[arg-type]
        source_vocabulary=V,
        target_vocabulary=V,
        d_model=32,
        n_heads=4,
        d_ff=64,
        embedding=embedding,
        max_length=32,
    )
    model = Transformer(spec).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g) * 0.2)
    return model


def sources(n: int = 20) -> list[list[int]]:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 12, (n,), generator=g).tolist()
    return [[*torch.randint(4, V, (length,), generator=g).tolist(), EOS] for length in lengths]


@torch.inference_mode()
def stepped(model: Transformer, tokens: Tensor) -> Tensor:
    """Logits of every step, (B, T, V)."""
    state = model.start(torch.tensor([row[:2] for row in sources(60) if len(row) > 2][: len(tokens)]))
    return torch.stack([model.logits(model.step(state, column[:, None])[:, 0]) for column in tokens.T], dim=1)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1, 3, 5, 70])
@pytest.mark.parametrize("has_bias", [True, False])
def test_a_product_is_the_linear_map_up_to_its_rounding(precision: WeightPrecision, rows: int, has_bias: bool) -> None:
    needs(precision)
    g = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(24, 48, generator=g), torch.randn(24, generator=g) if has_bias else None
    x = torch.randn(rows, 48, generator=g)
    x[-1] = 0.0
    run = product(weight, bias, precision)
    exact = nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    with torch.no_grad():
        y = nn.functional.linear(x, weight, bias) if run is None else run(x)
    assert y.dtype == torch.float32
    # Relative errors of weight and input add up over the row at most.
    error = {"32": 1e-6, "bf16": 2.0**-7, "int8": 1.2 / 63}[precision]
    largest = x.abs().amax(-1, keepdim=True).double() * weight.abs().amax(-1).double()
    bound = error * 48 * largest + error * exact.abs() + 1e-6
    assert bool(((y.double() - exact).abs() <= bound).all())
    if precision != "32":
        assert not torch.equal(y[:-1].double(), exact[:-1]) or rows == 1


def test_small_maps_keep_the_plain_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_LEAST_PACKED", 24 * 48)
    assert product(torch.randn(24, 47), None, "32") is None
    assert (product(torch.randn(24, 48), None, "32") is not None) == packed._can_pack()
    assert product(torch.randn(24, 47), None, "bf16") is not None


def test_the_largest_int8_products_are_summed_exactly() -> None:
    """Without VNNI a processor sums pairs of them in 16 bits: half of the sum would be lost."""
    needs("int8")
    run = product(torch.ones(24, 512), None, "int8")
    assert run is not None
    assert_close(run(torch.ones(3, 512)), torch.full((3, 24), 512.0))
    assert_close(run(-torch.ones(3, 512)), torch.full((3, 24), -512.0))


def test_bf16_rounds_alike_with_and_without_products_of_bf16() -> None:
    g = torch.Generator().manual_seed(3)
    weight, bias, x = (torch.randn(*shape, generator=g) for shape in ((24, 48), (24,), (5, 48)))
    weight, bias = weight / 48**0.5, bias / 48**0.5
    exact = nn.functional.linear(x.bfloat16().double(), weight.bfloat16().double(), bias.bfloat16().double())
    for run in (packed._Rounded(weight, bias), packed._BFloat16(weight, bias)):
        assert_close(run(x).double(), exact, rtol=2.0**-7, atol=2.0**-7)


@pytest.mark.skipif(not packed._has_half(), reason="torch has no products of FBGEMM here")
def test_weights_of_16_bits_are_those_of_bf16_and_all_else_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(3)
    weight, bias, x = (torch.randn(*shape, generator=g) for shape in ((24, 600), (24,), (70, 600)))
    weight /= 600**0.5
    exact = nn.functional.linear(x.double(), weight.bfloat16().double(), bias.double())
    alone, some = packed._Half(weight, bias, 1), packed._Half(weight, bias, 2)
    monkeypatch.setattr(packed, "_LEAST_SHARED", 0)
    shared = packed._Half(weight, bias, 2)
    assert [run.most_alone // 600 for run in (alone, some, shared)] == [64, 8, 0]
    for rows in (1, 2, 8, 9, 33, 64, 70):
        y = alone(x[:rows])
        assert_close(y.double(), exact[:rows], rtol=1e-5, atol=1e-5)
        assert torch.equal(y, some(x[:rows])) and torch.equal(y, shared(x[:rows]))
    assert torch.equal(some(x.view(7, 10, 600)), some(x).view(7, 10, 24))


@pytest.mark.skipif(not packed._can_pack(), reason="this machine has no packed products")
@pytest.mark.parametrize(("has_half", "wanted"), [(True, packed._Half), (False, packed._Rounded)])
def test_bf16_is_read_as_16_bits_where_the_processor_does_not_multiply_it(
    has_half: bool, wanted: type[packed.Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_half and not packed._has_half():
        pytest.skip("torch has no products of FBGEMM here")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr(packed, "_has_half", lambda: has_half)
    assert type(product(torch.randn(24, 48), None, "bf16")) is wanted


def test_weights_that_16_bits_do_not_hold_are_rounded_as_they_are() -> None:
    weight = torch.randn(24, 48, generator=torch.Generator().manual_seed(3))
    assert packed._fits_half(weight) == packed._has_half()
    assert not packed._fits_half(weight * 1e5)
    assert not packed._fits_half(weight * 1e-6)
    assert not packed._fits_half(weight * float("nan"))
    x = torch.randn(3, 48, generator=torch.Generator().manual_seed(4))
    for scale in (1e-6, 1e5):
        run = product(weight * scale, None, "bf16")
        assert run is not None
        assert_close(run(x) / scale, x @ weight.T, rtol=0.1, atol=0.3)


def test_what_an_int8_row_gives_does_not_depend_on_the_others() -> None:
    needs("int8")
    g = torch.Generator().manual_seed(3)
    run = product(torch.randn(24, 48, generator=g), torch.randn(24, generator=g), "int8")
    assert run is not None
    x = torch.randn(70, 48, generator=g) * torch.logspace(-3, 3, 70)[:, None]
    together = run(x)
    for i in (0, 33, 69):
        assert torch.equal(run(x[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize("name", ATTENTION.names())
def test_every_attention_decodes_the_same(name: str) -> None:
    sites = ATTENTION.get(name).card.sites
    if sites and "decoder_self" not in sites:
        pytest.skip("not for decoders")
    model = model_with(decoder=ATTENTION.example(name))
    tokens = torch.randint(4, V, (3, 6), generator=torch.Generator().manual_seed(2))
    ready = prepared(model)
    assert_close(stepped(ready, tokens), stepped(model, tokens), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["positions", "embedding"])
def test_every_scheme_of_positions_and_every_embedding_decode_the_same(kind: str) -> None:
    tokens = torch.randint(4, V, (3, 6), generator=torch.Generator().manual_seed(2))
    reg = POSITIONS if kind == "positions" else EMBEDDING
    for name in reg.names():
        node = reg.example(name)
        model = model_with(positions=node) if kind == "positions" else model_with(embedding=node)
        assert_close(stepped(prepared(model), tokens), stepped(model, tokens), rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("kind", "of_kind"),
    [
        ("block", BLOCK),
        ("normalization", NORMALIZATION),
        ("feed_forward", FEED_FORWARD),
        ("activation", ACTIVATION),
    ],
)
def test_every_other_part_decodes_the_same(kind: str, of_kind: Registry[Any]) -> None:
    tokens = torch.randint(4, V, (1, 4), generator=torch.Generator().manual_seed(2))
    for name in of_kind.names():
        sites = of_kind.get(name).card.sites
        if sites and not any("decoder" in site for site in sites):
            continue
        model = model_with(**{kind: of_kind.example(name)})
        assert_close(stepped(prepared(model), tokens), stepped(model, tokens), rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_rounded_weights_stay_near(precision: WeightPrecision) -> None:
    needs(precision)
    model = model_with()
    tokens = torch.randint(4, V, (8, 6), generator=torch.Generator().manual_seed(2))
    plain, rounded = stepped(model, tokens), stepped(prepared(model, precision), tokens)
    error = (rounded - plain).norm() / plain.norm()
    assert 1e-5 < error < 0.05


def test_the_model_itself_stays_as_it_was() -> None:
    model = model_with()
    tokens = torch.randint(4, V, (3, 6), generator=torch.Generator().manual_seed(2))
    before = stepped(model, tokens)
    ready = prepared(model, "bf16")
    assert torch.equal(stepped(model, tokens), before)
    assert ready.state_dict().keys() == model.state_dict().keys()
    for a, b in zip(ready.parameters(), model.parameters(), strict=True):
        assert a is b, "parameters are not copied"
    double = model.double()
    assert torch.equal(stepped(prepared(double), tokens), stepped(double, tokens)), "float64 has no other products"


class Doubled(nn.Identity):
    """Its calls are not those of its ``forward``."""

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * x


@pytest.mark.parametrize("how", ["plain", "hook", "pre-hook", "own call", "forward of the instance"])
def test_calls_go_straight_to_a_part_only_where_that_is_the_same(how: str) -> None:
    model = model_with()
    tokens = torch.randint(4, V, (3, 6), generator=torch.Generator().manual_seed(2))
    layer = model.decoder.layers[0]
    assert isinstance(layer.feed_forward, MLP)
    inner, plain = layer.feed_forward.inner, stepped(model, tokens)
    if how == "hook":
        inner.register_forward_hook(lambda module, inputs, y: 2 * y)
    elif how == "pre-hook":
        inner.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    elif how == "own call":
        layer.feed_forward.activation = Doubled()  # type: ignore[assignment]
    elif how == "forward of the instance":
        inner.forward = lambda x: x.new_ones(*x.shape[:-1], inner.out_features)  # type: ignore[method-assign]
    wanted = stepped(model, tokens)
    assert torch.equal(wanted, plain) == (how == "plain")
    ready = prepared(model)
    assert_close(stepped(ready, tokens), wanted, rtol=1e-4, atol=1e-4)
    called = ready.decoder.layers[0].feed_forward
    assert isinstance(called, MLP) and type(called).__call__ is MLP.forward
    assert type(layer.feed_forward) is MLP and "inner" not in vars(layer.feed_forward), "the model is untouched"


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("shape", [(24, 48), (48, 24), (32, 32)])
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_one_row_gives_what_it_gives_among_others(
    capability: str, shape: tuple[int, int], precision: WeightPrecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    g = torch.Generator().manual_seed(3)
    weight, x = torch.randn(shape, generator=g), torch.randn(4, 3, shape[1], generator=g)
    for bias in (None, torch.randn(shape[0], generator=g)):
        run = product(weight, bias, precision)
        if run is None:
            pytest.skip("this machine has no packed products")
        together = run(x)
        alone = run(x[1:2, 2:])
        assert alone.shape == (1, 1, shape[0])
        # Rounding of the sums; bfloat16 rounds the results besides.
        assert_close(alone[0, 0], together[1, 2], rtol=1e-5 if precision == "32" else 2.0**-7, atol=1e-5)
        # A row whose numbers aren't neighbours, and one without a batch.
        assert_close(run(x.mT.contiguous().mT[1:2, 2:]), alone)
        assert_close(run(x[1, 2]), alone[0, 0])


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(256, 64), (64, 256), (257, 32), (130, 512), (20, 8)])
def test_threads_share_the_outputs_of_one_row(n_threads: int, shape: tuple[int, int]) -> None:
    g = torch.Generator().manual_seed(4)
    weight, x = (torch.randn(s, generator=g, dtype=torch.float64) for s in (shape, (1, 1, shape[1])))
    for bias in (None, torch.randn(shape[0], generator=g, dtype=torch.float64)):
        run = _SingleRow(weight, bias, n_threads)
        assert run.n_shares == min(n_threads, max(1, shape[0] // 64)), "a small map is not worth a second thread"
        assert_close(run(x), nn.functional.linear(x, weight, bias), rtol=0, atol=1e-10)
        for one_row in (x[None], x[0], x[0, 0]):
            assert_close(run(one_row), run(x).view(*one_row.shape[:-1], shape[0]), rtol=0, atol=0)


@pytest.mark.parametrize("node", ["greedy", {"name": "beam", "width": 4, "n_best": 2}], ids=["greedy", "beam"])
def test_searches_find_the_same(node: Node) -> None:
    model, search = model_with(), SEARCH.create(node)
    found = [
        generate(ModelScorer(m, sos_id=SOS, eos_id=EOS, pad_id=PAD), search, sources(), batch_tokens=2000)
        for m in (model, prepared(model))
    ]
    for theirs, ours in zip(*found, strict=True):
        assert [h.tokens for h in theirs] == [h.tokens for h in ours]
        assert [h.score for h in theirs] == pytest.approx([h.score for h in ours], abs=1e-4)


def test_the_option(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    tiny = repository / "experiments" / "tiny.yaml"
    assert load_config(tiny, check_hardware=False).values.decoding.precision == "32"
    with pytest.raises(InputError, match=r"decoding\.precision"):
        load_config(tiny, ["decoding.precision=fp8"], check_hardware=False)
    assert "bf16" in str(int8_problem(torch.device("cuda")))
    monkeypatch.setattr(packed, "int8_problem", lambda device: "int8 needs another machine; choose bf16")

    class Words:
        sos_id, eos_id, pad_id = SOS, EOS, PAD

    with pytest.raises(InputError, match=r"decoding\.precision: int8 needs another machine"):
        building.build_scorer(model_with(), Words(), Decoding(precision="int8"))  # type: ignore[arg-type]
    assert building.build_scorer(model_with(), Words(), Decoding(precision="bf16")).eos_id == EOS  # type: ignore[arg-type]


@settings(max_examples=25)
@given(rows=st.integers(1, 4), vocabulary=st.integers(1000, 3000), k=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_the_best_tokens_are_the_best(rows: int, vocabulary: int, k: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, vocabulary, generator=g)
    x[torch.rand(x.shape, generator=g) < 0.5] = -torch.inf
    x[0] = -torch.inf
    x[0, seed % vocabulary] = 1.0
    values, tokens = best_tokens(x, k)
    assert torch.equal(values, x.topk(k, dim=-1).values)
    assert torch.equal(x.gather(1, tokens), values)
    assert all(len(set(row)) == k for row in tokens.tolist())


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), min_size=1, max_size=4))
def test_children_stand_where_their_parents_stood(rows: list[list[int]]) -> None:
    parents = torch.tensor(rows)
    order = in_their_parents_place(parents)
    assert torch.equal(order.sort(1).values, torch.arange(5).expand_as(order)), "every child has one place"
    moved = parents.gather(1, order)
    for before, after in zip(rows, moved.tolist(), strict=True):
        assert all(after[p] == p for p in set(before))


@pytest.mark.parametrize(
    "rows", [[0, 1, 2, 3], [0, 1, 1, 3], [3, 1, 2, 3], [1, 0, 2, 3], [2, 2, 0, 1], [3, 1], [0, 0, 1, 1, 3]]
)
@pytest.mark.parametrize("lengths", ["equal", "unequal"])
def test_a_cache_hands_out_the_rows_that_were_selected(rows: list[int], lengths: str) -> None:
    g = torch.Generator().manual_seed(0)

    def new(n: int, t: int) -> Tensor:
        return torch.randn(n, 2, t, 3, generator=g)

    cache = KeyValueCache(4, 8)
    held = new(4, 3)
    cache.append(held, -held)
    if lengths == "unequal":
        short = KeyValueCache(2, 8)
        part = new(2, 1)
        short.append(part, -part)
        cache = cache.select(torch.tensor([0, 1])).join(short)
        held = torch.cat([held[:2], torch.cat([part, torch.zeros(2, 2, 2, 3)], dim=2)])
    chosen = cache.select(torch.tensor(rows))
    wanted_lengths = (torch.tensor([3, 3, 1, 1]) if lengths == "unequal" else torch.full((4,), 3))[rows]
    assert torch.equal(chosen.lengths, wanted_lengths)
    latest = new(len(rows), 1)
    keys, values = chosen.append(latest, -latest)
    for i, (row, length) in enumerate(zip(rows, wanted_lengths.tolist(), strict=True)):
        wanted = torch.cat([held[row, :, :length], latest[i]], dim=1)
        assert torch.equal(keys[i, :, : length + 1], wanted) and torch.equal(values[i, :, : length + 1], -wanted)


@pytest.mark.parametrize("n_groups", [1, 4])
@pytest.mark.parametrize("kind", ["none", "mask", "bias"])
def test_a_step_of_many_rows_attends_like_the_formula(kind: str, n_groups: int) -> None:
    g = torch.Generator().manual_seed(0)
    rows, keys = 40, 9
    q = torch.randn(rows, 4, 3, 8, generator=g)
    k, v = (torch.randn(rows, n_groups, 12, 8, generator=g)[:, :, :keys] for _ in range(2))
    mask = torch.rand(rows, 1, 1, keys, generator=g) < 0.6
    mask[3] = False  # a row without any key
    bias = torch.randn(1, 4, 3, keys, generator=g) if kind == "bias" else None
    if kind == "none":
        mask = None  # type: ignore[assignment]
    merged = mask if bias is None else bias.masked_fill(~mask, -torch.inf)
    positions = torch.arange(3)[None], torch.arange(keys)[None]
    context = AttentionContext(PositionalEncoding(), *positions, mask=mask, bias=bias, merged=merged)
    other = replace(context, mask=mask, merged=mask, bias=None)
    # The second layer of a pass, other shapes, and a part that gives its kernel another mask: none gets the first one's.
    layers = [(context, v), (context, -v), (context, v[:, :1]), (other, v)]
    with torch.inference_mode():
        for own, values in layers:
            own_keys = k[:, : values.shape[1]]
            wanted, _ = attend_plain(q, own_keys, values, own)
            assert_close(attend(q, own_keys, values, own), wanted, rtol=1e-5, atol=1e-5)
    assert len(context.derived) == len({1, n_groups}) and len(other.derived) == 1, "once for each shape"
