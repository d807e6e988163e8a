"""Checks of decoding with caches: whatever is fed in whatever pieces, the full pass is the truth."""

from __future__ import annotations

import torch

from recambio.registry import Node
from recambio.testing.kit import IN_DECODER, IN_STACK, applies_to, same
from recambio.testing.rig import build, inputs_of, poisoned_storage


@applies_to(*IN_STACK, where=IN_DECODER)
def cached(kind: str, node: Node, site: str) -> None:
    """Decoding with a cache, 1 or 3 tokens at a time or all at once, equals the full pass."""
    rig = build(kind, node, site)
    x, _, memory, memory_tokens = inputs_of(rig, length=9)
    memory_tokens[1, 3:] = False
    with torch.inference_mode(), poisoned_storage():
        full = rig(x, None, memory, memory_tokens)
        for chunk in (1, 3, 9):
            decoding = rig.start(memory, memory_tokens)
            y = torch.cat([rig.step(part, decoding) for part in x.split(chunk, dim=1)], dim=1)
            same(y, full, f"{chunk} tokens at a time against the full pass")


@applies_to(*IN_STACK, where=IN_DECODER)
def cached_select(kind: str, node: Node, site: str) -> None:
    """Rows of a cache can be reordered, repeated and dropped, as a beam search does."""
    rig = build(kind, node, site)
    x, _, memory, memory_tokens = inputs_of(rig, length=8)
    memory_tokens[1, 3:] = False
    with torch.no_grad(), poisoned_storage():
        decoding = rig.start(memory, memory_tokens)
        rig.step(x[:, :3], decoding)
        history = torch.arange(3)
        for start, rows in ((3, [2, 0, 0, 1]), (4, [1, 0, 3, 2]), (5, [3, 1]), (6, [1])):
            order = torch.tensor(rows)
            history = history[order]
            decoding = decoding.select(order)
            y = rig.step(x[history, start : start + 1], decoding)
            full = rig(x[history, : start + 1], None, memory[history], memory_tokens[history])
            same(y[:, 0], full[:, start], f"position {start} after selecting rows {rows}")


@applies_to(*IN_STACK, where=IN_DECODER)
def cached_join(kind: str, node: Node, site: str) -> None:
    """Rows of different lengths can be joined and decoded side by side, and leave again."""
    rig = build(kind, node, site)
    x, _, memory, memory_tokens = inputs_of(rig, length=10)
    memory_tokens[0, 4:] = False
    with torch.no_grad(), poisoned_storage():
        decoding = rig.start(memory[:1, :4], memory_tokens[:1, :4])
        rig.step(x[:1, :5], decoding)
        # Storage that no token has filled yet must not come along with rows that leave and enter.
        decoding = decoding.select(torch.tensor([0, 0])).select(torch.tensor([1]))
        newcomers = rig.start(memory[1:], memory_tokens[1:])
        rig.step(x[1:, :2], newcomers)
        decoding = decoding.join(newcomers)
        held, who = [5, 2, 2], torch.arange(3)
        for chunk, leave in ((1, None), (2, [2, 0]), (1, [0]), (1, None)):
            new = torch.stack([x[int(r), n : n + chunk] for r, n in zip(who, held, strict=True)])
            y = rig.step(new, decoding)
            for i, (r, n) in enumerate(zip(who.tolist(), held, strict=True)):
                full = rig(x[r : r + 1, : n + chunk], None, memory[r : r + 1], memory_tokens[r : r + 1])
                same(y[i], full[0, n:], f"row {r} at position {n}, beside rows that hold {held} tokens")
            held = [n + chunk for n in held]
            if leave is not None:
                decoding, who, held = decoding.select(torch.tensor(leave)), who[leave], [held[i] for i in leave]
        empty = rig.start(memory, memory_tokens).join(rig.start(memory[:1], memory_tokens[:1]))
        order = torch.tensor([0, 1, 2, 0])
        same(
            rig.step(x[order, :2], empty),
            rig(x[order, :2], None, memory[order], memory_tokens[order]),
            "empty rows joined",
        )
