"""A function of tensors as the list of torch's operations that it comes down to, for one whose Python costs more than its arithmetic.

The function is run once on tensors that have shapes but no values, so what it does can depend on shapes alone: one that asks for a value
can't be recorded. The operations are shortened (what depends on no input is computed once, what is computed twice is computed once, a
chain of views is one) and written out as a Python function that calls torch's own bindings.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from recambio.components.tracing import recording

Function = Callable[..., tuple[Tensor, ...]]

_SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)
"""Numbers that nobody knows while the function is recorded."""

_LARGEST_CONSTANT = 1 << 20
"""Bytes of a result that is kept instead of computed again; a view of a weight takes none."""


def record(function: Function, inputs: Sequence[Tensor], model: nn.Module) -> Function:
    """What a function does to tensors of these shapes.

    Args:
        function: Takes and returns tensors. It may write to those that it takes, and mustn't keep any.
        inputs: Contiguous. Those of a later call must be, too, and have the same shapes and types.
        model: Whose parts the function calls. What they keep of the call is undone; their weights must not change afterwards.

    Returns:
        The same function, for calls without gradients.

    Raises:
        Exception: Of any kind, where the function asks for a value, or uses what can't be followed.
    """
    kept = _kept(model)
    with torch.inference_mode(False), torch.no_grad():
        examples = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in inputs]
        try:
            with recording():
                module = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)
        finally:
            for owner, content in kept:
                for name in owner.keys() - content.keys():
                    del owner[name]
                owner.update(content)
        _refuse(module.graph)
        written = _written(module.graph)
        _merge_equal(module.graph, written)
        _fold(module, written)
        _join_views(module.graph)
        module.graph.eliminate_dead_code()
        _call_directly(module.graph)
        module.recompile()
    vars(module).update({**module._parameters, **module._buffers})  # `torch.nn.Module` looks there last
    return module.forward


def _kept(model: nn.Module) -> list[tuple[dict[Any, Any], dict[Any, Any]]]:
    """Each part's attributes and the dictionaries among them, with what they hold."""
    owners = []
    for module in model.modules():
        owners += [vars(module), *(x for x in vars(module).values() if isinstance(x, dict))]
    return [(owner, dict(owner)) for owner in owners]


def _refuse(graph: fx.Graph) -> None:
    """Refuse random numbers, and numbers or sizes that were taken from a tensor."""
    for node in graph.nodes:
        values = node.meta.get("val")
        for value in values if isinstance(values, (list, tuple)) else [values]:
            sizes = value.shape if isinstance(value, Tensor) else [value]
            if any(isinstance(size, _SYMBOLS) for size in sizes):
                raise ValueError(f"{node.target} depends on a tensor's values")
        is_seeded = (
            isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags
        )
        # Attention says that it is, also without dropout.
        if is_seeded and {a.name: value for a, value in _arguments(node)}.get("dropout_p") != 0.0:
            raise ValueError(f"{node.target} draws random numbers")


def _arguments(node: fx.Node) -> list[tuple[Any, Any]]:
    """The arguments of an operation as it declares them, each with its value."""
    declared = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((a.name for a in declared), node.args, strict=False)) | node.kwargs
    return [(a, given.get(a.name, a.default_value)) for a in declared]


def _is_view(node: fx.Node) -> bool:
    """Whether a result lies in the storage of the first argument."""
    if isinstance(node.target, torch._ops.OpOverload):
        return any(x.alias_info is not None and not x.alias_info.is_write for x in node.target._schema.returns)
    return node.target is operator.getitem and _is_view(node.args[0])  # type: ignore[arg-type]


def _base(node: fx.Node) -> fx.Node:
    """What a view is a view of, after all."""
    while _is_view(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def _written(graph: fx.Graph) -> set[fx.Node]:
    """What is written to, and whatever depends on it."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
            found |= {_base(x) for a, x in _arguments(node) if a.alias_info is not None and a.alias_info.is_write}
    for node in graph.nodes:  # in the order of computation
        if any(x in found for x in node.all_input_nodes):
            found.add(node)
    return found


def _fold(module: fx.GraphModule, written: set[fx.Node]) -> None:
    """Compute what depends on no input."""
    known: dict[fx.Node, Any] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            known[node] = getattr(module, node.target)
        elif node.op == "call_function" and node not in written and all(x in known for x in node.all_input_nodes):
            arguments, options = fx.map_arg((node.args, node.kwargs), known.__getitem__)  # type: ignore[misc, arg-type]
            known[node] = node.target(*arguments, **options)
    weights = {x.untyped_storage().data_ptr() for n, x in known.items() if n.op == "get_attr" and _is_plain(x)}
    for node, value in known.items():
        is_wanted = node.op != "get_attr" and any(user not in known for user in node.users)
        if not is_wanted or not isinstance(value, Tensor):
            continue
        if value.untyped_storage().data_ptr() in weights or value.nbytes <= _LARGEST_CONSTANT:
            name = f"folded_{node.name}"
            module.register_buffer(name, value)
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(name)
            constant.meta = node.meta
            node.replace_all_uses_with(constant)
    module.graph.eliminate_dead_code()


def _is_plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.layout == torch.strided


def _merge_equal(graph: fx.Graph, written: set[fx.Node]) -> None:
    """Compute once what is computed twice."""
    seen: dict[tuple[Any, str, str], fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node in written:
            continue
        first = seen.setdefault((node.target, repr(node.args), repr(node.kwargs)), node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.erase_node(node)


def _join_views(graph: fx.Graph) -> None:
    """Make one view of a view of a view, where all lie in what an operation here has made."""
    for node in list(graph.nodes):
        if not _is_view(node) or not node.users or all(map(_is_view, node.users)):
            continue
        base, value = _base(node), node.meta["val"]
        if base.op != "call_function" or node.args[0] is base:
            continue
        made = base.meta["val"]
        if not isinstance(made, Tensor) or made.storage_offset() or made.dtype != value.dtype:
            continue
        where = (base, list(value.shape), list(value.stride()), value.storage_offset())
        with graph.inserting_before(node):
            joined = graph.call_function(torch.ops.aten.as_strided.default, where)
        joined.meta = node.meta
        node.replace_all_uses_with(joined)
    graph.eliminate_dead_code()


def _call_directly(graph: fx.Graph) -> None:
    """Call torch's bindings where they have the operation, which takes half the time of calling it by its overload."""
    for node in graph.nodes:
        if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace != "aten" or node.kwargs:
            continue
        if any(isinstance(x, (list, tuple)) and None in x for x in node.args):
            continue  # the bindings write these in their own way
        name = node.target._schema.name.removeprefix("aten::")
        if isinstance(getattr(torch, name, None), BuiltinFunctionType):
            node.target = getattr(torch, name)
        elif isinstance(getattr(torch.Tensor, name, None), MethodDescriptorType) and _is_of_self(node.target):
            node.op, node.target = "call_method", name


def _is_of_self(operation: torch._ops.OpOverload) -> bool:
    return bool(operation._schema.arguments) and operation._schema.arguments[0].name == "self"
