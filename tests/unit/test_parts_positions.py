"""Positional encodings against closed forms, and the property that defines each."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recambio.components.positions import ALiBi, Chain, Learned, NoPositions, RoPE, Sinusoidal, T5Bias
from recambio.errors import InputError
from recambio.registry import POSITIONS


def row(*positions: int) -> Tensor:
    return torch.tensor([positions])


# ------------------------------------------------------------------------------------------------ none


def test_none_does_nothing() -> None:
    part, x = NoPositions(), torch.randn(2, 3, 4)
    assert part.add_to_embeddings(x, row(0, 1, 2)) is x
    assert part.rotate_queries(x, row(0, 1, 2)) is x
    assert part.rotate_keys(x, row(0, 1, 2)) is x
    assert part.attention_bias(row(0, 1), row(0, 1, 2)) is None


# ------------------------------------------------------------------------------------------------ sinusoidal


@pytest.mark.parametrize("d_model", [6, 7])
def test_sinusoidal_is_the_papers_table(d_model: int) -> None:
    positions = torch.tensor([[0, 1, 2, 999], [7, 8, 5000, 3]])
    y = Sinusoidal().add_to_embeddings(torch.zeros(2, 4, d_model), positions)
    for b in range(2):
        for t in range(4):
            for column in range(d_model):
                angle = int(positions[b, t]) / 10000 ** (2 * (column // 2) / d_model)
                expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
                assert y[b, t, column].item() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("d_model", [6, 7])
def test_half_layout_holds_the_sines_before_the_cosines(d_model: int) -> None:
    positions = torch.tensor([[0, 1, 2, 511]])
    y = Sinusoidal(layout="half").add_to_embeddings(torch.zeros(1, 4, d_model), positions)
    n_sines = (d_model + 1) // 2
    for t in range(4):
        for column in range(d_model):
            pair = column if column < n_sines else column - n_sines
            angle = int(positions[0, t]) / 10000 ** (2 * pair / d_model)
            expected = math.sin(angle) if column < n_sines else math.cos(angle)
            assert y[0, t, column].item() == pytest.approx(expected, abs=2e-4)


@settings(max_examples=20)
@given(position=st.integers(0, 300), step=st.integers(0, 60))
def test_sinusoidal_moves_by_rotating(position: int, step: int) -> None:
    """PE(p + k) is PE(p) turned by an angle that depends on k alone: what the paper chose it for."""
    d_model = 16
    here, there = Sinusoidal().add_to_embeddings(torch.zeros(1, 2, d_model), row(position, position + step))[0]
    for i in range(d_model // 2):
        angle = step / 10000 ** (2 * i / d_model)
        sine, cosine = here[2 * i].item(), here[2 * i + 1].item()
        assert there[2 * i].item() == pytest.approx(sine * math.cos(angle) + cosine * math.sin(angle), abs=1e-4)
        assert there[2 * i + 1].item() == pytest.approx(cosine * math.cos(angle) - sine * math.sin(angle), abs=1e-4)


def test_sinusoidal_counts_past_256_in_bfloat16() -> None:
    full = Sinusoidal().add_to_embeddings(torch.zeros(1, 2, 8), row(1000, 1001))
    low = Sinusoidal().bfloat16().add_to_embeddings(torch.zeros(1, 2, 8, dtype=torch.bfloat16), row(1000, 1001))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), full, rtol=0.0, atol=0.004)


# ------------------------------------------------------------------------------------------------ learned


def test_learned_adds_its_row() -> None:
    part = Learned(d_model=4, max_length=6)
    x, positions = torch.randn(2, 3, 4), torch.tensor([[0, 1, 2], [3, 4, 5]])
    y = part.add_to_embeddings(x, positions)
    for b in range(2):
        for t in range(3):
            torch.testing.assert_close(y[b, t], x[b, t] + part.table.weight[positions[b, t]])


@pytest.mark.parametrize("training", [True, False])
def test_learned_refuses_what_it_has_no_row_for(training: bool) -> None:
    part = Learned(d_model=4, max_length=6).train(training)
    message = r"knows 6 positions .* but a sentence has 7; shorten it"
    with pytest.raises(ValueError, match=message):
        part.add_to_embeddings(torch.zeros(1, 7, 4), torch.arange(7)[None])
    with pytest.raises(ValueError, match=message):
        part.add_to_embeddings(torch.zeros(1, 1, 4), row(6))
    part.add_to_embeddings(torch.zeros(1, 1, 4), row(5))


def test_learned_starts_at_the_scale_of_a_token() -> None:
    torch.manual_seed(0)
    assert Learned(d_model=64, max_length=500).table.weight.std().item() == pytest.approx(1 / 8, rel=0.03)


# ------------------------------------------------------------------------------------------------ rope


@pytest.mark.parametrize(("width", "fraction", "rotated"), [(8, 1.0, 8), (6, 1.0, 6), (12, 0.5, 6), (10, 0.5, 4)])
def test_rope_turns_neighbouring_columns(width: int, fraction: float, rotated: int) -> None:
    part = RoPE(base=100.0, fraction=fraction)
    x, positions = torch.randn(2, 3, 4, width), torch.tensor([[0, 1, 2, 3], [9, 500, 2, 7]])
    y = part.rotate_queries(x, positions)
    torch.testing.assert_close(part.rotate_keys(x, positions), y)
    for b in range(2):
        for t in range(4):
            for i in range(rotated // 2):
                angle = int(positions[b, t]) * 100.0 ** (-2 * i / rotated)
                turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
                expected = x[b, :, t, 2 * i : 2 * i + 2] @ turn.T
                torch.testing.assert_close(y[b, :, t, 2 * i : 2 * i + 2], expected, rtol=1e-3, atol=2e-4)
    torch.testing.assert_close(y[..., rotated:], x[..., rotated:])


@settings(max_examples=30)
@given(t=st.integers(0, 300), s=st.integers(0, 300), shift=st.integers(0, 300), seed=st.integers(0, 99))
def test_rope_scores_depend_on_the_difference_only(t: int, s: int, shift: int, seed: int) -> None:
    torch.manual_seed(seed)
    part, q, k = RoPE(), torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)

    def score(t: int, s: int) -> float:
        return float((part.rotate_queries(q, row(t)) * part.rotate_keys(k, row(s))).sum())

    assert score(t, s) == pytest.approx(score(t + shift, s + shift), abs=2e-3)
    assert score(t, t) == pytest.approx(float((q * k).sum()), abs=2e-3)


def test_rope_scores_do_depend_on_the_difference() -> None:
    q = torch.ones(1, 1, 3, 8)
    rotated = RoPE().rotate_keys(q, row(0, 1, 5))[0, 0]
    scores = rotated @ q[0, 0, 0]
    assert scores[0] > scores[1] > scores[2]


def test_rope_is_exact_under_bfloat16_and_for_doubles() -> None:
    x, positions = torch.randn(1, 2, 3, 8), row(1000, 1001, 1002)
    full = RoPE().rotate_queries(x.bfloat16().float(), positions)
    low = RoPE().bfloat16().rotate_queries(x.bfloat16(), positions)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), full, rtol=0.005, atol=0.005)
    assert RoPE().rotate_queries(x.double(), positions).dtype == torch.float64


def test_rope_follows_positions_that_change_in_place_and_gradients_after_inference() -> None:
    part, q, positions = RoPE(), torch.randn(1, 1, 2, 4), row(3, 4)
    with torch.inference_mode():
        first = part.rotate_queries(q, positions).clone()
    leaf = q.clone().requires_grad_()
    part.rotate_queries(leaf, positions).sum().backward()
    positions += 1
    assert not torch.equal(part.rotate_queries(q, positions), first)
    torch.testing.assert_close(part.rotate_queries(q, positions), RoPE().rotate_queries(q, row(4, 5)))


def test_rope_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="`fraction` must be in"):
        RoPE(fraction=0.0)
    with pytest.raises(ValueError, match="`base` must be above 1"):
        RoPE(base=1.0)
    with pytest.raises(ValueError, match="must be even, but is 5"):
        RoPE().rotate_queries(torch.zeros(1, 1, 1, 5), row(0))


# ------------------------------------------------------------------------------------------------ alibi


@pytest.mark.parametrize(
    ("n_heads", "slopes"),
    [
        (8, [2.0**-n for n in range(1, 9)]),
        (4, [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]),
        (1, [2.0**-8]),
        # the slopes for 4, then the first and third of those for 8
        (6, [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]),
        (3, [2.0**-4, 2.0**-8, 2.0**-2]),
    ],
)
def test_alibi_slopes_are_the_papers(n_heads: int, slopes: list[float]) -> None:
    bias = ALiBi(n_heads).attention_bias(row(10), row(9))
    assert bias.shape == (1, n_heads, 1, 1)
    assert bias.dtype == torch.float32
    torch.testing.assert_close(-bias[0, :, 0, 0], torch.tensor(slopes))


@settings(max_examples=20)
@given(query=st.integers(0, 500), near=st.integers(0, 200), farther=st.integers(1, 200))
def test_alibi_falls_with_distance_on_both_sides(query: int, near: int, farther: int) -> None:
    bias = ALiBi(4).attention_bias(
        row(query), row(query + near, query - near, query + near + farther, query - near - farther)
    )[0, :, 0]
    torch.testing.assert_close(bias[:, 0], bias[:, 1])
    torch.testing.assert_close(bias[:, 2], bias[:, 3])
    assert bool((bias[:, 2] < bias[:, 0]).all())
    assert bool((bias <= 0).all())


def test_alibi_takes_positions_by_row() -> None:
    bias = ALiBi(2).attention_bias(torch.tensor([[4], [9]]), row(0, 4, 9))
    assert bias.shape == (2, 2, 1, 3)
    torch.testing.assert_close(bias[:, 0, 0], -torch.tensor([[4.0, 0.0, 5.0], [9.0, 5.0, 0.0]]) / 16)


# ------------------------------------------------------------------------------------------------ t5

# mlx-examples, pull request 113: 32 buckets, bidirectional; rows are queries, columns keys 0 to 9.
PUBLISHED = {
    0: [0, 17, 18, 19, 20, 21, 22, 23, 24, 24],
    1: [1, 0, 17, 18, 19, 20, 21, 22, 23, 24],
    9: [8, 8, 7, 6, 5, 4, 3, 2, 1, 0],
}


def buckets(part: T5Bias, query: int, keys: list[int]) -> list[int]:
    """Which rows of the table a query and keys use."""
    n_buckets = part.weight.shape[0]
    with torch.no_grad():
        part.weight.copy_(torch.arange(n_buckets)[:, None].expand_as(part.weight))
        return [int(v) for v in part.attention_bias(row(query), row(*keys))[0, 0, 0]]


def bucket_by_inequality(distance: int, n_buckets: int, max_distance: int) -> int:
    """The definition without logarithms: bucket e + j begins at the distance e (m/e)^(j/(n-e))."""
    exact = n_buckets // 2
    if distance < exact:
        return distance
    wide, j = n_buckets - exact, 0
    while j + 1 < wide and Fraction(distance, exact) ** wide >= Fraction(max_distance, exact) ** (j + 1):
        j += 1
    return exact + j


def test_t5_buckets_equal_the_published_ones() -> None:
    part = T5Bias(n_heads=2, d_model=4, is_causal=False)
    for query, expected in PUBLISHED.items():
        assert buckets(part, query, list(range(10))) == expected


@pytest.mark.parametrize(("n_buckets", "max_distance"), [(32, 128), (16, 50), (8, 20)])
def test_t5_buckets_equal_the_definition(n_buckets: int, max_distance: int) -> None:
    distances = list(range(3 * max_distance))
    causal = T5Bias(2, 4, is_causal=True, n_buckets=n_buckets, max_distance=max_distance)
    past = [400 - d for d in distances]
    expected = [bucket_by_inequality(d, n_buckets, max_distance) for d in distances]
    assert buckets(causal, 400, past) == expected
    assert buckets(causal, 0, [1, 5]) == [0, 0]  # the future, which the mask forbids
    both = T5Bias(2, 4, is_causal=False, n_buckets=n_buckets, max_distance=max_distance)
    half = [bucket_by_inequality(d, n_buckets // 2, max_distance) for d in distances]
    assert buckets(both, 400, past) == half
    future = [400 + d for d in distances]
    assert buckets(both, 400, future) == [b + n_buckets // 2 * (d > 0) for d, b in zip(distances, half, strict=True)]


def test_t5_shares_one_table_and_learns_it() -> None:
    part = T5Bias(n_heads=3, d_model=4, is_causal=False)
    bias = part.attention_bias(torch.tensor([[4], [9]]), row(0, 4, 9))
    assert bias.shape == (2, 3, 1, 3)
    torch.testing.assert_close(bias[0, :, 0, 1], part.weight[0])
    bias.sum().backward()
    assert part.weight.grad is not None
    assert part.weight.grad[0].tolist() == [2.0, 2.0, 2.0]  # distance 0 stands twice
    assert part.no_weight_decay() == {"weight"}


def test_t5_draws_from_the_stream_it_is_given() -> None:
    parts = [T5Bias(n_heads=3, d_model=16, is_causal=False) for _ in range(2)]
    for part in parts:
        part.draw(lambda name: torch.Generator().manual_seed(len(name)))
    torch.testing.assert_close(parts[0].weight, parts[1].weight)
    assert parts[0].weight.std().item() == pytest.approx(0.25, rel=0.2)


def test_t5_refuses_impossible_buckets() -> None:
    with pytest.raises(ValueError, match="`n_buckets` must be even"):
        T5Bias(2, 4, is_causal=True, n_buckets=7)
    with pytest.raises(ValueError, match="`max_distance` must exceed 16, but is 10"):
        T5Bias(2, 4, is_causal=True, max_distance=10)


# ------------------------------------------------------------------------------------------------ chain


def test_chain_applies_all_in_order_and_adds_biases() -> None:
    context = {"d_model": 8, "n_heads": 2, "head_dim": 4, "max_length": 9, "is_causal": False, "stack": "encoder"}
    part = POSITIONS.create({"name": "chain", "schemes": ["sinusoidal", "rope", "alibi", "t5"]}, **context)
    assert isinstance(part, Chain)
    x, q, positions = torch.randn(1, 3, 8), torch.randn(1, 2, 3, 4), row(0, 1, 2)
    torch.testing.assert_close(part.add_to_embeddings(x, positions), Sinusoidal().add_to_embeddings(x, positions))
    torch.testing.assert_close(part.rotate_queries(q, positions), RoPE().rotate_queries(q, positions))
    torch.testing.assert_close(part.rotate_keys(q, positions), RoPE().rotate_keys(q, positions))
    expected = ALiBi(2).attention_bias(positions, positions) + part.schemes[3].attention_bias(positions, positions)
    torch.testing.assert_close(part.attention_bias(positions, positions), expected)
    assert Chain([NoPositions(), RoPE()]).attention_bias(positions, positions) is None


def test_chain_hands_on_what_cannot_be_cached() -> None:
    class Stretched(RoPE):
        rotation_depends_on_length = True

    assert Chain([NoPositions(), Stretched()]).rotation_depends_on_length
    assert not Chain([NoPositions(), RoPE()]).rotation_depends_on_length


def test_chain_needs_schemes_that_exist() -> None:
    with pytest.raises(ValueError, match="`schemes` must name one positional encoding at least"):
        POSITIONS.create({"name": "chain", "schemes": []})
    with pytest.raises(InputError, match=r"schemes\[1\]: unknown positions 'rpoe'. Did you mean 'rope'"):
        POSITIONS.create({"name": "chain", "schemes": ["t5", "rpoe"]})
    with pytest.raises(InputError, match="needs 'schemes'"):
        POSITIONS.create("chain")


# ------------------------------------------------------------------------------------------------ speed's sake


def test_positions_make_no_parameters_but_their_own() -> None:
    for name, count in (("none", 0), ("sinusoidal", 0), ("rope", 0), ("alibi", 0), ("t5", 64), ("learned", 72)):
        part = POSITIONS.create(name, d_model=8, n_heads=2, head_dim=4, max_length=9, is_causal=False)
        assert sum(p.numel() for p in part.parameters()) == count
        assert len(part.state_dict()) == (count > 0)
