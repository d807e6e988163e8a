"""Checks of every part that stands in a stack, except those of decoding."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from recambio import registry
from recambio.registry import Node
from recambio.testing.kit import IN_DECODER, IN_STACK, applies_to, drops_at_random, finite, gradient_of, same
from recambio.testing.rig import D_MODEL, MAX_LENGTH, build, inputs_of, output_of


@applies_to(*IN_STACK)
def shape_and_dtype(kind: str, node: Node, site: str) -> None:
    """Keeps shape and dtype, in float32 and in bfloat16, for one token and for many."""
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        rig = build(kind, node, site, dtype)
        seen: list[tuple[Tensor, Tensor]] = []
        for part in rig.parts():
            part.register_forward_hook(lambda _, inputs, y, seen=seen: seen.append((inputs[0], output_of(y))))
        for rows, length in ((3, 7), (1, 1)):
            inputs = inputs_of(rig, rows, length)
            y = rig(*inputs)
            assert y.shape == inputs[0].shape, f"input {tuple(inputs[0].shape)} became {tuple(y.shape)}"
            assert y.dtype == dtype, f"a {dtype} stack gave {y.dtype}"
            finite(y, f"output in {dtype}")
        for x, y in seen:
            assert y.shape == x.shape, f"input {tuple(x.shape)} became {tuple(y.shape)}"
            assert y.dtype == x.dtype, f"{x.dtype} became {y.dtype}"
    if kind == "normalization":
        norm = registry.NORMALIZATION.create(node, dim=D_MODEL)
        y = norm(torch.randn(2, D_MODEL, dtype=torch.bfloat16))
        assert y.dtype == torch.bfloat16, f"bfloat16 became {y.dtype} where the parameters are float32"


@applies_to(*IN_STACK)
def gradients(kind: str, node: Node, site: str) -> None:
    """Every parameter of the part, and its input, gets a finite gradient that is not zero."""
    rig = build(kind, node, site).train()
    x, *rest = inputs_of(rig)
    x.requires_grad_()
    (rig(x, *rest) * torch.randn_like(x)).sum().backward()
    assert x.grad is not None and bool(x.grad.any()), "no gradient reaches the input"
    finite(x.grad, "gradient of the input")
    for index, part in enumerate(rig.parts()):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, f"parameter {name!r} of layer {index} gets no gradient: it is unused"
            finite(parameter.grad, f"gradient of {name!r}")
            assert bool(parameter.grad.any()), f"the gradient of parameter {name!r} of layer {index} is zero"


@applies_to(*IN_STACK)
def derivative(kind: str, node: Node, site: str) -> None:
    """The gradients are those of the function: they foretell in float64 how the output changes along random directions."""
    rig = build(kind, node, site)
    x, *rest = inputs_of(rig)
    leaves = [x.requires_grad_(), *rig.parameters()]
    if rest[1] is not None:
        leaves.append(rest[1].requires_grad_())
    weights = torch.randn_like(x)
    gradients = torch.autograd.grad((rig(x, *rest) * weights).sum(), leaves, allow_unused=True)
    step = 1e-5
    for _ in range(3):
        directions = [torch.randn_like(leaf) for leaf in leaves]
        length = sum(float(d.square().sum()) for d in directions) ** 0.5
        directions = [d / length for d in directions]  # short, so that hardly any kink of an activation lies on the way
        sums = []
        with torch.no_grad():
            for way in (1.0, -2.0, 1.0):  # forth, back beyond the start, home
                for leaf, direction in zip(leaves, directions, strict=True):
                    leaf.add_(direction, alpha=way * step)
                sums.append(float((rig(x, *rest) * weights).sum()))
        change = (sums[0] - sums[1]) / (2 * step)
        foretold = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
        assert abs(change - foretold) <= 1e-5 * max(1.0, abs(change)), (
            f"along a random direction the output changes by {change:.6g} a step, the gradients say {foretold:.6g}: a wrong "
            "backward pass, or arithmetic below the precision of the input"
        )


@applies_to(*IN_STACK, where=IN_DECODER)
def causality(kind: str, node: Node, site: str) -> None:
    """No output depends on a later token: by changing later tokens, and by the Jacobian."""
    rig = build(kind, node, site)
    x, *rest = inputs_of(rig)
    with torch.no_grad():
        y = rig(x, *rest)
        for t in range(x.shape[1] - 1):
            changed = torch.cat([x[:, : t + 1], 10 * torch.randn_like(x[:, t + 1 :])], dim=1)
            z = rig(changed, *rest)
            same(z[:, : t + 1], y[:, : t + 1], f"outputs up to position {t} when later tokens change")
            assert not torch.equal(z[:, t + 1 :], y[:, t + 1 :]), "outputs ignore their own tokens"
    x.requires_grad_()
    y = rig(x, *rest)
    for t in range(x.shape[1]):
        jacobian = gradient_of((y[:, t] * torch.randn_like(y[:, t])).sum(), x).abs().amax(dim=(0, 2))
        leak = jacobian[t + 1 :].max().item() if t + 1 < len(jacobian) else 0.0
        assert leak <= 1e-12, f"the output at position {t} has a gradient of {leak:.2g} on later tokens"
        assert jacobian[t].item() > 0, f"the output at position {t} has no gradient on its own token"


@applies_to(*IN_STACK)
def padding(kind: str, node: Node, site: str) -> None:
    """Padding of any length, side and content changes nothing, and gets no gradient; nor do the batch's other rows matter."""
    rig = build(kind, node, site)
    lengths, memory_lengths = (6, 3, 1), (2, 5, 4)
    rows = [torch.randn(n, D_MODEL, dtype=rig.dtype) for n in lengths]
    memories = [torch.randn(n, D_MODEL, dtype=rig.dtype) for n in memory_lengths]
    alone = []
    with torch.no_grad():
        for row, memory in zip(rows, memories, strict=True):
            real = torch.ones(1, len(memory), dtype=torch.bool)
            alone.append(rig(row[None], None, *((memory[None], real) if rig.is_decoder else (None, None)))[0])
    for left in (False, True):
        side = "left" if left else "right"
        for extra, content in ((0, 0.0), (3, 1.0), (3, 1000.0)):
            x, tokens = _pad(rows, max(lengths) + extra, content, left)
            memory, memory_tokens = _pad(memories, max(memory_lengths) + extra, content, left)
            x.requires_grad_()
            memory.requires_grad_()
            positions = (tokens.cumsum(1) - 1).clamp(min=0) if left else None
            around = (memory, memory_tokens) if rig.is_decoder else (None, None)
            y = rig(x, tokens, *around, positions)
            real = torch.cat([y[i][tokens[i]] for i in range(len(rows))])
            what = f"{side} padding of size {content:g}"
            same(real, torch.cat(alone), f"real tokens under {what}, against each row alone")
            loss = (real * torch.randn_like(real)).sum()
            for name, tensor, mask in (("x", x, tokens), ("memory", memory, memory_tokens))[: 1 + rig.is_decoder]:
                gradient = gradient_of(loss, tensor)
                finite(gradient, f"gradient of {name} under {what}")
                assert not bool(gradient[~mask].any()), f"padding of {name} gets a gradient under {what}"


def _pad(rows: Sequence[Tensor], width: int, content: float, left: bool) -> tuple[Tensor, Tensor]:
    """Rows of different lengths -> (B, width, D) with random padding of scale `content`, and (B, width) True = real."""
    x = torch.randn(len(rows), width, D_MODEL, dtype=rows[0].dtype) * content
    tokens = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        x[i, where] = row
        tokens[i, where] = True
    return x, tokens


@applies_to(*IN_STACK)
def masked_rows(kind: str, node: Node, site: str) -> None:
    """A row of nothing but padding, or an empty source, gives finite outputs and gradients and disturbs no other row."""
    for dtype in (torch.float64, torch.bfloat16):
        rig = build(kind, node, site, dtype)
        x = torch.randn(3, 5, D_MODEL).to(dtype).requires_grad_()
        tokens = torch.tensor([True, False, True])[:, None].expand(3, 5)
        memory = torch.randn(3, 4, D_MODEL).to(dtype).requires_grad_() if rig.is_decoder else None
        memory_tokens = torch.tensor([True, False, True])[:, None].expand(3, 4) if rig.is_decoder else None
        positions = (tokens.cumsum(1) - 1).clamp(min=0)  # written out, so that the decoder's queries see no key either
        y = rig(x, tokens, memory, memory_tokens, positions)
        finite(y, f"output in {dtype}")
        y.float().square().sum().backward()
        for name, tensor in (("x", x), ("memory", memory), *rig.named_parameters()):
            if tensor is not None and tensor.grad is not None:
                finite(tensor.grad, f"gradient of {name} in {dtype}")
        others = torch.tensor([0, 2])
        with torch.no_grad():
            around = (memory[others], memory_tokens[others]) if memory is not None and memory_tokens is not None else ()
            expected = rig(x[others], None, *around)
        same(
            y[others].double(),
            expected.double(),
            f"the other rows in {dtype}",
            0.1 if dtype == torch.bfloat16 else None,
        )


@applies_to(*IN_STACK)
def precision(kind: str, node: Node, site: str) -> None:
    """In float32, and in bfloat16 and float16, the stack is finite and near float64, at positions beyond 512 too."""
    rig = build(kind, node, site)
    x, tokens, memory, memory_tokens = inputs_of(rig)
    positions = torch.arange(MAX_LENGTH - x.shape[1], MAX_LENGTH)[None]
    with torch.no_grad():
        full = rig(x, tokens, memory, memory_tokens, positions)
        for what, dtype, autocast, most in (
            ("float32", torch.float32, None, 1e-4),
            ("bfloat16 autocast", torch.float32, torch.bfloat16, 0.03),
            ("float16 autocast", torch.float32, torch.float16, 0.01),
            ("bfloat16", torch.bfloat16, None, 0.03),
        ):
            low = copy.deepcopy(rig).to(dtype)
            around = None if memory is None else memory.to(dtype)
            with torch.autocast("cpu", autocast, enabled=autocast is not None):
                y = low(x.to(dtype), tokens, around, memory_tokens, positions)
            finite(y, f"output in {what}")
            error = ((y.double() - full).norm() / full.norm()).item()
            assert error <= most, f"in {what} the output is {error:.2%} from float64's, more than {most:.2%}"


@applies_to(*IN_STACK)
def deterministic(kind: str, node: Node, site: str) -> None:
    """The same seed builds the same part, and in evaluation the same input gives the same output, dropout or not."""
    rigs = []
    for _ in range(2):
        torch.default_generator.manual_seed(7)
        rigs.append(build(kind, node, site, dropout=0.3))
    first, second = (r.state_dict() for r in rigs)
    for key, value in first.items():
        assert torch.equal(value, second[key]), f"{key!r} differs between two constructions from one seed"
    inputs = inputs_of(rigs[0])
    with torch.no_grad():
        y = rigs[0](*inputs)
        assert torch.equal(rigs[0](*inputs), y), "two passes in evaluation differ"
        assert torch.equal(rigs[1](*inputs), y), "two equal parts differ in evaluation"


@applies_to(*IN_STACK)
def state_dict(kind: str, node: Node, site: str) -> None:
    """Everything that the part learns is in its state dict: saved without pickled objects, it loads into a fresh part."""
    rig, fresh = build(kind, node, site), build(kind, node, site)
    for parameter in rig.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    inputs = inputs_of(rig)
    with torch.no_grad():
        rig(*inputs)
        assert rig.state_dict().keys() == fresh.state_dict().keys(), "a pass changes the keys"
        fresh.load_state_dict(stored(rig))
        same(fresh(*inputs), rig(*inputs), "a fresh part with the stored state", 0.0)


def stored(module: nn.Module) -> dict[str, Tensor]:
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    state: dict[str, Tensor] = torch.load(file, weights_only=True)
    return state


@applies_to(*IN_STACK)
def copies(kind: str, node: Node, site: str) -> None:
    """A deep copy, taken after a pass, computes the same and shares nothing."""
    rig = build(kind, node, site)
    inputs = inputs_of(rig)
    with torch.no_grad():
        y = rig(*inputs)
        twin = copy.deepcopy(rig)
        same(twin(*inputs), y, "the copy", 0.0)
        for parameter in twin.parameters():
            parameter.data.normal_()
        same(rig(*inputs), y, "the original after its copy changed", 0.0)


@applies_to(*IN_STACK, where=("encoder", "cross", "decoder_feed_forward"), slow=True)
def traced(kind: str, node: Node, site: str) -> None:
    """Captured as one graph for any length, the part gives the outputs and gradients that it gives by itself; not where `compiled` is."""
    _compiled_equals_eager(kind, node, site, "aot_eager")


@applies_to(*IN_STACK, where=("encoder_self", "decoder_self", "encoder_feed_forward", "decoder"), slow=True)
def compiled(kind: str, node: Node, site: str) -> None:
    """Under torch.compile outputs and gradients are what they are without, and changing lengths compile nothing anew."""
    _compiled_equals_eager(kind, node, site, "inductor")


def _compiled_equals_eager(kind: str, node: Node, site: str, backend: str) -> None:
    # What earlier processes left on disk must not decide: its guards may be those of other code.
    with (
        torch._functorch.config.patch(enable_autograd_cache=False),  # type: ignore[no-untyped-call]
        torch._inductor.config.patch(fx_graph_cache=False),  # type: ignore[no-untyped-call]
    ):
        _compare_compiled(kind, node, site, backend)


def _compare_compiled(kind: str, node: Node, site: str, backend: str) -> None:
    rig = build(kind, node, site, torch.float32, n_layers=1).train(not drops_at_random(kind, node))
    twin = copy.deepcopy(rig)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)
    twin.compile(backend=counter, dynamic=True, fullgraph=True)
    first = 0
    for length, n_memory in ((7, 5), (9, 6), (12, 4), (5, 8)):
        x, *rest = inputs_of(rig, length=length, n_memory=n_memory)
        results = []
        for module in (rig, twin):
            module.zero_grad()
            leaf = x.clone().requires_grad_()
            y = module(leaf, *rest)
            (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
            results.append((y.detach(), leaf.grad, {n: p.grad for n, p in module.named_parameters()}))
        (y, dx, gradients), (other_y, other_dx, other_gradients) = results
        same(other_y, y, f"output at length {length}", 1e-5)
        assert dx is not None and other_dx is not None
        same(other_dx, dx, f"gradient of the input at length {length}", 1e-4)
        for name, gradient in gradients.items():
            other = other_gradients[name]
            if gradient is not None and other is not None:
                same(other, gradient, f"gradient of {name!r} at length {length}", 1e-4)
        first = first or counter.frame_count
    assert counter.frame_count == first, f"other lengths compile {counter.frame_count - first} times more"
