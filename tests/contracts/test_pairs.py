"""Every pair of attention, positions and block stands in a small model that takes a step, or is refused with both names."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from recambio import config, registry, testing
from recambio.components.compatible import acts_by, attention_conflict, is_bounded, stack_conflict
from recambio.errors import InputError
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.registry import ATTENTION, BLOCK, POSITIONS, Node

registry.load_builtins()

STACKS = ("encoder", "decoder")


def node(name: str) -> Node:
    """The part, with what it can't be built without."""
    if name == "chain":
        return {"name": "chain", "schemes": ["rope", "alibi"]}  # which act by all that an attention can refuse
    return (ATTENTION if name in ATTENTION.entries else POSITIONS).example(name)


def standing(kind: Any, *sites: str) -> list[str]:
    """The parts that may stand at one of the sites."""
    return [n for n in kind.names() if not kind.get(n).card.sites or set(sites) & set(kind.get(n).card.sites)]


def triples(stack: str) -> list[tuple[str, str, str]]:
    """(attention, positions, block): each pair of two of them at least once, in about as many triples as the largest product."""
    attentions, blocks = standing(ATTENTION, f"{stack}_self"), standing(BLOCK, stack)
    positions = standing(POSITIONS, stack)
    found = {
        (attention, positions[(i + j) % len(positions)], block)
        for i, attention in enumerate(attentions)
        for j, block in enumerate(blocks)
    }
    covered = {pair for triple in found for pair in itertools.combinations(triple, 2)}
    found |= {(a, p, "pre_norm") for a in attentions for p in positions if (a, p) not in covered}
    found |= {("multi_head", p, b) for p in positions for b in blocks if (p, b) not in covered}
    # What a refusal took from an attention and a block, positions that act on neither make up for.
    found |= {(a, "none", b) for a, p, b in found if attention_conflict(node(a), node(p))}
    return sorted(found)


def model(stack: str, attention: str, positions: str, block: str, cross: str = "multi_head") -> Transformer:
    parts: dict[str, Any] = {"attention": node(attention), "positions": node(positions), "block": block}
    encoder, decoder = (parts if stack == name else {} for name in STACKS)
    return Transformer(
        ModelSpec(
            StackSpec.uniform(1, **encoder),
            StackSpec.uniform(1, **{"cross_attention": node(cross), **decoder}),
            source_vocabulary=11,
            target_vocabulary=11,
            d_model=16,
            n_heads=2,
            d_ff=16,
            dropout=0.1,
            max_length=16,
        )
    )


def step(transformer: Transformer) -> None:
    """One training step and two of decoding, all finite."""
    source, target = torch.randint(3, 11, (2, 6)), torch.randint(3, 11, (2, 5))
    source[1, 4:] = target[1, 3:] = 0
    hidden, auxiliary = transformer(source, target, source != 0, target != 0)
    loss = nn.functional.cross_entropy(transformer.logits(hidden).flatten(0, 1), target.flatten(), ignore_index=0)
    for value, count in auxiliary.values():
        loss = loss + value / count.clamp(min=1)
    loss.backward()
    assert bool(torch.isfinite(loss))
    for name, parameter in transformer.named_parameters():
        assert parameter.grad is None or bool(torch.isfinite(parameter.grad).all()), name
    transformer.eval()
    with torch.inference_mode():
        state = transformer.start(source, source != 0, max_length=4)
        for width in (2, 1):
            assert bool(torch.isfinite(transformer.step(state, target[:, :width])).all())


@pytest.mark.parametrize(
    ("stack", "attention"),
    [(stack, attention) for stack in STACKS for attention in standing(ATTENTION, f"{stack}_self")],
)
def test_each_pair_takes_a_step_or_is_refused(stack: str, attention: str) -> None:
    torch.manual_seed(0)
    for name, positions, block in triples(stack):
        if name != attention:
            continue
        refused = attention_conflict(node(attention), node(positions))
        if refused is None:
            step(model(stack, attention, positions, block))
            continue
        assert repr(attention) in refused and repr(positions) in refused
        with pytest.raises(ValueError, match="which attention"):
            model(stack, attention, positions, block)


@pytest.mark.parametrize("cross", standing(ATTENTION, "cross"))
def test_each_cross_attention_takes_a_step_in_each_block(cross: str) -> None:
    torch.manual_seed(0)
    for block in standing(BLOCK, "decoder"):
        step(model("decoder", "multi_head", "sinusoidal", block, cross))


@pytest.mark.parametrize("stack", STACKS)
def test_most_pairs_build(stack: str) -> None:
    attentions, positions = standing(ATTENTION, f"{stack}_self"), standing(POSITIONS, stack)
    blocks = standing(BLOCK, stack)
    refused = [pair for pair in itertools.product(attentions, positions) if attention_conflict(*map(node, pair))]
    count = len(attentions) * len(positions) + len(attentions) * len(blocks) + len(positions) * len(blocks)
    assert len(refused) <= 0.2 * count, f"{len(refused)} of {count}: {refused}"
    for attention in attentions:  # and each has three schemes at least, by which it can learn order
        assert sum((attention, scheme) not in refused for scheme in positions) >= 3, attention


@pytest.mark.parametrize("stack", STACKS)
def test_a_config_names_both_parts_and_what_would_work(stack: str) -> None:
    for attention, positions in itertools.product(standing(ATTENTION, f"{stack}_self"), standing(POSITIONS, stack)):
        problem = attention_conflict(node(attention), node(positions))
        if problem is None:
            continue
        values = {
            "training": {"max_steps": 1},
            "model": {stack: {"attention": node(attention), "positions": node(positions)}},
        }
        with pytest.raises(InputError) as caught:
            config.from_dict(values, check_hardware=False)
        assert caught.value.problems == [f"model.{stack}.positions: {problem}"]
        works = problem.partition("work positions ")[2].partition(";")[0].split(", ")
        assert "none" in works and positions not in works
        assert not any(attention_conflict(node(attention), w) for w in works)


REFUSING = [
    (name, way)
    for name in standing(ATTENTION, "encoder_self", "decoder_self")
    for way in ("rotations", "bias")
    if not getattr(ATTENTION.get(name).cls, f"takes_{way}")
]


@pytest.mark.usefixtures("restored_registry")
@pytest.mark.parametrize(("name", "way"), REFUSING)
def test_what_a_part_refuses_it_could_not_use(name: str, way: str) -> None:
    """Were it to claim that it takes rotations or a bias, the kit would find that they change nothing, or not what they should."""
    part = ATTENTION.get(name)
    claims = type(part.cls.__name__, (part.cls,), {"takes_rotations": True, "takes_bias": True})
    ATTENTION.register("claims", part.card)(claims)
    check = "positions_used" if way == "rotations" else "bias"
    for site in testing.sites("attention", "claims"):
        if check in testing.check_names("attention", site):
            assert testing.run_one("attention", "claims", site, check).problem


def test_what_a_scheme_acts_by_is_read_off_its_hooks() -> None:
    assert acts_by("none") == frozenset()
    assert acts_by("sinusoidal") == {"embeddings"}
    assert acts_by("rope") == {"rotations"}
    assert acts_by("t5") == {"bias"}
    assert acts_by({"name": "chain", "schemes": ["learned", {"name": "chain", "schemes": ["rope"]}, "alibi"]}) == {
        "embeddings", "rotations", "bias"
    }  # fmt: skip


def test_positions_that_are_for_one_stack_are_refused_in_the_other() -> None:
    (decoder_only,) = [n for n in POSITIONS.names() if POSITIONS.get(n).card.sites == ("decoder",)][:1]
    assert stack_conflict(decoder_only, "decoder") is None
    chained = {"name": "chain", "schemes": ["sinusoidal", decoder_only]}
    for positions in (decoder_only, chained):
        problem = stack_conflict(positions, "encoder")
        assert problem == f"positions {decoder_only!r} can't stand in the encoder, only in the decoder"
        values = {"training": {"max_steps": 1}, "model": {"positions": positions}}
        with pytest.raises(InputError, match="can't stand in the encoder"):
            config.from_dict(values, check_hardware=False)


@pytest.mark.parametrize("stack", STACKS)
def test_a_part_says_whether_it_takes_sentences_of_any_length(stack: str) -> None:
    torch.manual_seed(0)
    pairs = [(attention, "none") for attention in standing(ATTENTION, f"{stack}_self")]
    pairs += [("multi_head", positions) for positions in standing(POSITIONS, stack)]
    source, target = torch.randint(3, 11, (1, 20)), torch.randint(3, 11, (1, 20))
    for attention, positions in pairs:
        transformer = model(stack, attention, positions, "pre_norm").eval()
        if is_bounded(node(attention), node(positions)):
            with pytest.raises(ValueError, match=r"knows 16 positions .* but a sentence has 20"):
                transformer(source, target)
        else:
            transformer(source, target)
    assert is_bounded("multi_head", {"name": "chain", "schemes": ["rope", {"name": "chain", "schemes": ["learned"]}]})
