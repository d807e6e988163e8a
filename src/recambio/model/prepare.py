"""A model made ready for decoding: the same parts, their linear maps by weights that were laid out for the product, called directly."""

from __future__ import annotations

import copy
import types
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

    A step of one row is so short that half of what isn't products goes into `torch.nn.Module`: its call and its search for hooks take
    ten times as long as a method's call, as does each look-up of a submodule or parameter. The copy's parts do without both.

    Args:
        model: On its device, in evaluation mode.
        precision: Of those weights.

    Returns:
        The copy: not to be moved, trained or given hooks. A part of it is of a nameless subclass of its part's class.

    Raises:
        ValueError: This machine has no products of that precision.
    """
    # Parameters and buffers are shared: a copy of them would be for nothing.
    shared = {id(x): x for x in (*model.parameters(), *model.buffers())}
    made: Transformer = copy.deepcopy(model, shared)
    projection = _of_projection(made.embedding, precision)
    for module in made.modules():
        _call_directly(module, _of_map(module, precision))
    if projection is not None:
        made.embedding.project = projection  # type: ignore[method-assign]
    return made


def _call_directly(module: nn.Module, replacement: Product | None) -> None:
    """Let calls of a module go straight to what it computes, and let what it holds be found where plain attributes are.

    Args:
        module: Unchanged if its calls or look-ups are not plain ones: it has hooks, or its class has its own way.
        replacement: Computes in place of its ``forward``.
    """
    cls = type(module)
    if cls.__getattr__ is nn.Module.__getattr__:
        # `torch.nn.Module` looks there first, and only then in its own tables.
        vars(module).update({**module._parameters, **module._modules})
    if replacement is not None:
        forward: Any = staticmethod(replacement)
    elif _is_called_plainly(module):
        forward = cls.forward
    else:
        return
    body = {"__call__": forward, "forward": forward, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    module.__class__ = types.new_class(cls.__name__, (cls,), exec_body=lambda names: names.update(body))


def _is_called_plainly(module: nn.Module) -> bool:
    """Whether calling it is calling the ``forward`` of its class, and nothing else."""
    return (
        type(module).__call__ is nn.Module.__call__
        and type(module).__getattr__ is nn.Module.__getattr__
        and "forward" not in vars(module)
        and not (module._forward_pre_hooks or module._forward_hooks)
    )


def _of_map(module: nn.Module, precision: WeightPrecision) -> Product | None:
    if type(module).forward not in _PLAIN or not _is_called_plainly(module):
        return None
    assert isinstance(module, nn.Linear)
    return product(module.weight, module.bias, precision)


def _of_projection(embedding: TokenEmbedding, precision: WeightPrecision) -> Product | None:
    """Of the embedding's map to the vocabulary, if it projects by that and nothing else."""
    if type(embedding).project is not TokenEmbedding.project or "project" in vars(embedding):
        return None
    return product(*embedding.output(), precision)
