"""The check that a part learns: a small task in which every site of the Transformer is needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.model.transformer import no_decay_names
from recambio.registry import Node
from recambio.testing.kit import IN_STACK, applies_to, name_of
from recambio.testing.rig import N_HEADS

STEPS, REACHED = 300, 0.9
"""Optimiser steps, and the token accuracy that a part must reach in them."""

MORE_STEPS, MORE_REACHED = 600, 0.98
"""The same for a part that begins as the identity (`rezero`, `layer_scale`) and spends the first steps on leaving it. What is broken gets
further with more steps as well, but not so far."""

_EVERY = 25
"""Steps between two looks at the accuracy."""

CONTROL = 0.8
"""What an encoder without positions must not reach."""

_SYMBOLS, _LONGEST, _FIRST = 8, 6, 5
"""Symbols of the source, longest sentence, first symbol's id: below are PAD 0, SOS 1, EOS 2 and the two genders 3 and 4."""


def batch(n_rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sentences of the task: copy the symbols in reverse order, each in the form that agrees with the gender named first.

    Returns:
        Source (n, 7) and target (n, 8) from SOS on, right-padded with 0.
    """
    lengths = torch.randint(3, _LONGEST + 1, (n_rows, 1), generator=generator)
    gender = torch.randint(0, 2, (n_rows, 1), generator=generator)
    symbols = torch.randint(0, _SYMBOLS, (n_rows, _LONGEST), generator=generator) + _FIRST
    index = torch.arange(_LONGEST)[None]
    real = index < lengths
    source = torch.cat([3 + gender, symbols * real], dim=1)
    reverse = symbols.gather(1, (lengths - 1 - index).clamp(min=0)) + _SYMBOLS * gender
    target = torch.cat([torch.ones_like(gender), reverse * real, torch.zeros_like(gender)], dim=1)
    return source, target.scatter(1, lengths + 1, 2)


def accuracy(model: Transformer, n_rows: int = 512) -> float:
    """Share of target tokens of new sentences that the model, given those before, finds most probable."""
    source, target = batch(n_rows, torch.Generator().manual_seed(9))
    with torch.no_grad():
        hidden, _ = model(source, target[:, :-1], source != 0, target[:, :-1] != 0)
        best = model.logits(hidden).argmax(-1)
    real = target[:, 1:] != 0
    return float((best == target[:, 1:])[real].float().mean())


def trained(spec: ModelSpec, steps: int = STEPS, enough: float | None = None) -> Transformer:
    """A small model after so many steps of AdamW on the task, auxiliary losses included.

    Args:
        spec: Its parts.
        steps: The rate of learning falls until then.
        enough: Accuracy with which training ends; it is asked for every :data:`_EVERY` steps.
    """
    model, peak = Transformer(spec), 3e-3

    def run() -> None:
        source, target = batch(64, torch.Generator().manual_seed(0))
        model(source, target[:, :-1], source != 0, target[:, :-1] != 0)

    model.calibrate(run)
    plain = no_decay_names(model)
    groups = [
        {"params": [p for n, p in model.named_parameters() if n not in plain], "weight_decay": 0.01},
        {"params": [p for n, p in model.named_parameters() if n in plain], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(1)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, step / 30) * (1 - step / (steps + 1)) ** 0.5
        source, target = batch(64, generator)
        hidden, auxiliary = model(source, target[:, :-1], source != 0, target[:, :-1] != 0)
        loss = nn.functional.cross_entropy(model.logits(hidden).flatten(0, 1), target[:, 1:].flatten(), ignore_index=0)
        for value, count in auxiliary.values():
            loss = loss + value / count.clamp(min=1)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if enough is not None and step % _EVERY == 0:
            if accuracy(model.eval()) >= enough:
                break
            model.train()
    return model.eval()


def spec_with(kind: str, node: Node, site: str) -> ModelSpec:
    """A small model of plain parts with this one at its site."""
    encoder: dict[str, Any] = {}
    decoder: dict[str, Any] = {"cross_attention": "multi_head"}
    stacks = {"encoder": encoder, "decoder": decoder}
    if site == "cross":
        decoder["cross_attention"] = node
    elif kind in ("normalization", "activation"):
        encoder[kind] = decoder[kind] = node
    elif kind != "embedding":
        stacks[site.partition("_")[0]][kind] = node
    vocabulary = _FIRST + 2 * _SYMBOLS
    return ModelSpec(
        StackSpec.uniform(2, **encoder),
        StackSpec.uniform(2, **decoder),
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
        d_model=32,
        n_heads=N_HEADS,
        d_ff=64,
        dropout=0.0,
        embedding=node if kind == "embedding" else "standard",
        max_length=_LONGEST + 2,
    )


@applies_to(*IN_STACK, "embedding", slow=True)
def learns(kind: str, node: Node, site: str) -> None:
    """A small model with the part learns to copy in reverse with agreement: 90 % of new tokens within 300 steps, or 98 % within 600."""
    spec = spec_with(kind, node, site)
    torch.default_generator.manual_seed(0)
    if kind == "positions" and name_of(node) == "none" and site == "encoder":
        score = accuracy(trained(spec))
        assert score < CONTROL, f"without positions in the encoder {score:.1%} of the tokens are right: order leaks in"
        return
    score = accuracy(trained(spec, enough=REACHED))
    if score >= REACHED:
        return
    torch.default_generator.manual_seed(0)
    late = accuracy(trained(spec, MORE_STEPS, enough=MORE_REACHED))
    assert late >= MORE_REACHED, (
        f"{score:.1%} of the tokens are right after {STEPS} steps and {late:.1%} after {MORE_STEPS}, fewer than {REACHED:.0%} and "
        f"{MORE_REACHED:.0%}"
    )
