"""The whole model: against torch's own layers, its caches against its full pass, its initial weights against their names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

import recambio.components  # noqa: F401
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.model.initialise import seed_generators
from recambio.model.transformer import no_decay_names

V, D, H, F, N = 19, 16, 4, 40, 2


def spec(**changes) -> ModelSpec:  # type: ignore[no-untyped-def]
    """A small model; keyword arguments name parts of both stacks or fields of the spec."""
    fields = {k: v for k, v in changes.items() if k in ModelSpec.__dataclass_fields__}
    parts = {k: v for k, v in changes.items() if k not in fields}
    return ModelSpec(
        encoder=StackSpec.uniform(N, **parts),
        decoder=StackSpec.uniform(N, **{"cross_attention": parts.get("attention", "multi_head"), **parts}),
        source_vocabulary=V,
        target_vocabulary=V,
        **{"d_model": D, "n_heads": H, "d_ff": F, "dropout": 0.0, **fields},
    )


def randomised(model: nn.Module, seed: int = 7) -> nn.Module:
    """Every parameter random, gains and biases too, so that no term is zero by chance of initialisation."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=p.dtype) * 0.3)
    return model


def _copy_attention(theirs: nn.MultiheadAttention, ours: nn.Module, is_cross: bool) -> None:
    """Ours into theirs: both fuse q, k, v in this order; in cross-attention ours has q apart from k and v."""
    weights = dict(ours.named_parameters())
    with torch.no_grad():
        if is_cross:
            theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.memory.weight]))
            theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.memory.bias]))
        else:
            theirs.in_proj_weight.copy_(ours.input.weight)
            theirs.in_proj_bias.copy_(ours.input.bias)
        theirs.out_proj.weight.copy_(ours.output.weight)
        theirs.out_proj.bias.copy_(ours.output.bias)
    assert weights


def _torch_stacks(model: Transformer, norm_first: bool) -> tuple[nn.ModuleList, nn.ModuleList, nn.Module, nn.Module]:
    """Stacks of torch's layers with the same weights, and the final norms that belong to them."""
    options = {
        "dim_feedforward": F,
        "dropout": 0.0,
        "batch_first": True,
        "norm_first": norm_first,
        "dtype": torch.float64,
    }
    encoder = nn.ModuleList(nn.TransformerEncoderLayer(D, H, **options) for _ in range(N))
    decoder = nn.ModuleList(nn.TransformerDecoderLayer(D, H, **options) for _ in range(N))
    with torch.no_grad():
        for stack, layers in ((model.encoder, encoder), (model.decoder, decoder)):
            for i, layer in enumerate(layers):
                ours = stack.layers[i]
                _copy_attention(layer.self_attn, ours.self_attention, is_cross=False)
                if stack is model.decoder:
                    _copy_attention(layer.multihead_attn, ours.cross_attention, is_cross=True)
                for theirs, mine in (
                    (layer.linear1, ours.feed_forward.inner),
                    (layer.linear2, ours.feed_forward.output),
                ):
                    theirs.load_state_dict(mine.state_dict())
                for j, norm in enumerate(stack.block.norms[i]):
                    getattr(layer, f"norm{j + 1}").load_state_dict(
                        {k.split(".")[-1]: v for k, v in norm.state_dict().items()}
                    )
    finals = []
    for stack in (model.encoder, model.decoder):
        final = nn.Identity()
        if norm_first:
            final = nn.LayerNorm(D, dtype=torch.float64)
            final.load_state_dict({k.split(".")[-1]: v for k, v in stack.block.final_norm.state_dict().items()})
        finals.append(final)
    return encoder, decoder, finals[0], finals[1]


def _batch(seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Four right-padded pairs and their masks."""
    g = torch.Generator().manual_seed(seed)
    source_lengths, target_lengths = torch.tensor([7, 3, 5, 1]), torch.tensor([2, 6, 4, 6])
    source = torch.randint(4, V, (4, 7), generator=g)
    target = torch.randint(4, V, (4, 6), generator=g)
    source_tokens = torch.arange(7) < source_lengths[:, None]
    target_tokens = torch.arange(6) < target_lengths[:, None]
    return source * source_tokens, target * target_tokens, source_tokens, target_tokens


@pytest.mark.parametrize("block", ["post_norm", "pre_norm"])
def test_outputs_and_gradients_equal_torch_layers(block: str) -> None:
    model = randomised(Transformer(spec(block=block, positions="none")).double()).train()
    encoder, decoder, encoder_norm, decoder_norm = _torch_stacks(model, norm_first=block == "pre_norm")
    source, target, source_tokens, target_tokens = _batch()
    hidden, losses = model(source, target, source_tokens, target_tokens)
    assert losses == {}

    x, y = model.embedding.embed_source(source), model.embedding.embed_target(target)
    for layer in encoder:
        x = layer(x, src_key_padding_mask=~source_tokens)
    memory = encoder_norm(x)
    causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1], dtype=torch.float64)
    for layer in decoder:
        y = layer(y, memory, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=~source_tokens)
    wanted = decoder_norm(y)
    assert_close(hidden[target_tokens], wanted[target_tokens])

    weight = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weight = weight * target_tokens[..., None]
    embedding = list(model.embedding.parameters())
    ours = torch.autograd.grad(
        (hidden * weight).sum(), [*embedding, *model.encoder.layers[0].feed_forward.parameters()]
    )
    theirs = torch.autograd.grad(
        (wanted * weight).sum(), [*embedding, *encoder[0].linear1.parameters(), *encoder[0].linear2.parameters()]
    )
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


PARTS = [
    {},
    {"block": "post_norm", "normalization": "rms_norm", "feed_forward": "swiglu"},
    {"attention": {"name": "grouped_query", "n_groups": 2}, "positions": "rope"},
    {"attention": {"name": "grouped_query", "n_groups": 1}, "positions": "alibi"},
    {"positions": "t5"},
    {"positions": "learned"},
    {"positions": "none"},
    {"positions": {"name": "chain", "schemes": ["sinusoidal", "t5"]}},
    {"positions": "rope", "position_layers": [1]},
    {"positions": "alibi", "position_layers": [0]},
]


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("chunk", [1, 3])
def test_cached_decoding_equals_the_full_pass(parts: dict, chunk: int) -> None:  # type: ignore[type-arg]
    model = randomised(Transformer(spec(**parts)).double()).eval()
    source, target, source_tokens, _ = _batch()
    target = torch.randint(4, V, target.shape, generator=torch.Generator().manual_seed(1))
    memory, _ = model.encode(source, source_tokens)
    wanted, _ = model.decode(target, memory, source_tokens)
    state = model.start(source, source_tokens, max_length=2)  # smaller than needed: the cache must grow
    steps = [model.step(state, target[:, i : i + chunk]) for i in range(0, target.shape[1], chunk)]
    assert_close(torch.cat(steps, dim=1), wanted)


@pytest.mark.parametrize("parts", PARTS[:6], ids=str)
def test_rows_reordered_expanded_and_joined_keep_their_own_past(parts: dict) -> None:  # type: ignore[type-arg]
    """Beams: expansion to two rows a source, reordering within a source, a source leaving, another entering at length 0."""
    model = randomised(Transformer(spec(**parts)).double()).eval()
    source, _, source_tokens, _ = _batch()
    words = torch.randint(4, V, (12, 9), generator=torch.Generator().manual_seed(2))
    pasts: list[tuple[int, list[int]]] = [(m, []) for m in range(3)]
    state = model.start(source[:3], source_tokens[:3])

    def advance(step: int) -> None:
        tokens = words[: len(pasts), step]
        hidden = model.step(state, tokens[:, None])
        for row, (_, past) in enumerate(pasts):
            past.append(int(tokens[row]))
        for row, (m, past) in enumerate(pasts):
            memory, _ = model.encode(source[m : m + 1, : int(source_tokens[m].sum())])
            wanted, _ = model.decode(torch.tensor([past]), memory)
            assert_close(hidden[row, -1], wanted[0, -1])

    def select(rows: list[int]) -> None:
        nonlocal pasts, state
        pasts = [(pasts[r][0], list(pasts[r][1])) for r in rows]
        state = state.select(torch.tensor(rows))

    advance(0)
    select([0, 0, 1, 1, 2, 2])
    assert state.n_sources == 3
    advance(1)
    select([1, 0, 2, 2, 5, 4])
    assert state.n_sources == 3, "a beam reordered within its source must not copy memory"
    advance(2)
    select([4, 4, 1, 0])
    assert state.n_sources == 2
    advance(3)
    newcomer = model.start(source[3:], source_tokens[3:])
    state = state.join(newcomer)
    pasts.append((3, []))
    assert state.common_length is None
    advance(4)
    select([4, 2, 0, 0, 3])
    advance(5)
    select([0, 4, 1])
    advance(6)


def test_padding_and_batch_mates_change_nothing() -> None:
    model = randomised(Transformer(spec()).double()).eval()
    source, target, source_tokens, target_tokens = _batch()
    together, _ = model(source, target, source_tokens, target_tokens)
    for i in range(len(source)):
        s, t = int(source_tokens[i].sum()), int(target_tokens[i].sum())
        alone, _ = model(source[i : i + 1, :s], target[i : i + 1, :t])
        assert_close(together[i, :t], alone[0])
    noisy, _ = model(
        torch.where(source_tokens, source, 3), torch.where(target_tokens, target, 3), source_tokens, target_tokens
    )
    assert_close(noisy[target_tokens], together[target_tokens])


def test_future_tokens_change_nothing() -> None:
    model = randomised(Transformer(spec()).double()).eval()
    source, target, source_tokens, _ = _batch()
    before, _ = model(source, target, source_tokens)
    for t in range(1, target.shape[1]):
        changed = target.clone()
        changed[:, t:] = (changed[:, t:] + 5) % V
        after, _ = model(source, changed, source_tokens)
        assert_close(after[:, :t], before[:, :t], rtol=0, atol=0)
        assert not torch.equal(after[:, t:], before[:, t:])


@pytest.mark.parametrize(
    ("one", "other", "differing"),
    [
        ({}, {"normalization": "rms_norm"}, ("norms", "final")),
        ({}, {"positions": "t5"}, ("positions",)),
        ({}, {"block": "post_norm"}, ("final",)),
        ({}, {"attention": {"name": "grouped_query", "n_groups": 1}}, ("memory", "input")),
        ({}, {"feed_forward": "swiglu"}, ("feed_forward",)),
        ({}, {"n_heads": 2}, ()),
    ],
    ids=str,
)
def test_models_that_differ_in_a_part_share_all_other_initial_weights(one: dict, other: dict, differing: tuple) -> None:  # type: ignore[type-arg]
    a, b = Transformer(spec(**one)).state_dict(), Transformer(spec(**other)).state_dict()
    shared = [k for k in a if k in b and not any(d in k for d in differing)]
    assert len(shared) > 20
    for name in shared:
        if a[name].shape == b[name].shape:
            assert torch.equal(a[name], b[name]), name


def test_fused_queries_start_as_separate_ones_would() -> None:
    """grouped_query with one group draws fewer keys and values, but the same queries and outputs."""
    full = Transformer(spec()).encoder.layers[0].self_attention
    single = Transformer(spec(attention={"name": "grouped_query", "n_groups": 1})).encoder.layers[0].self_attention
    assert torch.equal(full.input.weight[:D], single.input.weight[:D])
    assert torch.equal(full.output.weight, single.output.weight)


def test_seed_and_path_decide_the_initial_weights() -> None:
    a, b, c = (Transformer(spec(seed=s)).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    drawn = [k for k in a if a[k].ndim > 1 and "norm" not in k]
    assert drawn and not any(torch.equal(a[k], c[k]) for k in drawn)
    # No two matrices of one shape are copies of each other.
    flat = {k: v for k, v in a.items() if v.shape == (D, D)}
    assert len({tuple(v.flatten()[:4].tolist()) for v in flat.values()}) == len(flat)


def test_generators_are_seeded_as_torch_does_it() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    seed_generators(5, torch.device("cpu"))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: no CUDA device")
def test_the_generator_of_a_gpu_is_seeded_too() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4, device="cuda")
    seed_generators(5, torch.device("cuda"))
    assert torch.equal(torch.rand(4, device="cuda"), expected)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Transformer(spec())
    assert torch.equal(before, torch.get_rng_state())


def test_activations_keep_their_scale_through_the_depth() -> None:
    deep = replace(spec(d_model=128, n_heads=4, d_ff=512))
    source = torch.randint(4, V, (8, 20), generator=torch.Generator().manual_seed(0))
    memory, _ = Transformer(deep).eval().encode(source)
    assert 0.8 < float(memory.std()) < 1.2
    logits = Transformer(deep).eval().logits(memory)
    assert 0.3 < float(logits.std()) < 3.0


def test_weight_decay_leaves_vectors_and_norms_alone() -> None:
    model = Transformer(spec(positions="t5"))
    plain = no_decay_names(model)
    decayed = {n for n, _ in model.named_parameters()} - plain
    assert {n for n in plain if n.endswith(".bias")} and any("norms" in n for n in plain)
    assert all(dict(model.named_parameters())[n].ndim >= 2 and "norm" not in n for n in decayed)
    assert any(n.endswith("output.weight") for n in decayed)


@pytest.mark.parametrize("tie", ["all", "decoder", "none"])
def test_tying_decides_the_number_of_matrices(tie: str) -> None:
    model = Transformer(spec(embedding={"name": "standard", "tie": tie}))
    pointers = {p.data_ptr() for p in model.embedding.parameters()}
    assert len(pointers) == {"all": 1, "decoder": 2, "none": 3}[tie]
    converted = model.double()
    assert len({p.data_ptr() for p in converted.embedding.parameters()}) == len(pointers)


def test_a_spec_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the decoder needs `cross_attention`"):
        replace(spec(), decoder=StackSpec.uniform(N))
    with pytest.raises(ValueError, match=r"`normalization` must hold a part for each of 2 layers, but holds 1"):
        replace(spec().encoder, normalization=["layer_norm"])


def test_a_part_in_a_place_it_can_t_take_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"encoder\.layers\.0\.self_attention: attention 'multi_head'.*divisible by `n_heads`"
    ):
        Transformer(spec(d_model=18))


@settings(max_examples=25)
@given(st.data())
def test_any_history_of_selections_equals_the_full_pass(data: st.DataObject) -> None:
    """Random sequences of steps and selections on a tiny model."""
    model = randomised(Transformer(spec()).double()).eval()
    source = torch.randint(4, V, (3, 4), generator=torch.Generator().manual_seed(4))
    pasts: list[tuple[int, list[int]]] = [(m, []) for m in range(3)]
    state = model.start(source)
    for _ in range(data.draw(st.integers(1, 5))):
        rows = data.draw(st.lists(st.integers(0, len(pasts) - 1), min_size=1, max_size=6))
        state = state.select(torch.tensor(rows))
        pasts = [(pasts[r][0], list(pasts[r][1])) for r in rows]
        tokens = torch.tensor(data.draw(st.lists(st.integers(4, V - 1), min_size=len(rows), max_size=len(rows))))
        hidden = model.step(state, tokens[:, None])
        for row, (_, past) in enumerate(pasts):
            past.append(int(tokens[row]))
        for row, (m, past) in enumerate(pasts):
            memory, _ = model.encode(source[m : m + 1])
            assert_close(hidden[row, -1], model.decode(torch.tensor([past]), memory)[0][0, -1])


def test_a_block_may_set_parameters_from_a_batch(restored_registry: None) -> None:
    from recambio.components.block.pre_norm import PreNorm
    from recambio.registry import BLOCK

    @BLOCK.register("calibrated")
    class Calibrated(PreNorm):
        """Measures its output once."""

        seen = 0.0

        def exit(self, state):  # type: ignore[no-untyped-def]
            self.seen = float(state.std())
            return super().exit(state)

        def calibrate(self, run) -> None:  # type: ignore[no-untyped-def]
            run()
            self.final_norm.weight.fill_(self.seen)

    model = Transformer(spec(block="calibrated", dropout=0.5)).train()
    source, target, source_tokens, target_tokens = _batch()
    assert model.calibrate(lambda: model(source, target, source_tokens, target_tokens) and None)
    assert model.training
    for stack in (model.encoder, model.decoder):
        assert stack.block.seen > 0
        assert float(stack.block.final_norm.weight[0]) == pytest.approx(stack.block.seen)
    assert not Transformer(spec()).calibrate(lambda: None)
