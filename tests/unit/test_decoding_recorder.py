"""Steps that are recorded and replayed: the same numbers as the plain ones, whatever the parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_decoding_prepared import EOS, PAD, SOS, V
from test_decoding_prepared import model_with as small_model
from torch import Tensor, nn
from torch.testing import assert_close

from recambio import registry
from recambio.components import packed
from recambio.components.attention import KeyValueCache, MultiHead
from recambio.components.context import Cache
from recambio.components.packed import WeightPrecision, int8_problem
from recambio.components.tracing import is_traced
from recambio.decoding import ModelScorer, generate
from recambio.decoding import recorder as recorder_module
from recambio.model import DecoderState, Transformer
from recambio.model.prepare import prepared
from recambio.model.recording import record
from recambio.registry import (
    ACTIVATION,
    ATTENTION,
    BLOCK,
    EMBEDDING,
    FEED_FORWARD,
    NORMALIZATION,
    POSITIONS,
    SEARCH,
    Registry,
)

registry.load_builtins()
CHOOSES_TOKENS = {"mixture_of_experts"}
"""Parts whose work depends on the values, so that no step with them can be recorded."""


@pytest.fixture(autouse=True)
def few_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MULTIPLE", 16)


def model_with(**parts: Any) -> Transformer:
    """In float64, where a fault can't hide behind rounding."""
    return small_model(**parts).double()


def scorer(model: Transformer, is_recorded: bool, uses: int = 0) -> ModelScorer:
    made = ModelScorer(model, sos_id=SOS, eos_id=EOS, pad_id=PAD, is_recorded=is_recorded)
    if made.recorder is not None:
        made.recorder.uses = uses
    return made


def source(length: int) -> list[int]:
    return [*torch.randint(4, V, (length,), generator=torch.Generator().manual_seed(length)).tolist(), EOS]


@torch.inference_mode()
def side_by_side(one: ModelScorer) -> list[Tensor]:
    """Log-probabilities of steps after rows of different lengths have come together; the first fills the caches."""
    tokens = torch.randint(4, V, (20, 3), generator=torch.Generator().manual_seed(1))
    recorder, one.recorder = one.recorder, None
    early, late = one.start([source(5)], 20), one.start([source(3), source(7)], 20)
    for t in range(3):
        one.step(early, tokens[t, :1])
    one.step(late, tokens[0, :2])
    state = one.join(early, late)
    one.recorder = recorder
    found = [one.step(state, tokens[t]) for t in range(3, 6)]
    state = one.select(state, torch.tensor([0, 2, 2]))
    return [*found, *(one.step(state, tokens[t]) for t in range(6, 9))]


def agree(model: Transformer, tolerance: float = 1e-9) -> ModelScorer:
    plain, recorded = scorer(model, False), scorer(model, True)
    for x, y in zip(side_by_side(recorded), side_by_side(plain), strict=True):
        assert_close(x, y, rtol=tolerance, atol=tolerance)
    return recorded


def recordings(one: ModelScorer) -> int:
    assert one.recorder is not None
    return len(one.recorder._recordings)


@pytest.mark.parametrize("name", ATTENTION.names())
def test_every_attention_is_recorded_and_replays_the_plain_step(name: str) -> None:
    part = ATTENTION.get(name)
    node = ATTENTION.example(name)
    sites = part.card.sites or ("decoder_self", "cross")
    parts = {"decoder": "decoder_self" in sites and node, "cross_attention": "cross" in sites and node}
    parts = {kind: node for kind, node in parts.items() if node}
    if not parts:
        pytest.skip("not for decoders")
    one = agree(model_with(**parts, positions="none"))
    assert one.recorder is not None and one.recorder.problem is None
    assert recordings(one) == 1


@pytest.mark.parametrize("name", POSITIONS.names())
def test_every_scheme_of_positions_is_recorded_and_replays_the_plain_step(name: str) -> None:
    one = agree(model_with(positions=POSITIONS.example(name)))
    assert one.recorder is not None and one.recorder.problem is None
    assert recordings(one) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "of_kind"),
    [
        ("block", BLOCK),
        ("normalization", NORMALIZATION),
        ("activation", ACTIVATION),
        ("feed_forward", FEED_FORWARD),
        ("embedding", EMBEDDING),
    ],
)
def test_every_other_part_is_recorded_and_replays_the_plain_step(kind: str, of_kind: Registry[Any]) -> None:
    for name in of_kind.names():
        one = agree(model_with(**{kind: of_kind.example(name)}))
        assert one.recorder is not None and (one.recorder.problem is None) == (name not in CHOOSES_TOKENS), name


@pytest.mark.parametrize(("precision", "few_rows"), [("32", 4), ("32", 0), ("bf16", 4), ("int8", 4)])
def test_prepared_models_replay_what_they_step(
    precision: WeightPrecision, few_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever product is under the linear maps: of one row, of few and of more."""
    if precision == "int8" and (problem := int8_problem(torch.device("cpu"))):
        pytest.skip(problem)
    monkeypatch.setattr(packed, "_LEAST_PACKED", 0)
    monkeypatch.setattr(packed, "_FEW_ROWS", few_rows)
    model = prepared(small_model(), precision)
    agree(model, 1e-4)
    search = SEARCH.create("greedy")
    both = scorer(model, False), scorer(model, True)
    found = [generate(one, search, [source(6)], batch_tokens=1)[0][0].tokens for one in both]
    assert found[0] == found[1]
    assert recordings(both[1]) > 0


@pytest.mark.parametrize("width", [1, 3])
def test_a_search_finds_the_same_and_rows_that_leave_are_no_trouble(width: int) -> None:
    model = model_with(positions="rope")
    search = SEARCH.create("greedy" if width == 1 else {"name": "beam", "width": width})
    sources = [source(n) for n in (1, 9, 4, 12, 7, 2, 5)]
    recorded = scorer(model, True, uses=1)
    found = [generate(one, search, sources, batch_tokens=60) for one in (scorer(model, False), recorded)]
    assert [[h.tokens for h in row] for row in found[0]] == [[h.tokens for h in row] for row in found[1]]
    assert recordings(recorded) > 0


class ByLength(MultiHead):
    """Multiplies by the number of keys, which in a recorded step isn't the number of tokens."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, context: Any) -> Tensor:
        return super().mix(q, k, v, context) * k.shape[2]


class ByValue(MultiHead):
    """Asks for a value."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, context: Any) -> Tensor:
        return super().mix(q, k, v, context) * (2.0 if float(q.sum()) > 0 else 1.0)


class Remembers(MultiHead):
    """Keeps what it has computed."""

    def mix(self, q: Tensor, k: Tensor, v: Tensor, context: Any) -> Tensor:
        self.last = super().mix(q, k, v, context)
        self.all = {**getattr(self, "all", {}), len(q): self.last}
        return self.last


class OwnCache(KeyValueCache):
    """Counts what it is given."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.appended = getattr(self, "appended", 0) + 1
        return super().append(k * self.appended, v)

    def join(self, other: Cache) -> KeyValueCache:
        joined = super().join(other)
        joined.__class__ = OwnCache
        return joined


class Counts(MultiHead):
    """With a cache of its own."""

    def new_cache(self, rows: int, max_length: int, memory: Tensor | None = None) -> Cache:
        return OwnCache(rows, max_length)


def with_class(cls: type[MultiHead]) -> Transformer:
    model = model_with(positions="none")
    for layer in model.decoder.layers:
        layer.self_attention.__class__ = cls
    return model


@pytest.mark.parametrize(
    ("cls", "problem"), [(ByLength, "other numbers"), (ByValue, "Data"), (Remembers, None), (Counts, None)]
)
def test_a_part_that_cannot_be_recorded_is_stepped_plainly(cls: type[MultiHead], problem: str | None) -> None:
    model = with_class(cls)
    one = agree(model)
    assert one.recorder is not None
    assert problem is None if one.recorder.problem is None else problem is not None and problem in one.recorder.problem
    assert recordings(one) == (1 if cls is Remembers else 0)
    for part in model.modules():  # nothing without values is left behind
        held = [*vars(part).values(), *getattr(part, "all", {}).values()]
        assert all(type(x) in (Tensor, nn.Parameter) for x in held if isinstance(x, Tensor))


def test_nothing_is_recorded_of_many_rows_or_with_gradients_or_of_rare_shapes() -> None:
    model = model_with(positions="none")
    one = scorer(model, True)
    side_by_side_of_nine = one.start([source(4)] * 9, 9)
    with torch.inference_mode():
        for _ in range(3):
            one.step(side_by_side_of_nine, torch.full((9,), 5))
    state = one.start([source(4)], 9)
    for _ in range(3):
        one.step(state, torch.full((1,), 5))
    rarely = scorer(model, True, uses=3)
    with torch.inference_mode():
        state = rarely.start([source(4)], 40)
        counts = []
        for _ in range(20):
            rarely.step(state, torch.full((1,), 5))
            counts.append(recordings(rarely))
    assert recordings(one) == 0
    # Slots for 16 tokens, and then for 32: the first recording is worth four times as many steps.
    assert counts == [0] * 12 + [1] * 7 + [2]


def test_a_recording_reads_its_inputs_and_writes_to_them() -> None:
    weight = torch.randn(4, 4)
    asked = []

    def function(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        asked.append(is_traced())
        y.index_copy_(0, torch.arange(1), (x @ weight).relu()[None])
        zeros = torch.zeros(2, 4)
        zeros[1] += y[0]  # what is made within and written to is made anew at each call
        return zeros.view(4, 2).t(), torch.zeros(2, 4), torch.arange(3)

    run = record(function, [torch.zeros(4), torch.zeros(2, 4)], nn.Linear(1, 1))
    for _ in range(2):
        x, y, z = torch.randn(4), torch.ones(2, 4), torch.ones(2, 4)
        for found, expected in zip(run(x, y), function(x, z), strict=True):
            assert torch.equal(found, expected)
        assert torch.equal(y, z)
    assert asked == [True, False, False]


@pytest.mark.parametrize("option", ["dropout", "draw", "value"])
def test_chance_and_values_are_refused(option: str) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        if option == "dropout":
            return (nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5),)
        return (x + torch.rand(4),) if option == "draw" else (x * x.sum().item(),)

    with pytest.raises(Exception, match="random" if option != "value" else "."):
        record(function, [torch.zeros(1, 1, 4, 4)], nn.Linear(1, 1))


def test_states_are_taken_up_wherever_recorded_and_plain_steps_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded state goes on plainly with several tokens at a time, and back; the ninth token needs other slots than the eighth."""
    monkeypatch.setattr(recorder_module, "MULTIPLE", 8)
    model = model_with(positions="rope")
    tokens = torch.randint(4, V, (2, 12), generator=torch.Generator().manual_seed(3))
    one = scorer(model, True)
    with torch.inference_mode():
        state: DecoderState = one.start([source(5), source(3)], 4)
        found = []
        for t in (0, 1, 2):
            found.append(one.step(state, tokens[:, t]))
        hidden = model.step(state, tokens[:, 3:6])
        for t in range(6, 12):
            found.append(one.step(state, tokens[:, t]))
        memory, _ = model.encode(*padded())
        whole, _ = model.decode(tokens, memory, padded()[1])
        scores = torch.log_softmax(model.logits(whole).float().index_fill(-1, one.never, -torch.inf), -1)
    assert_close(hidden, whole[:, 3:6])
    for t, x in zip((0, 1, 2, *range(6, 12)), found, strict=True):
        assert_close(x, scores[:, t], rtol=1e-6, atol=1e-6)
    assert recordings(one) == 2


def padded() -> tuple[Tensor, Tensor]:
    tokens = torch.tensor([source(5), [*source(3), PAD, PAD]])
    return tokens, tokens != PAD
