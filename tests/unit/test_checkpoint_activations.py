"""Layers computed again in the backward pass: the same gradients, the same random numbers, less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from recambio import registry
from recambio.components.positions.base import PositionalEncoding
from recambio.model import ModelSpec, StackSpec, Transformer

registry.load_builtins()

V, N_LAYERS = 19, 2


def model(dropout: float = 0.2, n_layers: int = N_LAYERS, **parts: Any) -> Transformer:
    cross = parts.pop("cross_attention", "multi_head")
    own = parts.pop("decoder", {})
    stack = StackSpec.uniform(n_layers, **parts)
    decoder = StackSpec.uniform(n_layers, cross_attention=cross, **{**parts, **own})
    spec = ModelSpec(stack, decoder, V, V, d_model=16, n_heads=2, d_ff=24, dropout=dropout, max_length=16)
    return Transformer(spec).double()


def gradients(made: Transformer, is_checkpointed: bool) -> tuple[Tensor, dict[str, Tensor | None], Tensor]:
    """Of a padded batch: the hidden vectors, every gradient, and what the generator draws next."""
    made.encoder.is_checkpointed = made.decoder.is_checkpointed = is_checkpointed
    made.zero_grad()
    torch.manual_seed(5)
    g = torch.Generator().manual_seed(1)
    source, target = torch.randint(4, V, (3, 7), generator=g), torch.randint(4, V, (3, 6), generator=g)
    real = torch.arange(7) < torch.tensor([7, 4, 2])[:, None]
    hidden, auxiliary = made(source, target, real, torch.arange(6) < torch.tensor([3, 6, 5])[:, None])
    loss = hidden.sin().sum() + sum(value for value, _ in auxiliary.values())
    torch.manual_seed(99)  # the backward pass must not depend on where the generator stands
    loss.backward()
    after = torch.rand(3)
    return hidden.detach(), {n: p.grad for n, p in made.named_parameters()}, after


def same(made: Transformer) -> None:
    plain, checkpointed = gradients(made, False), gradients(made, True)
    assert torch.equal(plain[0], checkpointed[0])
    assert torch.equal(plain[2], checkpointed[2]), "recomputing must not move the generator"
    for name, gradient in plain[1].items():
        assert_close(checkpointed[1][name], gradient, rtol=1e-12, atol=1e-12, msg=lambda m, name=name: f"{name}: {m}")
    assert any(g is not None and g.abs().max() > 0 for g in plain[1].values())


def registered(kind: str) -> list[str]:
    return sorted(registry.REGISTRIES[kind].entries)


@pytest.mark.parametrize("name", registered("block"))
def test_blocks(name: str) -> None:
    same(model(block=name))


@pytest.mark.parametrize("name", registered("feed_forward"))
def test_feed_forwards(name: str) -> None:
    same(model(feed_forward=name))


@pytest.mark.parametrize("name", [n for n in registered("positions") if n != "chain"])
def test_positions(name: str) -> None:
    try:
        made = model(positions=name)
    except ValueError:  # the encoder has no place for it
        made = model(positions="none", decoder={"positions": name})
    same(made)


OPTIONS: dict[str, dict[str, Any]] = {"grouped_query": {"n_groups": 1}, "linformer": {"projected_length": 4}}


@pytest.mark.parametrize("name", registered("attention"))
def test_attentions(name: str) -> None:
    """At every site where the part may stand."""
    node = {"name": name, **OPTIONS.get(name, {})}
    sites = registry.ATTENTION.get(name).card.sites or ("encoder_self", "decoder_self", "cross")
    parts: dict[str, Any] = {"positions": "none"}
    if "encoder_self" in sites:
        parts["attention"] = node
    parts["decoder"] = {"attention": node if "decoder_self" in sites else "multi_head"}
    if "cross" in sites:
        parts["cross_attention"] = node
    same(model(**parts))


def test_without_gradients_and_in_evaluation_nothing_is_computed_twice() -> None:
    made, calls = model(), 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    made.encoder.layers[0].register_forward_pre_hook(count)
    made.encoder.is_checkpointed = made.decoder.is_checkpointed = True
    tokens = torch.randint(4, V, (2, 5))
    with torch.no_grad():
        made(tokens, tokens)
    assert calls == 1
    hidden, _ = made(tokens, tokens)
    hidden.sum().backward()
    assert calls == 3
    made.eval()
    state = made.start(tokens)
    assert made.step(state, tokens[:, :1]).shape == (2, 1, 16)


def kept_bytes(made: Transformer, is_checkpointed: bool) -> int:
    """What the graph of a forward pass holds on to."""
    made.encoder.is_checkpointed = made.decoder.is_checkpointed = is_checkpointed
    held: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    tokens = torch.randint(4, V, (8, 16))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        hidden, _ = made(tokens, tokens)
    parameters = {p.untyped_storage().data_ptr() for p in made.parameters()}
    assert hidden.requires_grad
    return sum(n for pointer, n in held.items() if pointer not in parameters)


def test_a_layer_costs_the_memory_of_its_input() -> None:
    few, many = model(n_layers=2), model(n_layers=6)
    grows = [kept_bytes(many, c) - kept_bytes(few, c) for c in (False, True)]
    assert grows[1] < grows[0] / 8


def test_a_state_that_changed_between_the_passes_is_noticed() -> None:
    """Torch compares what both passes keep: a part that computes something else the second time is no silent error."""

    class Fickle(PositionalEncoding):
        calls = 0

        def rotate_queries(self, q: Tensor, positions: Tensor) -> Tensor:
            self.calls += 1
            return q if self.calls % 2 else torch.cat([q.sin(), q.cos()], -1)[..., : q.shape[-1]]

    made = model(n_layers=1)
    made.encoder.positions = Fickle()
    made.encoder.is_checkpointed = True
    tokens = torch.randint(4, V, (2, 5))
    hidden, _ = made(tokens, tokens)
    with pytest.raises(torch.utils.checkpoint.CheckpointError):
        hidden.sum().backward()


@pytest.mark.slow
def test_compiled_layers_drop_the_same_elements_again() -> None:
    """Compiled dropout draws its numbers otherwise than the eager one; each replays its own."""
    made = model(dropout=0.3, n_layers=1)
    for layer in [*made.encoder.layers, *made.decoder.layers]:
        layer.compile(dynamic=True)
    same(made)
