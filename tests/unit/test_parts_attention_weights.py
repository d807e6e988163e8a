"""Attentions that write their scores or weights out: each against its formula, one number at a time, and its defining property."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recambio.components.attention import MultiHead
from recambio.components.attention.cache import KeyValueCache
from recambio.components.attention.entmax import entmax
from recambio.components.context import AttentionContext
from recambio.components.positions.base import PositionalEncoding
from recambio.registry import ATTENTION

D, H = 12, 3
DH = D // H

Head = Callable[[int, int, Tensor, Tensor, Tensor, Tensor, list[int]], Tensor]
"""(head, query's index, query (Dh), keys and values (S, Dh), the query's input (D), indices of the keys it may see) -> (Dh)."""


# ------------------------------------------------------------------------------------- the definition, one number at a time


def reference(part: Any, x: Tensor, memory: Tensor | None, allowed: Tensor, head: Head) -> Tensor:
    """Projections, heads and output around one head's formula; allowed: (B, T, S)."""
    if memory is None:
        q, k, v = nn.functional.linear(x, part.input.weight, part.input.bias).split(D, dim=-1)
    else:
        q = nn.functional.linear(x, part.query.weight, part.query.bias)
        k, v = nn.functional.linear(memory, part.memory.weight, part.memory.bias).split(D, dim=-1)
    y = torch.zeros_like(x)
    for b, t, h in itertools.product(range(x.shape[0]), range(x.shape[1]), range(H)):
        here = slice(h * DH, (h + 1) * DH)
        seen = [s for s in range(allowed.shape[2]) if allowed[b, t, s]]
        y[b, t, here] = head(h, t, q[b, t, here], k[b, :, here], v[b, :, here], x[b, t], seen)
    return nn.functional.linear(y, part.output.weight, part.output.bias)


def products(q: Tensor, k: Tensor, seen: list[int]) -> list[float]:
    return [float(q @ k[s]) / math.sqrt(DH) for s in seen]


def softmax(scores: list[float]) -> list[float]:
    top = max(scores, default=0.0)
    total = sum(math.exp(x - top) for x in scores)
    return [math.exp(x - top) / total for x in scores]


def weighted(weights: list[float], v: Tensor, seen: list[int]) -> Tensor:
    return sum((w * v[s] for w, s in zip(weights, seen, strict=True)), torch.zeros(DH, dtype=v.dtype))


def bisected(scores: list[float], alpha: float) -> list[float]:
    """alpha-entmax by halving the interval that holds the threshold."""
    x = [(alpha - 1) * s for s in scores]

    def at(tau: float) -> list[float]:
        return [max(0.0, xi - tau) ** (1 / (alpha - 1)) for xi in x]

    low, high = max(x) - 1.0, max(x)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(at(middle)) > 1 else (low, middle)
    return at(low)


def weighing(weigh: Callable[[list[float]], list[float]]) -> Callable[[Any], Head]:
    """The formula of a part that only turns a query's scores into weights in its own way."""

    def of(part: Any) -> Head:
        return lambda h, t, q, k, v, z, seen: weighted(weigh(products(q, k, seen)) if seen else [], v, seen)

    return of


def top(k: int) -> Callable[[list[float]], list[float]]:
    def weigh(scores: list[float]) -> list[float]:
        least = sorted(scores, reverse=True)[:k][-1]
        return softmax([s if s >= least else -math.inf for s in scores])

    return weigh


def picked(scores: list[float]) -> list[float]:
    total = sum(abs(math.exp(s) - 1) for s in scores)
    return [max(0.0, math.exp(s) - 1) / total for s in scores]


def sinking(part: Any) -> Head:
    def head(h: int, t: int, q: Tensor, k: Tensor, v: Tensor, z: Tensor, seen: list[int]) -> Tensor:
        return weighted(softmax([*products(q, k, seen), float(part.sink[h])])[:-1], v, seen)

    return head


def shaw(part: Any) -> Head:
    most = part.left

    def head(h: int, t: int, q: Tensor, k: Tensor, v: Tensor, z: Tensor, seen: list[int]) -> Tensor:
        rows = {s: max(-most, min(most, s - t)) + most for s in seen}
        scores = [float(q @ (k[s] + part.relative_keys[rows[s]])) / math.sqrt(DH) for s in seen]
        values = v.clone()
        for s in seen:
            if part.relative_values is not None:
                values[s] += part.relative_values[rows[s]]
        return weighted(softmax(scores), values, seen)

    return head


def transformer_xl(part: Any) -> Head:
    def head(h: int, t: int, q: Tensor, k: Tensor, v: Tensor, z: Tensor, seen: list[int]) -> Tensor:
        u, w = part.content_query[h], part.distance_query[h]
        scores = []
        for s in seen:
            angles = [(t - s) / 10000 ** (2 * i / D) for i in range(D // 2)]
            wave = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)], dtype=torch.float64)
            r = part.distance.weight[h * DH : (h + 1) * DH] @ wave
            scores.append(float((q + u) @ k[s] + (q + w) @ r) / math.sqrt(DH))
        return weighted(softmax(scores), v, seen)

    return head


def cope(part: Any) -> Head:
    vectors = part.position_vectors

    def head(h: int, t: int, q: Tensor, k: Tensor, v: Tensor, z: Tensor, seen: list[int]) -> Tensor:
        gates = {s: 1 / (1 + math.exp(-x)) for s, x in zip(seen, products(q, k, seen), strict=True)}
        scores = []
        for s in seen:
            p = min(sum(gates[r] for r in seen if r >= s), len(vectors) - 1.0)
            e = vectors[math.floor(p)] * (1 - p % 1) + vectors[math.ceil(p)] * (p % 1)
            scores.append(float(q @ (k[s] + e)) / math.sqrt(DH))
        return weighted(softmax(scores), v, seen)

    return head


def counted(part: Any) -> Head:
    return weighing(lambda scores: [1 / (1 + len(scores) * math.exp(-s)) for s in scores])(part)


def constant(part: Any) -> Head:
    return weighing(lambda scores: [1 / (1 + math.exp(-s - part.offset)) for s in scores])(part)


CASES: list[tuple[str, dict[str, Any], Callable[[Any], Head]]] = [
    ("shaw", {"max_distance": 3}, shaw),
    ("shaw", {"max_distance": 2, "values": False}, shaw),
    ("transformer_xl", {}, transformer_xl),
    ("cope", {"n_positions": 4}, cope),
    ("cope", {}, cope),
    ("entmax", {}, weighing(lambda scores: bisected(scores, 1.5))),
    ("entmax", {"alpha": 2.0}, weighing(lambda scores: bisected(scores, 2.0))),
    ("sparse_topk", {"k": 2}, weighing(top(2))),
    ("sigmoid", {}, counted),
    ("sigmoid", {"offset": -1.5}, constant),
    ("softpick", {}, weighing(picked)),
    ("sink", {}, sinking),
]


def build(name: str, site: str, **options: Any) -> Any:
    """In float64, with every parameter drawn anew, those that start at a constant too."""
    part = ATTENTION.create(
        {"name": name, **options}, d_model=D, n_heads=H, site=site, is_causal=site == "decoder_self", max_length=9
    )
    for parameter in part.parameters():
        nn.init.normal_(parameter, std=0.5)
    return part.double().eval()


def around(positions: Tensor, allowed: Tensor, tokens: Tensor | None, keys: Tensor | None = None) -> AttentionContext:
    """positions: (1|B, T), allowed: (B, T, S), tokens: (B, S)."""
    mask = allowed[:, None]
    keys = positions if keys is None else keys
    return AttentionContext(PositionalEncoding(), positions, keys, mask=mask, merged=mask, key_tokens=tokens)


def whole(length: int, is_causal: bool) -> AttentionContext:
    order = torch.arange(length)[None]
    return AttentionContext(PositionalEncoding(), order, order, is_causal=is_causal)


def padded(site: str, length: int = 6, n_keys: int = 6) -> tuple[Tensor, AttentionContext]:
    """Rows of full length, of three tokens and of none. Returns: allowed (B, T, S) and the context."""
    tokens = torch.arange(n_keys)[None] < torch.tensor([n_keys, 3, 0])[:, None]
    allowed = tokens[:, None, :].expand(3, length, n_keys).clone()
    if site == "decoder_self":
        allowed &= torch.ones(length, n_keys, dtype=torch.bool).tril()
    order, keys = torch.arange(length)[None], torch.arange(n_keys)[None]
    return allowed, around(order, allowed, tokens, keys)


SITES = ("encoder_self", "decoder_self", "cross")
PLACED = [
    pytest.param(name, options, formula, site, id=f"{name}-{site}-{options}")
    for name, options, formula in CASES
    for site in ATTENTION.get(name).card.sites or SITES
]


@pytest.mark.parametrize(("name", "options", "formula", "site"), PLACED)
def test_the_part_is_its_formula(name: str, options: dict[str, Any], formula: Callable[[Any], Head], site: str) -> None:
    torch.manual_seed(0)
    part = build(name, site, **options)
    x = torch.randn(3, 6, D, dtype=torch.float64)
    memory = torch.randn(3, 5, D, dtype=torch.float64) if site == "cross" else None
    allowed, context = padded(site, n_keys=5 if site == "cross" else 6)
    with torch.no_grad():
        y = part(x, memory, context)
        expected = reference(part, x, memory, allowed, formula(part))
    # In the causal decoder a padded query counts the keys up to its position, of which some are padding: nobody reads it.
    real = context.key_tokens if name == "sigmoid" and site == "decoder_self" else torch.ones(3, 6, dtype=torch.bool)
    assert real is not None
    torch.testing.assert_close(y[real], expected[real], rtol=1e-7, atol=1e-7)


def test_talking_heads_is_its_formula() -> None:
    torch.manual_seed(0)
    part = build("talking_heads", "encoder_self")
    x = torch.randn(2, 4, D, dtype=torch.float64)
    allowed = torch.tensor([[True] * 4, [True, True, True, False]])[:, None, :].expand(2, 4, 4)
    with torch.no_grad():
        q, k, v = nn.functional.linear(x, part.input.weight, part.input.bias).split(D, dim=-1)
        heads = [slice(h * DH, (h + 1) * DH) for h in range(H)]
        y = torch.zeros_like(x)
        for b, t in itertools.product(range(2), range(4)):
            seen = [s for s in range(4) if allowed[b, t, s]]
            scores = [products(q[b, t, here], k[b, :, here], seen) for here in heads]
            weights = []
            for g in range(H):
                mixed = [sum(float(part.mix_scores[h, g]) * scores[h][i] for h in range(H)) for i in range(len(seen))]
                weights.append(softmax(mixed))
            for f, here in enumerate(heads):
                mixed = [sum(float(part.mix_weights[g, f]) * weights[g][i] for g in range(H)) for i in range(len(seen))]
                y[b, t, here] = weighted(mixed, v[b, :, here], seen)
        expected = nn.functional.linear(y, part.output.weight, part.output.bias)
        torch.testing.assert_close(part(x, None, around(torch.arange(4)[None], allowed, None)), expected)


@pytest.mark.parametrize("variant", ["dense", "random"])
@pytest.mark.parametrize("site", ["encoder_self", "decoder_self"])
def test_synthesizer_is_its_formula(variant: str, site: str) -> None:
    torch.manual_seed(0)
    part = build("synthesizer", site, variant=variant)
    x = torch.randn(3, 6, D, dtype=torch.float64)
    allowed, context = padded(site)
    with torch.no_grad():
        projected = nn.functional.linear(x, part.input.weight, part.input.bias)
        v, y = projected[..., -D:], torch.zeros_like(x)
        for b, t, h in itertools.product(range(3), range(6), range(H)):
            here = slice(h * DH, (h + 1) * DH)
            seen = [s for s in range(6) if allowed[b, t, s]]
            if variant == "dense":
                scores = [float(projected[b, t, here].relu() @ part.table[s, here]) for s in seen]
            else:
                scores = [float(part.table[t, s, h]) for s in seen]
            y[b, t, here] = weighted(softmax(scores), v[b, :, here], seen)
        expected = nn.functional.linear(y, part.output.weight, part.output.bias)
        torch.testing.assert_close(part(x, None, context), expected)


# ---------------------------------------------------------------------------------------------------- decoding with a cache

DECODING = [
    *((n, o) for n, o, _ in CASES),
    ("talking_heads", {}),
    ("synthesizer", {}),
    ("synthesizer", {"variant": "random"}),
]


def step(part: Any, x: Tensor, cache: Any, lengths: list[int]) -> Tensor:
    """The next tokens of rows that hold so many; x: (R, T, D)."""
    positions = torch.tensor(lengths)[:, None] + torch.arange(x.shape[1])
    keys = torch.arange(max(lengths) + x.shape[1])[None]
    y: Tensor = part(x, None, around(positions, keys[:, None, :] <= positions[:, :, None], None, keys), cache)
    return y


@pytest.mark.parametrize(("name", "options"), DECODING, ids=[f"{n}-{o}" for n, o in DECODING])
def test_decoding_is_the_full_pass_whatever_was_learned(name: str, options: dict[str, Any]) -> None:
    """Some parts start where they add nothing; here every parameter is drawn."""
    torch.manual_seed(0)
    part, x = build(name, "decoder_self", **options), torch.randn(2, 8, D, dtype=torch.float64)
    with torch.no_grad():
        full = part(x, None, whole(8, True))
        for chunk in (1, 3):
            cache = part.new_cache(2, 4)
            pieces = [step(part, new, cache, [at * chunk] * 2) for at, new in enumerate(x.split(chunk, 1))]
            torch.testing.assert_close(torch.cat(pieces, 1), full)
        long, short = part.new_cache(1, 4), part.new_cache(1, 4)
        step(part, x[:1, :5], long, [0])
        step(part, x[1:, :2], short, [0])
        joined = long.join(short).select(torch.tensor([1, 0]))
        y = step(part, torch.stack([x[1, 2:4], x[0, 5:7]]), joined, [2, 5])
        torch.testing.assert_close(y, torch.stack([full[1, 2:4], full[0, 5:7]]))


# ------------------------------------------------------------------------------------------------ what makes each part what it is


@pytest.mark.parametrize("name", ["shaw", "transformer_xl"])
@pytest.mark.parametrize("site", ["encoder_self", "decoder_self"])
def test_relative_positions_are_relative(name: str, site: str) -> None:
    torch.manual_seed(0)
    part, x = build(name, site), torch.randn(2, 5, D, dtype=torch.float64)
    allowed = torch.ones(2, 5, 5, dtype=torch.bool)
    allowed = allowed.tril() if site == "decoder_self" else allowed
    here, there = torch.arange(5)[None], torch.arange(5)[None] + torch.tensor([[3], [700]])
    stretched = torch.arange(5)[None] * 2
    y = part(x, None, around(here, allowed, None))
    torch.testing.assert_close(part(x, None, around(there, allowed, None)), y)
    assert not torch.allclose(part(x, None, around(stretched.clamp(max=4), allowed, None)), y)


@pytest.mark.parametrize("name", ["shaw", "transformer_xl"])
def test_relative_positions_tell_left_from_right(name: str) -> None:
    torch.manual_seed(0)
    part, x = build(name, "encoder_self"), torch.randn(1, 5, D, dtype=torch.float64)
    mirrored = part(x.flip(1), None, whole(5, False)).flip(1)
    assert (mirrored - part(x, None, whole(5, False))).abs().max() > 0.01


def test_shaw_clips_distances() -> None:
    torch.manual_seed(0)
    part, x = build("shaw", "encoder_self", max_distance=2), torch.randn(1, 7, D, dtype=torch.float64)
    y = part(x, None, whole(7, False))
    far, near = x[:, [0, 1, 2, 4, 3, 5, 6]], x[:, [0, 2, 1, 3, 4, 5, 6]]
    torch.testing.assert_close(part(far, None, whole(7, False))[:, 0], y[:, 0])
    assert (part(near, None, whole(7, False))[:, 0] - y[:, 0]).abs().max() > 0.01


def test_shaw_has_vectors_for_the_distances_that_occur() -> None:
    assert build("shaw", "encoder_self", max_distance=5).relative_keys.shape == (11, DH)
    assert build("shaw", "decoder_self", max_distance=5).relative_keys.shape == (6, DH)
    assert build("shaw", "decoder_self", values=False).relative_values is None


def test_cope_counts_what_its_gates_let_through() -> None:
    """Gates wide open count tokens; a token that no query cares for isn't counted, wherever it stands."""
    part = build("cope", "decoder_self")
    with torch.no_grad():
        part.position_vectors.copy_(torch.randn(part.position_vectors.shape))
    q, v = torch.ones(1, H, 6, DH, dtype=torch.float64), torch.eye(6, DH, dtype=torch.float64).expand(1, H, 6, DH)
    open_, shut = 100.0, -100.0

    def scored(gates: list[float]) -> Tensor:
        k = torch.tensor(gates, dtype=torch.float64)[None, None, :, None].expand(1, H, 6, DH)
        score: Tensor = part.score(q, k.flip(2), flipped)
        return score.flip(-1)[0, 0] - torch.tensor(gates, dtype=torch.float64) * math.sqrt(DH)

    mask = torch.ones(6, 6, dtype=torch.bool).tril()
    flipped = around(torch.arange(6)[None], mask.flip(-1)[None], None)
    levels = part.position_vectors.sum(-1).double() / math.sqrt(DH)
    counted = scored([open_] * 6)
    skipped = scored([open_, open_, shut, open_, shut, open_])
    for t, s in itertools.combinations_with_replacement(range(6), 2):
        t, s = s, t
        torch.testing.assert_close(counted[t, s], levels[t - s + 1], rtol=1e-6, atol=1e-6)
        passed = sum(r not in (2, 4) for r in range(s, t + 1))
        torch.testing.assert_close(skipped[t, s], levels[passed], rtol=1e-6, atol=1e-6)
    assert part.mix(q, q, v, whole(6, True)).shape == q.shape


@pytest.mark.parametrize("site", SITES)
def test_talking_heads_start_as_multi_head(site: str) -> None:
    torch.manual_seed(0)
    talking = ATTENTION.create("talking_heads", d_model=D, n_heads=H, site=site)
    plain = MultiHead(D, H, site)
    plain.load_state_dict({k: v for k, v in talking.state_dict().items() if not k.startswith("mix_")})
    x, memory = torch.randn(2, 5, D), torch.randn(2, 5, D) if site == "cross" else None
    context = whole(5, site == "decoder_self")
    expected = plain(x, memory, context)
    torch.testing.assert_close(talking(x, memory, context), expected)
    with torch.no_grad():  # heads that change places before the softmax and back after it
        talking.mix_scores.copy_(talking.mix_scores.roll(1, 0))
        talking.mix_weights.copy_(talking.mix_scores.T)
    torch.testing.assert_close(talking(x, memory, context), expected)
    assert talking.no_weight_decay() == {"mix_scores", "mix_weights"}


@settings(max_examples=60)
@given(
    alpha=st.sampled_from([1.5, 2.0]),
    scores=st.lists(st.floats(-30, 30), min_size=1, max_size=12),
    shift=st.floats(-100, 100),
)
def test_entmax_is_a_sparse_distribution(alpha: float, scores: list[float], shift: float) -> None:
    x = torch.tensor(scores, dtype=torch.float64)
    w = entmax(x, alpha)
    torch.testing.assert_close(w, torch.tensor(bisected(scores, alpha), dtype=torch.float64), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(w.sum(), torch.ones((), dtype=torch.float64))
    assert bool((w >= 0).all())
    assert bool((w[x < x.max() - 1 / (alpha - 1)] == 0).all()), "a score far below the largest has a weight"
    torch.testing.assert_close(entmax(x + shift, alpha), w, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_the_gradient_of_entmax_is_that_of_its_function(alpha: float) -> None:
    torch.manual_seed(0)
    for scale in (0.1, 1.0, 3.0):
        x = (torch.randn(4, 7, dtype=torch.float64) * scale).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: entmax(x, alpha), (x,))


@pytest.mark.parametrize("alpha", [1.5, 2.0])
@pytest.mark.parametrize("scale", [1e-4, 0.1, 1.0, 20.0, 1e6])
def test_entmax_is_exact_for_many_keys_in_float32(alpha: float, scale: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 300) * scale
    expected = torch.tensor([bisected(row.tolist(), alpha) for row in x])
    torch.testing.assert_close(entmax(x, alpha), expected, rtol=1e-3, atol=2e-6)


def test_sparsemax_is_the_projection_onto_the_simplex() -> None:
    """Of all supports the nearest point of the simplex: found by trying every one."""
    torch.manual_seed(0)
    for _ in range(20):
        x = torch.randn(5, dtype=torch.float64)
        points = []
        for support in itertools.product([False, True], repeat=5):
            chosen = torch.tensor(support)
            if chosen.any():
                point = torch.where(chosen, x + (1 - x[chosen].sum()) / chosen.sum(), 0.0)
                if bool((point >= 0).all()):
                    points.append(point)
        nearest = min(points, key=lambda point: float((point - x).square().sum()))
        torch.testing.assert_close(entmax(x, 2.0), nearest)


def weights_of(part: Any, scores: Tensor, mask: Tensor | None = None) -> Tensor:
    """scores: (T, S), mask likewise. Returns: (T, S)."""
    n_queries, n_keys = scores.shape
    order, keys = torch.arange(n_queries)[None], torch.arange(n_keys)[None]
    context = AttentionContext(PositionalEncoding(), order, keys, mask=mask)
    weights: Tensor = part.weigh(scores[None, None], None if mask is None else mask[None, None], context)
    return weights[0, 0]


def test_sparse_topk_keeps_k_keys_and_those_that_tie() -> None:
    part = build("sparse_topk", "cross", k=3)
    scores = torch.tensor([[5.0, 1, 2, 3, 4], [1, 1, 1, 1, 1], [3, 2, 2, 2, 1], [3, 2, 2, 2, 1]])
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[3, :3] = False
    kept = weights_of(part, scores, mask) > 0
    assert kept.int().tolist() == [[1, 0, 0, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("site", SITES)
def test_sparse_topk_with_enough_keys_is_multi_head(site: str) -> None:
    torch.manual_seed(0)
    part, plain = ATTENTION.create("sparse_topk", d_model=D, n_heads=H, site=site), MultiHead(D, H, site)
    plain.load_state_dict(part.state_dict())
    x, memory = torch.randn(2, 7, D), torch.randn(2, 7, D) if site == "cross" else None
    context = whole(7, site == "decoder_self")
    torch.testing.assert_close(part(x, memory, context), plain(x, memory, context))
    x, memory = torch.randn(2, 12, D), torch.randn(2, 12, D) if site == "cross" else None
    context = whole(12, site == "decoder_self")
    assert not torch.allclose(part(x, memory, context), plain(x, memory, context))


def test_sigmoid_weighs_each_key_by_itself() -> None:
    torch.manual_seed(0)
    part, scores = build("sigmoid", "cross", offset=-1.0), torch.randn(3, 6)
    torch.testing.assert_close(weights_of(part, scores)[:, :4], weights_of(part, scores[:, :4]))
    counting = build("sigmoid", "cross")
    for n_keys in (1, 10, 1000):
        total = weights_of(counting, torch.zeros(1, n_keys)).sum().item()
        assert total == pytest.approx(n_keys / (n_keys + 1))


def test_softpick_may_attend_to_nothing() -> None:
    part = build("softpick", "cross")
    scores = torch.tensor([[-1.0, -0.1, 0.0], [-2.0, -1.0, 0.5], [3.0, 1.0, 2.0]])
    weights = weights_of(part, scores)
    assert weights[0].tolist() == [0.0, 0.0, 0.0]
    assert weights[1, :2].tolist() == [0.0, 0.0] and 0 < weights[1].sum() < 1
    assert weights[2].sum().item() == pytest.approx(1.0)


def test_softpick_overflows_nowhere_and_low_scores_learn() -> None:
    part = build("softpick", "cross")
    scores = torch.tensor(
        [[1e4, 1e4, -1e4, 0.0], [-1e4, -1e4, -1e4, -1e4], [0.0, 0.0, 0.0, 0.0], [2.0, -1.0, 0.0, 1.0]]
    )
    scores.requires_grad_()
    weights = weights_of(part, scores)
    torch.testing.assert_close(weights[:3], torch.tensor([[0.5, 0.5, 0, 0], [0.0] * 4, [0.0] * 4]))
    (gradient,) = torch.autograd.grad(weights[:, 0].sum(), scores)
    assert bool(torch.isfinite(gradient).all())
    assert gradient[3, 1] > 0, "a key without weight takes less from the others as its score rises to 0"


@pytest.mark.parametrize("site", SITES)
def test_a_sink_that_holds_nothing_is_multi_head(site: str) -> None:
    torch.manual_seed(0)
    part, plain = ATTENTION.create("sink", d_model=D, n_heads=H, site=site), MultiHead(D, H, site)
    plain.load_state_dict({k: v for k, v in part.state_dict().items() if k != "sink"})
    x, memory = torch.randn(2, 5, D), torch.randn(2, 5, D) if site == "cross" else None
    context = whole(5, site == "decoder_self")
    bias = plain.output.bias
    started = part(x, memory, context) - bias
    with torch.no_grad():
        part.sink.fill_(-1e4)
    torch.testing.assert_close(part(x, memory, context), plain(x, memory, context))
    assert bool((started.norm(dim=-1) < (plain(x, memory, context) - bias).norm(dim=-1)).any())
    with torch.no_grad():
        part.sink.fill_(1e4)
    torch.testing.assert_close(part(x, memory, context), bias.expand(2, 5, D))


def test_random_scores_make_a_map_that_is_affine_in_the_sentence() -> None:
    torch.manual_seed(0)
    part = build("synthesizer", "encoder_self", variant="random")
    a, b = torch.randn(2, 2, 5, D, dtype=torch.float64)
    context = whole(5, False)
    both = part(a + b, None, context) + part(torch.zeros_like(a), None, context)
    torch.testing.assert_close(part(a, None, context) + part(b, None, context), both)


def test_dense_scores_depend_on_the_query_alone() -> None:
    """Another token acts through its value only, in proportion."""
    torch.manual_seed(0)
    part = build("synthesizer", "encoder_self")
    x, step = torch.randn(1, 5, D, dtype=torch.float64), torch.zeros(1, 5, D, dtype=torch.float64)
    step[0, 3] = torch.randn(D)
    ys = [part(x + n * step, None, whole(5, False))[0] for n in range(3)]
    others = [0, 1, 2, 4]
    torch.testing.assert_close((ys[1] - ys[0])[others], (ys[2] - ys[1])[others])
    assert not torch.allclose((ys[1] - ys[0])[3], (ys[2] - ys[1])[3])


def test_synthesizer_refuses_longer_sentences_and_caches_values_only() -> None:
    part = build("synthesizer", "decoder_self")
    assert part(torch.randn(1, 9, D).double(), None, whole(9, True)).shape == (1, 9, D)
    with pytest.raises(
        ValueError, match=r"attention 'synthesizer' knows 9 positions .* but a sentence has 10; shorten it"
    ):
        part(torch.randn(1, 10, D).double(), None, whole(10, True))
    cache = part.new_cache(2, 4)
    part(torch.randn(2, 3, D).double(), None, whole(3, True), cache)
    assert isinstance(cache, KeyValueCache)
    keys, values = cache.append(torch.zeros(2, H, 1, 0).double(), torch.zeros(2, H, 1, DH).double())
    assert keys.shape == (2, H, 4, 0) and values.shape == (2, H, 4, DH)


def test_tables_are_drawn_to_scale_from_their_streams() -> None:
    def drawn(name: str, **options: Any) -> Any:
        part = ATTENTION.create(
            {"name": name, **options}, d_model=128, n_heads=4, site="encoder_self", is_causal=False, max_length=64
        )
        part.draw(lambda parameter: torch.Generator().manual_seed(len(parameter)))
        return part

    torch.manual_seed(0)
    dense = drawn("synthesizer")
    assert torch.equal(dense.table, drawn("synthesizer").table)
    first = nn.init.xavier_uniform_(torch.empty(128, 128))
    hidden = nn.functional.linear(torch.randn(500, 128), first).relu()
    assert (hidden[:, :32] @ dense.table[:, :32].T).var().item() == pytest.approx(1.0, rel=0.15)
    assert drawn("synthesizer", variant="random").table.var().item() == pytest.approx(1.0, rel=0.05)
    shaw = drawn("shaw", max_distance=40)
    assert shaw.relative_keys.std().item() == pytest.approx(32**-0.5, rel=0.1)
    assert not torch.equal(shaw.relative_keys, shaw.relative_values)


@pytest.mark.parametrize("name", ["shaw", "entmax", "cope", "sink", "synthesizer"])
def test_attention_dropout_acts_in_training_only(name: str) -> None:
    torch.manual_seed(0)
    for options in [{}, {"variant": "random"}] if name == "synthesizer" else [{}]:
        part = build(name, "decoder_self", attention_dropout=0.5, **options).train()
        x, context = torch.randn(2, 5, D, dtype=torch.float64), whole(5, True)
        assert not torch.equal(part(x, None, context), part(x, None, context))
        part.eval()
        assert torch.equal(part(x, None, context), part(x, None, context))


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("shaw", {"max_distance": 0}, "`max_distance` must be at least 1, but is 0"),
        ("cope", {"n_positions": 1}, "`n_positions` must be at least 2, but is 1"),
        ("entmax", {"alpha": 1.7}, r"`alpha` must be 1.5 or 2.0, but is 1.7"),
        ("sparse_topk", {"k": 0}, "`k` must be at least 1, but is 0"),
        ("softpick", {"eps": 0.0}, "`eps` must be positive, but is 0.0"),
        ("synthesizer", {"attention_dropout": 1.0}, r"`attention_dropout` must be in \[0, 1\), but is 1.0"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        build(name, "decoder_self", **options)
