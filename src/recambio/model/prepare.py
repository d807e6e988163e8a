"""A model made ready for decoding: the same parts, their linear maps by weights that were laid out for the product."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from recambio.components.embedding.base import TokenEmbedding
from recambio.components.linear import Linear
from recambio.components.packed import Product, WeightPrecision, product
from recambio.model.transformer import Transformer

_PLAIN: tuple[Callable[..., Any], ...] = (Linear.forward, nn.Linear.forward)


@torch.no_grad()
def prepared(model: Transformer, precision: WeightPrecision = "32") -> Transformer:
    """A copy of a model whose weights no longer change, to decode with; the copy's parameters are the model's own.

    Every linear map is replaced, whatever part holds it, and the projection to the vocabulary; all else, norms, softmax, caches and
    log-probabilities, stays as it is, in float32. A part that reads the weights of its map itself goes on reading the plain ones.

    Args:
        model: On its device, in evaluation mode.
        precision: Of those weights.

    Returns:
        The copy; the model itself where nothing can be gained.

    Raises:
        ValueError: This machine has no products of that precision.
    """
    found = [(path, p) for path, m in model.named_modules() if (p := _of_map(m, precision)) is not None]
    projection = _of_projection(model.embedding, precision)
    if not found and projection is None:
        return model
    # Parameters and buffers are shared: a copy of them would be for nothing.
    shared = {id(x): x for x in (*model.parameters(), *model.buffers())}
    made: Transformer = copy.deepcopy(model, shared)
    # On the instance: what the class says of the part stays, its parameters and their names too.
    for path, replacement in found:
        made.get_submodule(path).forward = replacement
    if projection is not None:
        made.embedding.project = projection  # type: ignore[method-assign]
    return made


def _of_map(module: nn.Module, precision: WeightPrecision) -> Product | None:
    if type(module).forward not in _PLAIN or "forward" in vars(module):
        return None
    assert isinstance(module, nn.Linear)
    return product(module.weight, module.bias, precision)


def _of_projection(embedding: TokenEmbedding, precision: WeightPrecision) -> Product | None:
    """Of the embedding's map to the vocabulary, if it projects by that and nothing else."""
    if type(embedding).project is not TokenEmbedding.project or "project" in vars(embedding):
        return None
    return product(*embedding.output(), precision)
