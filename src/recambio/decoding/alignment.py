"""Which source tokens a decoder looked at for each token of a translation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from recambio.components.attention.kernels import attend_plain
from recambio.components.attention.projected import ProjectedAttention
from recambio.components.attention.weighed import WeighedAttention
from recambio.components.context import AttentionContext
from recambio.errors import InputError
from recambio.model import Transformer
from recambio.registry import ATTENTION


def alignment_problem(model: Transformer, layer: int = -1) -> str | None:
    """Why the cross-attention of a decoder layer can't be shown; None if it can."""
    n_layers = len(model.decoder.layers)
    if not -n_layers <= layer < n_layers:
        return f"there is no decoder layer {layer}; layers are 0 to {n_layers - 1}"
    module = model.decoder.layers[layer].cross_attention
    if _keeps_softmax(module) or _keeps_weights(module):
        return None
    name = next((n for n, e in ATTENTION.entries.items() if e.cls is type(module)), type(module).__qualname__)
    return f"cross-attention {name!r} doesn't compute weights that could be shown; multi_head and grouped_query do"


@torch.inference_mode()
def cross_attention_weights(
    model: Transformer, source: Sequence[int], targets: Sequence[Sequence[int]], sos_id: int, layer: int = -1
) -> list[Tensor]:
    """The attention from each token of translations of one sentence to each source token, averaged over heads.

    The translations pass through the model once more, as in training; the layer's weights are computed as its formula says
    rather than by the fused kernel. Row t is the attention of the step that predicted token t.

    Args:
        model: In evaluation mode.
        source: S token ids, EOS included.
        targets: T token ids each, EOS included where the translation ends with it.
        sos_id: First decoder token.
        layer: Decoder layer, from 0; negative counts from the last.

    Returns:
        (T, S) for each target. Rows sum to 1 where the part's weights do.

    Raises:
        InputError: See :func:`alignment_problem`.
    """
    if problem := alignment_problem(model, layer):
        raise InputError(f"alignment: {problem}")
    device = next(model.parameters()).device
    # What stands after a target's end is seen by none of its tokens.
    inputs = torch.full((len(targets), max(map(len, targets))), sos_id, dtype=torch.long)
    for row, target in zip(inputs, targets, strict=True):
        row[1 : len(target)] = torch.tensor(target[:-1], dtype=torch.long)
    with _recorded(model.decoder.layers[layer].cross_attention) as weights:  # type: ignore[arg-type]
        model(torch.tensor([source] * len(targets), device=device), inputs.to(device))
    means = weights[0].float().mean(1)
    return [mean[: len(target)] for mean, target in zip(means, targets, strict=True)]


@contextmanager
def _recorded(module: ProjectedAttention) -> Iterator[list[Tensor]]:
    """The weights (B, H, T, S) of each pass through the part."""
    found: list[Tensor] = []

    def mix(q: Tensor, k: Tensor, v: Tensor, context: AttentionContext) -> Tensor:
        y, weights = attend_plain(q, k, v, context)
        found.append(weights)
        return y

    def collect(weights: Tensor, v: Tensor, context: AttentionContext) -> Tensor:
        found.append(weights)
        y: Tensor = type(module).collect(module, weights, v, context)  # type: ignore[attr-defined]
        return y

    name, function = ("mix", mix) if _keeps_softmax(module) else ("collect", collect)
    setattr(module, name, function)
    try:
        yield found
    finally:
        delattr(module, name)


def _keeps_softmax(module: object) -> bool:
    """Whether its scores and sum over values are plain softmax attention's."""
    return (
        isinstance(module, ProjectedAttention)
        and type(module).mix is ProjectedAttention.mix
        and type(module).forward is ProjectedAttention.forward
    )


def _keeps_weights(module: object) -> bool:
    """Whether it computes weights of its own in the way of :class:`WeighedAttention`."""
    return (
        isinstance(module, WeighedAttention)
        and type(module).mix is WeighedAttention.mix
        and type(module).forward is ProjectedAttention.forward
    )
