"""Rotations with scaling, rotations that fade, and the biases of relative distance, against loops over plain numbers."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recambio.components.compatible import acts_by, stack_conflict
from recambio.components.positions import FIRE, KERPLE, ALiBi, Chain, RoPE, Sandwich, Sinusoidal, T5Bias, XPos
from recambio.errors import InputError
from recambio.registry import POSITIONS

BIASES: list[Any] = [
    lambda: ALiBi(4),
    lambda: ALiBi(4, encoder="split"),
    lambda: KERPLE(4),
    lambda: KERPLE(4, kernel="power"),
    lambda: Sandwich(4),
    lambda: FIRE(4, 2000),
]
"""Everything that adds to the scores by distance alone (FIRE: up to its threshold)."""


def row(*positions: int) -> Tensor:
    return torch.tensor([positions])


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def turned(x: list[float], position: float, frequencies: list[float], factors: list[float]) -> list[float]:
    """Neighbouring columns turned by position times frequency, each pair times its factor."""
    y = []
    for i, (frequency, factor) in enumerate(zip(frequencies, factors, strict=True)):
        a, b, angle = x[2 * i], x[2 * i + 1], position * frequency
        y += [
            factor * (a * math.cos(angle) - b * math.sin(angle)),
            factor * (b * math.cos(angle) + a * math.sin(angle)),
        ]
    return y


# ------------------------------------------------------------------------------------------------ rope, scaled


def reference_frequencies(width: int, base: float, scaling: str, factor: float, length: float) -> list[float]:
    """What Peng et al. 2023, section 3, give each pair to turn by, one pair at a time."""
    if scaling == "ntk":
        base = base * factor ** (width / (width - 2))
    found = []
    for i in range(width // 2):
        frequency = base ** (-2 * i / width)
        if scaling == "linear":
            frequency /= factor
        if scaling == "yarn":
            turns = length * frequency / (2 * math.pi)
            ramp = 0.0 if turns < 1 else 1.0 if turns > 32 else (turns - 1) / (32 - 1)
            frequency = (1 - ramp) * frequency / factor + ramp * frequency
        found.append(frequency)
    return found


@pytest.mark.parametrize("scaling", ["linear", "ntk", "yarn"])
@pytest.mark.parametrize(("width", "factor"), [(16, 4.0), (8, 1.5)])
def test_scaled_rope_turns_as_the_paper_says(scaling: Any, width: int, factor: float) -> None:
    part = RoPE(scaling=scaling, factor=factor, max_length=1000)
    x, positions = doubles(2, 3, 4, width), torch.tensor([[0, 1, 2, 3], [9, 500, 3999, 7]])
    sharper = 0.1 * math.log(factor) + 1 if scaling == "yarn" else 1.0
    frequencies = reference_frequencies(width, 10000.0, scaling, factor, 1000)
    for y in (part.rotate_queries(x, positions), part.rotate_keys(x, positions)):
        for b in range(2):
            for h in range(3):
                for t in range(4):
                    expected = turned(x[b, h, t].tolist(), int(positions[b, t]), frequencies, [sharper] * (width // 2))
                    torch.testing.assert_close(
                        y[b, h, t], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9
                    )


@pytest.mark.parametrize("scaling", ["linear", "ntk", "yarn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_factor_of_one_is_plain_rope(scaling: Any, dtype: torch.dtype) -> None:
    x, positions = torch.randn(2, 3, 5, 8, dtype=dtype), torch.randint(0, 900, (2, 5))
    scaled = RoPE(scaling=scaling, max_length=100).rotate_queries(x, positions)
    torch.testing.assert_close(scaled, RoPE().rotate_queries(x, positions), rtol=0, atol=0)


def frequencies_of(part: RoPE, width: int) -> Tensor:
    """Radians a position, read off the rotation of unit vectors."""
    unit = torch.zeros(1, 1, 1, width, dtype=torch.float64)
    unit[..., ::2] = 1.0
    pairs = part.rotate_queries(unit, row(1)).view(-1, 2)
    return torch.atan2(pairs[:, 1], pairs[:, 0])


def test_yarn_keeps_the_fast_pairs_and_slows_the_slow_ones_down_by_the_factor() -> None:
    width, factor, length = 64, 8.0, 2048
    plain = frequencies_of(RoPE(), width)
    yarn = frequencies_of(RoPE(scaling="yarn", factor=factor, original_length=length), width)
    turns = plain * length / (2 * math.pi)
    fast, slow = turns > 32, turns < 1
    assert fast.sum() > 5
    assert slow.sum() > 5
    torch.testing.assert_close(yarn[fast], plain[fast], rtol=1e-12, atol=0)
    torch.testing.assert_close(yarn[slow], plain[slow] / factor, rtol=1e-12, atol=0)
    between = ~fast & ~slow
    assert bool((yarn[between] < plain[between]).all())
    assert bool((yarn[between] > plain[between] / factor).all())


def test_ntk_keeps_the_fastest_pair_and_slows_the_slowest_down_by_the_factor() -> None:
    plain, ntk = frequencies_of(RoPE(), 32), frequencies_of(RoPE(scaling="ntk", factor=4.0), 32)
    torch.testing.assert_close(ntk[0], plain[0])
    torch.testing.assert_close(ntk[-1], plain[-1] / 4.0)
    assert bool((ntk[1:] / plain[1:] < ntk[:-1] / plain[:-1]).all())
    torch.testing.assert_close(frequencies_of(RoPE(scaling="ntk", factor=4.0), 2), plain[:1])


def test_linear_scaling_is_a_smaller_step() -> None:
    x, positions = doubles(1, 2, 3, 8), row(4, 40, 400)
    scaled = RoPE(scaling="linear", factor=4.0).rotate_keys(x, positions)
    torch.testing.assert_close(scaled, RoPE().rotate_keys(x, positions // 4), rtol=1e-9, atol=1e-9)


def test_yarn_sharpens_the_columns_it_does_not_turn_too() -> None:
    x = doubles(1, 1, 2, 8)
    y = RoPE(fraction=0.5, scaling="yarn", factor=4.0, original_length=100).rotate_queries(x, row(3, 9))
    torch.testing.assert_close(y[..., 4:], x[..., 4:] * (0.1 * math.log(4.0) + 1.0))
    torch.testing.assert_close(y.norm(), x.norm() * (0.1 * math.log(4.0) + 1.0))


def test_rope_in_double_precision_is_exact_where_single_is_not() -> None:
    x, positions = doubles(1, 1, 3, 8), row(7, 100_003, 1_000_003)
    for t, y in enumerate(RoPE().rotate_queries(x, positions)[0, 0]):
        expected = turned(
            x[0, 0, t].tolist(), int(positions[0, t]), [10000 ** (-2 * i / 8) for i in range(4)], [1.0] * 4
        )
        torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_rope_takes_what_complex_numbers_cannot_view() -> None:
    x, positions = doubles(1, 2, 3, 10), row(7, 8, 900)
    odd = torch.zeros(2, 2, 3, 11, dtype=torch.float64)[1:, ..., 1:]
    odd.copy_(x)
    assert odd.storage_offset() % 2 == 1
    torch.testing.assert_close(RoPE().rotate_keys(odd, positions), RoPE().rotate_keys(x, positions), rtol=0, atol=0)


def test_kept_phases_know_their_dtype() -> None:
    part, x, positions = RoPE(), doubles(1, 1, 3, 8), row(7, 8, 900)
    part.rotate_queries(x.float(), positions)
    torch.testing.assert_close(part.rotate_queries(x, positions), RoPE().rotate_queries(x, positions), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 2.0}, "`factor` must be 1 without `scaling`, and at least 1 with it, but is 2.0"),
        ({"factor": 0.5, "scaling": "ntk"}, "at least 1 with it, but is 0.5"),
        ({"scaling": "yarn"}, "`original_length` must be at least 1, but is None"),
        ({"scaling": "yarn", "original_length": 0}, "`original_length` must be at least 1, but is 0"),
        ({"scaling": "ntk", "original_length": 10}, "must be left out unless `scaling` is 'yarn', but it is 'ntk'"),
        ({"beta_fast": 16.0}, "must be left out unless `scaling` is 'yarn', but it is 'none'"),
        ({"scaling": "yarn", "original_length": 9, "beta_slow": 40.0}, r"`beta_slow` must be in \[0, `beta_fast`"),
    ],
)
def test_rope_refuses_scalings_without_meaning(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoPE(**options)


def test_an_unknown_scaling_is_named() -> None:
    with pytest.raises(
        InputError, match=r"scaling: must be one of 'none' \| 'linear' \| 'ntk' \| 'yarn', but is 'yarm'"
    ):
        POSITIONS.create({"name": "rope", "scaling": "yarm"})


# ------------------------------------------------------------------------------------------------ xpos


def test_xpos_is_its_formula_up_to_a_factor_that_cancels() -> None:
    """Sun et al. 2022, section 2, from the first position on; what p counts from divides out of q times k."""
    width, gamma, scale_base, max_length = 8, 0.3, 20.0, 30
    part = XPos(max_length, base=100.0, gamma=gamma, scale_base=scale_base)
    q, k = doubles(1, 1, 1, width), doubles(1, 1, 1, width + 1)[..., 1:]
    frequencies = [100.0 ** (-2 * i / width) for i in range(width // 2)]
    zeta = [(2 * i / width + gamma) / (1 + gamma) for i in range(width // 2)]
    for t, s in ((0, 0), (5, 2), (50, 3), (29, 29)):
        mine = float((part.rotate_queries(q, row(t)) * part.rotate_keys(k, row(s))).sum())
        query = turned(q.flatten().tolist(), t, frequencies, [z ** (t / scale_base) for z in zeta])
        key = turned(k.flatten().tolist(), s, frequencies, [z ** (-s / scale_base) for z in zeta])
        assert mine == pytest.approx(sum(a * b for a, b in zip(query, key, strict=True)), rel=1e-9)
    alone = part.rotate_queries(q, row(max_length // 2))
    expected = turned(q.flatten().tolist(), max_length // 2, frequencies, [1.0] * 4)
    torch.testing.assert_close(alone.flatten(), torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=30)
@given(s=st.integers(0, 300), ahead=st.integers(0, 300), shift=st.integers(0, 900), seed=st.integers(0, 99))
def test_xpos_scores_depend_on_the_difference_only(s: int, ahead: int, shift: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(1, 1, 1, 16, dtype=torch.float64, generator=generator) for _ in range(2))
    part = XPos(max_length=128)

    def score(t: int, s: int) -> float:
        return float((part.rotate_queries(q, row(t)) * part.rotate_keys(k, row(s))).sum())

    assert score(s + ahead, s) == pytest.approx(score(s + ahead + shift, s + shift), rel=1e-9, abs=1e-9)


def test_xpos_fades_where_rope_swings() -> None:
    """Of a query and a key that agree, rope's score returns at every turn; the fast pairs of xpos die out."""
    fast = torch.zeros(1, 1, 1, 16, dtype=torch.float64)
    fast[..., 0] = 1.0
    sizes = {}
    for part in (RoPE(), XPos(max_length=128)):
        key = part.rotate_keys(fast, row(0))
        scores = [float((part.rotate_queries(fast, row(t)) * key).sum()) for t in range(1, 2001)]
        sizes[type(part)] = [max(map(abs, scores[i : i + 100])) for i in (0, 900, 1900)]
    assert min(sizes[RoPE]) > 0.99
    assert sizes[XPos][0] > 2 * sizes[XPos][1] > 4 * sizes[XPos][2]


def test_xpos_keeps_queries_and_keys_apart_from_call_to_call() -> None:
    part, x, positions = XPos(max_length=20), doubles(1, 2, 3, 8), row(1, 50, 90)
    for _ in range(2):
        q, k = part.rotate_queries(x, positions), part.rotate_keys(x, positions)
        fresh = XPos(max_length=20)
        torch.testing.assert_close(k, fresh.rotate_keys(x, positions), rtol=0, atol=0)
        torch.testing.assert_close(q, fresh.rotate_queries(x, positions), rtol=0, atol=0)
        assert not torch.equal(q, k)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_xpos_stays_finite_in_half_precision_at_a_thousand_tokens(dtype: torch.dtype) -> None:
    part, positions = XPos(max_length=200), row(0, 500, 1000)
    x = torch.randn(1, 2, 3, 16).to(dtype)
    for hook in (part.rotate_queries, part.rotate_keys):
        y = hook(x, positions)
        assert y.dtype == dtype
        assert bool(torch.isfinite(y).all())
        torch.testing.assert_close(y.float(), hook(x.float(), positions), rtol=0.01, atol=0.01)


def test_xpos_stands_in_decoders_and_refuses_nonsense() -> None:
    assert stack_conflict("xpos", "decoder") is None
    assert stack_conflict("xpos", "encoder") == "positions 'xpos' can't stand in the encoder, only in the decoder"
    assert acts_by("xpos") == {"rotations"}
    with pytest.raises(ValueError, match=r"`gamma` must be above 0, but is 0\.0"):
        XPos(10, gamma=0.0)
    with pytest.raises(ValueError, match=r"`scale_base` must be above 0, but is -1\.0"):
        XPos(10, scale_base=-1.0)


# ------------------------------------------------------------------------------------------------ alibi, split


@pytest.mark.parametrize(("n_heads", "slopes"), [(8, [1 / 4, 1 / 16, 1 / 64, 1 / 256]), (2, [1 / 256])])
def test_split_alibi_shows_half_of_the_heads_the_left_and_half_the_right(n_heads: int, slopes: list[float]) -> None:
    bias = ALiBi(n_heads, is_causal=False, encoder="split").attention_bias(row(0, 3, 5), row(0, 1, 3, 9))
    assert bias.shape == (1, n_heads, 3, 4)
    for h in range(n_heads):
        slope, looks_left = slopes[h % len(slopes)], h < n_heads // 2
        for t, query in enumerate((0, 3, 5)):
            for s, key in enumerate((0, 1, 3, 9)):
                is_seen = key <= query if looks_left else key >= query
                expected = -slope * abs(query - key) if is_seen else -10000.0
                assert bias[0, h, t, s].item() == pytest.approx(expected)


def test_a_split_head_gives_the_other_side_no_weight_at_all() -> None:
    weights = ALiBi(2, encoder="split").attention_bias(row(2), row(0, 1, 2, 3)).add(5 * torch.randn(4)).softmax(-1)
    assert weights[0, 0, 0, 3] == 0.0
    assert weights[0, 1, 0, :2].tolist() == [0.0, 0.0]
    assert bool((weights[0, 0, 0, :3] > 0).all())
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 1))


def test_a_decoder_and_a_symmetric_encoder_are_as_before() -> None:
    positions = row(0, 4, 9)
    expected = ALiBi(4).attention_bias(positions, positions)
    for part in (ALiBi(4, is_causal=True, encoder="split"), ALiBi(4, is_causal=True), ALiBi(4, is_causal=False)):
        assert torch.equal(part.attention_bias(positions, positions), expected)
    with pytest.raises(ValueError, match="`n_heads` must be even for `encoder` 'split', but is 3"):
        ALiBi(3, encoder="split")


# ------------------------------------------------------------------------------------------------ kerple


@pytest.mark.parametrize("kernel", ["logarithmic", "power"])
def test_kerple_is_its_formula(kernel: Any) -> None:
    part = KERPLE(3, kernel=kernel).double()
    queries, keys = torch.tensor([[0, 4], [30, 31]]), row(0, 3, 31)
    bias = part.attention_bias(queries, keys)
    assert bias.shape == (2, 3, 2, 3)
    for h in range(3):
        r1 = math.log1p(math.exp(part.raw_r1[h].item()))
        raw = part.raw_r2[h].item()
        r2 = math.log1p(math.exp(raw)) if kernel == "logarithmic" else 2 / (1 + math.exp(-raw))
        for b in range(2):
            for t in range(2):
                for s in range(3):
                    d = abs(int(queries[b, t]) - int(keys[0, s]))
                    expected = -r1 * (math.log(1 + r2 * d) if kernel == "logarithmic" else d**r2)
                    assert bias[b, h, t, s].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("kernel", "tops"), [("logarithmic", (2.0, 1.0)), ("power", (1.0, 2.0))])
def test_kerple_starts_in_the_authors_ranges(kernel: Any, tops: tuple[float, float]) -> None:
    part = KERPLE(2000, kernel=kernel)
    part.draw(lambda name: torch.Generator().manual_seed(len(name) + ord(name[-1])))
    for r, top in zip(part.kernel_parameters(), tops, strict=True):
        assert 0.0 < r.min() < 0.03 * top
        assert 0.97 * top < r.max() < top
        assert r.mean().item() == pytest.approx(top / 2, rel=0.05)
    twin = KERPLE(2000, kernel=kernel)
    twin.draw(lambda name: torch.Generator().manual_seed(len(name) + ord(name[-1])))
    assert torch.equal(twin.raw_r1, part.raw_r1)
    assert not torch.equal(part.raw_r1, part.raw_r2)


@pytest.mark.parametrize("kernel", ["logarithmic", "power"])
@settings(max_examples=20)
@given(near=st.integers(0, 200), farther=st.integers(1, 200), raw=st.floats(-6, 6), other=st.floats(-6, 6))
def test_kerple_falls_with_distance_whatever_is_learned(
    kernel: Any, near: int, farther: int, raw: float, other: float
) -> None:
    part = KERPLE(1, kernel=kernel).double()
    with torch.no_grad():
        part.raw_r1.fill_(raw)
        part.raw_r2.fill_(other)
    bias = part.attention_bias(row(500), row(500 - near, 500 + near, 500 - near - farther))[0, 0, 0]
    assert bias[0] == bias[1]
    assert bias[2] < bias[0] <= 0.0


@pytest.mark.parametrize("kernel", ["logarithmic", "power"])
def test_kerples_gradients_are_finite_at_distance_zero(kernel: Any) -> None:
    part = KERPLE(2, kernel=kernel)
    part.attention_bias(row(0, 1, 2), row(0, 1, 2)).sum().backward()
    for parameter in part.parameters():
        assert parameter.grad is not None
        assert bool(torch.isfinite(parameter.grad).all())
        assert bool((parameter.grad != 0).all())


# ------------------------------------------------------------------------------------------------ fire


def test_fire_is_its_formula_on_both_sides() -> None:
    part = FIRE(2, 99, hidden=5, c=0.3, threshold=10.0).double()
    with torch.no_grad():
        part.threshold_factor.fill_(0.8)
    queries, keys = torch.tensor([[0, 4], [30, 31]]), row(0, 3, 7, 35)
    bias = part.attention_bias(queries, keys)
    assert bias.shape == (2, 2, 2, 4)
    c = part.c.item()
    for b in range(2):
        for t in range(2):
            for s in range(4):
                query, key = int(queries[b, t]), int(keys[0, s])
                longest = max(0.8 * 10.0, query, key)
                share = math.log(1 + c * abs(query - key)) / math.log(1 + c * longest)
                share = share if query >= key else -share
                for h in range(2):
                    expected = sum(
                        part.outer[h, j].item() * max(0.0, part.inner[j].item() * share + part.offset[j].item())
                        for j in range(5)
                    )
                    assert bias[b, h, t, s].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_fire_is_the_papers_listing_where_it_is_causal() -> None:
    """The network as torch.nn has it, the shares as in the paper's listing: i - j over the query's own position."""
    part = FIRE(3, 24)
    net = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(part.inner[:, None])
        net[0].bias.copy_(part.offset)
        net[2].weight.copy_(part.outer)
    i = torch.arange(20.0)
    share = torch.log(0.1 * (i[:, None] - i).abs() + 1) / (torch.log(0.1 * i.clamp(min=6.0) + 1) + 1e-6)[:, None]
    expected = net(share[..., None]).permute(2, 0, 1)
    bias = part.attention_bias(torch.arange(20)[None], torch.arange(20)[None])[0]
    past = torch.ones(20, 20, dtype=torch.bool).tril()
    torch.testing.assert_close(bias[:, past], expected[:, past])
    assert (bias[:, ~past] - expected[:, ~past]).abs().max() > 0.01


@settings(max_examples=20)
@given(query=st.integers(0, 5000), key=st.integers(0, 5000))
def test_fire_never_leaves_the_shares_it_was_trained_on(query: int, key: int) -> None:
    """A network that hands its input on shows the share: within -1 and 1 at any length, with the side as its sign."""
    part = FIRE(1, 99, hidden=2, threshold=50.0)
    with torch.no_grad():
        part.inner.copy_(torch.tensor([1.0, -1.0]))
        part.offset.zero_()
        part.outer.copy_(torch.tensor([[1.0, -1.0]]))
    share = part.attention_bias(row(query), row(key)).item()
    assert abs(share) <= 1.0 + 1e-6
    assert (share > 0) - (share < 0) == (query > key) - (query < key)


def test_fire_learns_all_it_has_and_draws_from_the_stream() -> None:
    part = FIRE(2, 40)
    (part.attention_bias(row(0, 1, 9), row(0, 1, 9)) * torch.randn(2, 3, 3)).sum().backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name
    twins = [FIRE(2, 40), FIRE(2, 40)]
    for twin in twins:
        twin.draw(lambda name: torch.Generator().manual_seed(len(name)))
    assert torch.equal(twins[0].outer, twins[1].outer)
    assert not torch.equal(twins[0].inner, twins[0].offset)
    assert twins[0].c.item() == pytest.approx(0.1)
    assert twins[0].outer.abs().max().item() <= 32**-0.5


@pytest.mark.parametrize("option", ["hidden", "c", "threshold"])
def test_fire_refuses_what_is_not_positive(option: str) -> None:
    with pytest.raises(ValueError, match=f"`{option}` must be above 0, but is 0"):
        FIRE(2, 40, **{option: 0})


# ------------------------------------------------------------------------------------------------ sandwich


def test_sandwich_is_the_sinusoids_inner_product() -> None:
    """Of sines and cosines written out position by position; pair i has the wavelength 2 pi 10000^(2i/W), i from 1."""
    width, n_heads = 12, 4
    queries, keys = torch.tensor([[0, 4], [30, 31]]), row(0, 3, 35)
    bias = Sandwich(n_heads, width=width).attention_bias(queries, keys)
    assert bias.shape == (2, n_heads, 2, 3)

    def encoding(position: int) -> list[float]:
        angles = [position / 10000 ** (2 * i / width) for i in range(1, width // 2 + 1)]
        return [f(a) for a in angles for f in (math.sin, math.cos)]

    for b in range(2):
        for t in range(2):
            for s in range(3):
                pairs = zip(encoding(int(queries[b, t])), encoding(int(keys[0, s])), strict=True)
                product = sum(x * y for x, y in pairs)
                for h in range(n_heads):
                    expected = (product - width / 2) / ((h + 1) * 8 / n_heads)
                    assert bias[b, h, t, s].item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_sandwich_is_highest_at_home_and_falls_like_a_logarithm() -> None:
    """From one octave of distances to the next, which a linear bias would double, it falls by much the same."""
    bias = Sandwich(8).attention_bias(row(0), torch.arange(0, 1024)[None])[0, 0, 0]
    assert bias[0] == 0.0
    assert bool((bias[1:] < 0).all())
    octaves = torch.stack([bias[2**n : 2 ** (n + 1)].mean() for n in range(1, 10)])
    falls = octaves[:-1] - octaves[1:]
    assert bool((falls > 0).all())
    assert falls.max() < 2.0 * falls.min()


def test_sandwich_tables_and_direct_cosines_agree() -> None:
    part, queries, keys = Sandwich(2), torch.randint(0, 900, (3, 4)), torch.randint(0, 900, (3, 6))
    bias = part.attention_bias(queries, keys)
    distance = (queries[:, :, None] - keys[:, None, :]).abs()
    torch.testing.assert_close(bias[:, 0] * 4.0, part._fall(distance), rtol=1e-6, atol=1e-6)
    assert part.attention_bias(queries[:, :0], keys).shape == (3, 2, 0, 6)
    with pytest.raises(ValueError, match="`width` must be even and at least 2, but is 7"):
        Sandwich(2, width=7)


# ------------------------------------------------------------------------------------------------ all biases


@pytest.mark.parametrize("make", BIASES)
@settings(max_examples=10)
@given(query=st.integers(0, 200), key=st.integers(0, 200), shift=st.integers(0, 250))
def test_biases_are_relative(make: Any, query: int, key: int, shift: int) -> None:
    part = make()
    here = part.attention_bias(row(query), row(key))
    torch.testing.assert_close(part.attention_bias(row(query + shift), row(key + shift)), here, rtol=0, atol=0)


@pytest.mark.parametrize(
    "make", [lambda: ALiBi(4), lambda: KERPLE(4), lambda: KERPLE(4, kernel="power"), lambda: Sandwich(4)]
)
def test_these_are_symmetric_and_highest_on_the_diagonal(make: Any) -> None:
    order = torch.arange(40)[None]
    bias = make().attention_bias(order, order)[0]
    torch.testing.assert_close(bias, bias.transpose(1, 2), rtol=0, atol=0)
    assert bool((bias.diagonal(dim1=1, dim2=2) == 0).all())
    assert bool((bias + torch.eye(40) <= bias.new_ones(())).all())
    off = ~torch.eye(40, dtype=torch.bool)
    assert bool((bias[:, off] < 0).all())


@pytest.mark.parametrize(
    "make", [lambda: ALiBi(4, encoder="split"), lambda: FIRE(4, 2000), lambda: T5Bias(4, 8, False)]
)
def test_these_tell_left_from_right(make: Any) -> None:
    bias = make().attention_bias(row(5), row(2, 8))[0, :, 0]
    assert not torch.equal(bias[:, 0], bias[:, 1])


@pytest.mark.parametrize("make", BIASES)
def test_biases_count_past_256_in_bfloat16_and_are_finite_far_away(make: Any) -> None:
    part = copy.deepcopy(make()).bfloat16()
    bias = part.attention_bias(row(2000), row(1999, 1998, 1997))
    assert bias.dtype == torch.float32
    near = part.attention_bias(row(20), row(19, 18, 17))
    if not isinstance(part, FIRE):
        torch.testing.assert_close(bias, near, rtol=1e-6, atol=1e-6)
    far = part.attention_bias(row(100_000), row(0))
    assert bool(torch.isfinite(far).all())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(part.attention_bias(row(20), row(19, 18, 17)), near)


@pytest.mark.parametrize("make", [lambda: KERPLE(2), lambda: FIRE(2, 40), lambda: T5Bias(2, 8, True)])
def test_learned_biases_of_double_parameters_are_double(make: Any) -> None:
    assert make().double().attention_bias(row(4), row(1, 2)).dtype == torch.float64


def test_sinusoids_of_doubles_are_doubles() -> None:
    y = Sinusoidal().add_to_embeddings(torch.zeros(1, 1, 6, dtype=torch.float64), row(5000))[0, 0]
    expected = [f(5000 / 10000 ** (2 * i / 6)) for i in range(3) for f in (math.sin, math.cos)]
    torch.testing.assert_close(y, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


def test_these_parts_parameters_are_what_they_say() -> None:
    context = {"d_model": 8, "n_heads": 2, "head_dim": 4, "max_length": 9, "is_causal": True, "stack": "decoder"}
    for node, count in (("xpos", 0), ("sandwich", 0), ("kerple", 4), ("fire", 32 * 4 + 2), ("alibi", 0)):
        part = POSITIONS.create(node, **context)
        assert sum(p.numel() for p in part.parameters()) == count
        assert len(part.state_dict()) == len(list(part.parameters()))
    chain = POSITIONS.create({"name": "chain", "schemes": ["xpos", "kerple"]}, **context)
    assert isinstance(chain, Chain)
    assert acts_by({"name": "chain", "schemes": ["xpos", "kerple"]}) == {"rotations", "bias"}
