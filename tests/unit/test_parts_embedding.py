"""Factorised and normalised word vectors against plain arithmetic, and what must survive copying, loading and keeping."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recambio.components.embedding import FactorisedEmbedding, NormalisedEmbedding
from recambio.errors import InputError
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.model.transformer import no_decay_names
from recambio.registry import EMBEDDING, Node
from recambio.training.losses.fused import smoothed_cross_entropy

V, D = 11, 6
TIES = [("none", 3), ("decoder", 2), ("all", 1)]


def make(node: Node, d_model: int = D, vocabulary: int = V, is_joint: bool = True) -> Any:
    return EMBEDDING.create(
        node, d_model=d_model, source_vocabulary=vocabulary, target_vocabulary=vocabulary, is_joint=is_joint
    ).double()


def product(rows: Tensor, columns: Tensor) -> Tensor:
    """The matrix product, number by number."""
    out = torch.zeros(len(rows), columns.shape[1], dtype=torch.float64)
    for i in range(len(rows)):
        for j in range(columns.shape[1]):
            out[i, j] = sum(float(a) * float(b) for a, b in zip(rows[i].tolist(), columns[:, j].tolist(), strict=True))
    return out


# ------------------------------------------------------------------------------------------------ factorised


@pytest.mark.parametrize(("tie", "scale"), [("none", True), ("decoder", False), ("all", True)])
def test_factorised_vectors_and_logits_are_the_products(tie: str, scale: bool) -> None:
    part = make({"name": "factorised", "tie": tie, "inner": 3, "scale": scale, "output_bias": True})
    with torch.no_grad():
        part.tables.projection.bias.normal_()
    factor, tokens = math.sqrt(D) if scale else 1.0, torch.tensor([[4, 0], [10, 4]])
    source = factor * product(part.tables.source.weight, part.source_map)
    target = factor * product(part.tables.target.weight, part.target_map)
    for b in range(2):
        for t in range(2):
            torch.testing.assert_close(part.embed_source(tokens)[b, t], source[tokens[b, t]])
            torch.testing.assert_close(part.embed_target(tokens)[b, t], target[tokens[b, t]])
    matrix = product(part.tables.projection.weight, part.output_map)
    weight, bias = part.output()
    torch.testing.assert_close(weight, matrix)
    x = torch.randn(2, 3, D, dtype=torch.float64)
    expected = product(x.flatten(0, 1), matrix.T).view(2, 3, V) + bias
    torch.testing.assert_close(part.project(x), expected)


@pytest.mark.parametrize(("tie", "count"), TIES)
def test_factorised_tables_and_maps_are_tied_together_for_good(tie: str, count: int) -> None:
    part = make({"name": "factorised", "tie": tie, "inner": 3})

    def shared(part: FactorisedEmbedding) -> tuple[int, int]:
        tables = part.tables.source.weight, part.tables.target.weight, part.tables.output()[0]
        maps = part.source_map, part.target_map, part.output_map
        return len({id(p) for p in tables}), len({id(p) for p in maps})

    assert shared(part) == (count, count)
    assert sum(p.numel() for p in part.parameters()) == count * 3 * (V + D)
    assert shared(copy.deepcopy(part)) == (count, count)
    assert shared(part.to(torch.float32)) == (count, count)
    state = {k: v.clone() for k, v in part.state_dict().items()}
    part.load_state_dict(state, assign=True)
    assert shared(part) == (count, count)
    holder = nn.ModuleDict({"embedding": part})
    holder.load_state_dict({f"embedding.{k}": v for k, v in state.items()}, assign=True)
    assert shared(part) == (count, count)
    before = part.output()[0].detach().clone()
    optimizer = torch.optim.SGD(part.parameters(), 1.0)
    part.embed_target(torch.tensor([[3]])).sum().backward()
    optimizer.step()
    assert torch.equal(part.output()[0], before) == (tie == "none")


def test_factorised_gradients_flow_through_the_product_that_losses_take() -> None:
    part = make({"name": "factorised", "inner": 3, "tie": "none"})
    hidden, targets = torch.randn(5, D, dtype=torch.float64), torch.randint(V, (5,))
    weight, bias = part.output()
    loss, _ = smoothed_cross_entropy(hidden, weight, bias, targets)
    loss.backward()
    handed = part.tables.projection.weight.grad, part.output_map.grad
    part.zero_grad()
    nn.functional.cross_entropy(part.project(hidden), targets, reduction="sum").backward()
    for mine, grad in zip(handed, (part.tables.projection.weight.grad, part.output_map.grad), strict=True):
        torch.testing.assert_close(mine, grad)


def test_a_factorised_model_starts_with_vectors_and_logits_of_unit_variance() -> None:
    spec = ModelSpec(
        StackSpec.uniform(1),
        StackSpec.uniform(1, cross_attention="multi_head"),
        source_vocabulary=300,
        target_vocabulary=300,
        d_model=128,
        n_heads=4,
        embedding={"name": "factorised", "inner": 32, "tie": "none"},
    )
    embedding: Any = Transformer(spec).embedding
    tokens = torch.arange(300)[None]
    for x in (embedding.embed_source(tokens), embedding.embed_target(tokens)):
        assert x.std().item() == pytest.approx(1.0, rel=0.05)
    assert embedding.project(torch.randn(200, 128)).std().item() == pytest.approx(1.0, rel=0.05)
    maps = embedding.source_map, embedding.target_map, embedding.output_map
    assert not torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[1], maps[2])
    assert torch.equal(maps[0], Transformer(spec).embedding.source_map)  # type: ignore[arg-type]


def test_factorised_logits_have_no_higher_rank_than_the_word_vectors() -> None:
    logits = make({"name": "factorised", "inner": 2}).project(torch.randn(40, D, dtype=torch.float64))
    assert int(torch.linalg.matrix_rank(logits)) == 2


def test_a_factorised_stream_begins_in_float32_under_autocast() -> None:
    part = make({"name": "factorised", "inner": 3}).float()
    with torch.autocast("cpu", torch.bfloat16):
        x, (weight, _) = part.embed_source(torch.tensor([[1, 2]])), part.output()
    assert x.dtype == weight.dtype == torch.float32
    torch.testing.assert_close(x, part.embed_source(torch.tensor([[1, 2]])), rtol=0, atol=0)


def test_factorised_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="`inner` must be at least 1, but is 0"):
        make({"name": "factorised", "inner": 0})
    with pytest.raises(ValueError, match=r"`tie` 'all' needs a joint tokenizer.*tie: decoder"):
        make("factorised", is_joint=False)
    with pytest.raises(InputError, match="tie: must be one of"):
        make({"name": "factorised", "tie": "encoder"})
    two = FactorisedEmbedding(4, 5, 9, is_joint=False, inner=2, tie="decoder")
    assert two.embed_source(torch.tensor([[4]])).shape == (1, 1, 4)
    assert two.project(two.embed_target(torch.tensor([[8]]))).shape == (1, 1, 9)


# ------------------------------------------------------------------------------------------------ normalised


def unit(row: list[float], length: float) -> list[float]:
    norm = math.sqrt(sum(v * v for v in row))
    return [length * v / norm for v in row]


@pytest.mark.parametrize(("tie", "scale"), [("none", True), ("decoder", False), ("all", True)])
def test_normalised_vectors_and_logits_are_the_formula(tie: str, scale: bool) -> None:
    part = make({"name": "normalised", "tie": tie, "scale": scale, "output_bias": True})
    with torch.no_grad():
        for table in {part.source.weight, part.target.weight, part.projection.weight}:
            table.mul_(torch.rand(V, 1) * 9 + 0.1)
        part.gain.fill_(2.5)
        part.projection.bias.normal_()
    tokens = torch.tensor([[4, 0], [10, 4]])
    length = math.sqrt(D) if scale else 1.0
    for embed, table in ((part.embed_source, part.source.weight), (part.embed_target, part.target.weight)):
        for b in range(2):
            for t in range(2):
                expected = unit(table[tokens[b, t]].tolist(), length)
                assert embed(tokens)[b, t].tolist() == pytest.approx(expected, rel=1e-12)
    x = torch.randn(3, D, dtype=torch.float64)
    matrix = torch.tensor([unit(row, 2.5) for row in part.projection.weight.tolist()], dtype=torch.float64)
    torch.testing.assert_close(part.output()[0], matrix)
    torch.testing.assert_close(part.project(x), product(x, matrix.T) + part.projection.bias)


@settings(max_examples=20)
@given(token=st.integers(0, V - 1), factor=st.floats(1e-4, 1e4))
def test_the_length_of_a_row_changes_nothing(token: int, factor: float) -> None:
    part = make("fixnorm")
    tokens, x = torch.arange(V)[None], torch.randn(3, D, dtype=torch.float64)
    before = part.embed_source(tokens), part.project(x)
    with torch.no_grad():
        part.source.weight[token] *= factor
    for mine, theirs in zip((part.embed_source(tokens), part.project(x)), before, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_fixnorm_has_no_gain_and_scores_by_the_angle() -> None:
    part = make("fixnorm")
    assert isinstance(part, NormalisedEmbedding)
    assert part.gain is None
    assert [name for name, _ in part.named_parameters()] == ["source.weight"]
    x = torch.randn(4, D, dtype=torch.float64)
    logits = part.project(x / x.norm(dim=-1, keepdim=True))
    cosine = nn.functional.cosine_similarity(x[:, None], part.source.weight[None], dim=-1)
    torch.testing.assert_close(logits, cosine)


def test_gradients_flow_through_the_normalisation() -> None:
    part = make({"name": "normalised", "tie": "all"})
    tokens, x = torch.tensor([[3, 7, 3]]), torch.randn(2, D, dtype=torch.float64)

    def apply(weight: Tensor, gain: Tensor) -> Tensor:
        new = {k: weight for k in ("source.weight", "target.weight", "projection.weight")}
        called = torch.func.functional_call
        vectors = called(_Embedded(part), {f"part.{k}": v for k, v in new.items()}, (tokens,))
        logits = called(_Projected(part), {f"part.{k}": v for k, v in {**new, "gain": gain}.items()}, (x,))
        return torch.cat([vectors.flatten(), logits.flatten()])

    assert torch.autograd.gradcheck(apply, (part.source.weight, part.gain))
    part.project(x).square().sum().backward()
    along = (part.source.weight.grad * part.source.weight).sum(-1)  # a longer row scores the same
    torch.testing.assert_close(along, torch.zeros_like(along), rtol=0, atol=1e-12)


class _Embedded(nn.Module):
    def __init__(self, part: NormalisedEmbedding) -> None:
        super().__init__()
        self.part = part

    def forward(self, tokens: Tensor) -> Tensor:
        return self.part.embed_source(tokens)


class _Projected(_Embedded):
    def forward(self, x: Tensor) -> Tensor:
        return self.part.project(x)


def test_the_tables_of_normalised_vectors_are_not_decayed() -> None:
    for tie, _ in TIES:
        part = make({"name": "normalised", "tie": tie, "output_bias": True})
        assert no_decay_names(part) == {name for name, _ in part.named_parameters()}


def test_a_row_of_zeros_stays_finite() -> None:
    part = make("normalised")
    with torch.no_grad():
        part.source.weight[2].zero_()
    (
        part.embed_source(torch.tensor([[2]])).sum() + part.project(torch.ones(1, D, dtype=torch.float64)).sum()
    ).backward()
    assert bool(torch.isfinite(part.source.weight.grad).all())


# ------------------------------------------------------------------------------------------------ what is kept


def expected_rows(part: NormalisedEmbedding) -> Tensor:
    weight = part.projection.weight.detach()
    gain = 1.0 if part.gain is None else part.gain.detach()
    return gain * weight / weight.norm(dim=-1, keepdim=True)


def rows(part: NormalisedEmbedding) -> Tensor:
    with torch.no_grad():
        return part.output()[0]


def test_the_matrix_is_kept_between_decoding_steps() -> None:
    part = make("normalised").eval()
    with torch.inference_mode():
        first = part.output()[0]
        assert part.output()[0] is first
    assert rows(part) is first
    assert part.output()[0] is not first  # with gradients
    assert part.output()[0].requires_grad
    part.train()
    assert rows(part) is not rows(part)


def halve(part: NormalisedEmbedding) -> None:
    with torch.no_grad():
        part.projection.weight[:, ::2] *= 0.5


def retrain(part: NormalisedEmbedding) -> None:
    optimizer = torch.optim.AdamW(part.parameters(), lr=0.1, fused=True)
    part.project(torch.ones(1, D, dtype=part.projection.weight.dtype)).square().sum().backward()
    optimizer.step()


def retune(part: NormalisedEmbedding) -> None:
    assert part.gain is not None
    with torch.no_grad():
        part.gain.fill_(3.0)


def load(part: NormalisedEmbedding, assign: bool = False) -> None:
    state = {k: torch.randn_like(v) for k, v in part.state_dict().items()}
    part.load_state_dict({**state, **{k: state["source.weight"] for k in state if "weight" in k}}, assign=assign)


def round_trip(part: NormalisedEmbedding) -> None:
    part.bfloat16().double()


def replace(part: NormalisedEmbedding) -> None:
    part.projection.weight = nn.Parameter(torch.randn_like(part.projection.weight))


@pytest.mark.parametrize(
    "change",
    [halve, retrain, retune, load, lambda part: load(part, assign=True), round_trip, replace],
    ids=["in place", "fused optimizer", "gain", "load", "load assigned", "dtypes", "replaced"],
)
def test_what_is_kept_follows_the_weights(change: Callable[[NormalisedEmbedding], None]) -> None:
    part = make("normalised").eval()
    before = rows(part).clone()
    change(part)
    assert not torch.equal(rows(part), before)
    torch.testing.assert_close(rows(part), expected_rows(part))


def stored(part: NormalisedEmbedding) -> NormalisedEmbedding:
    file = io.BytesIO()
    torch.save(part, file)
    file.seek(0)
    twin = torch.load(file, weights_only=False)
    assert isinstance(twin, NormalisedEmbedding)
    return twin


@pytest.mark.parametrize("copied", [copy.deepcopy, stored])
def test_copies_keep_nothing_of_the_original(copied: Callable[[NormalisedEmbedding], NormalisedEmbedding]) -> None:
    """As many changes in place as the original had seen: the counts agree, the weights don't."""
    part = make("fixnorm").eval()
    for _ in range(5):
        halve(part)
    rows(part)
    twin = copied(part)
    while twin.projection.weight._version < part.projection.weight._version:
        with torch.no_grad():
            twin.projection.weight[:, 0].mul_(-0.5)
    assert twin.projection.weight._version == part.projection.weight._version
    torch.testing.assert_close(rows(twin), expected_rows(twin))
    torch.testing.assert_close(rows(part), expected_rows(part))
    assert list(part.state_dict()) == ["source.weight", "target.weight", "projection.weight"]


def test_weights_made_for_inference_are_never_kept() -> None:
    with torch.inference_mode():
        part = make("normalised").eval()
        part.output()
        part.projection.weight[0].mul_(-1.0)
        torch.testing.assert_close(part.output()[0], expected_rows(part))
