"""Floating-point operations of the matrix products, by formula; a multiplication and an addition are two."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.sizes import BEAM_WIDTH, Size


def encoder(size: Size, rows: int, length: int) -> int:
    """One pass of the encoder over (rows, length) tokens, padding counted."""
    d, f = size.d_model, size.d_ff
    projections = 2 * (4 * d * d + 2 * d * f)
    return size.n_layers * rows * length * (projections + 4 * length * d)


def memory_projection(size: Size, rows: int, length: int) -> int:
    """Keys and values of the encoder's output, for every decoder layer."""
    return size.n_layers * rows * length * 2 * 2 * size.d_model**2


def decoder(size: Size, rows: int, length: int, keys: int, memory_length: int) -> int:
    """One pass of the decoder over (rows, length) tokens that see ``keys`` tokens each; without the memory's projection.

    Masked scores are counted: the usual kernels compute them.
    """
    d, f = size.d_model, size.d_ff
    projections = 2 * (6 * d * d + 2 * d * f)
    return size.n_layers * rows * length * (projections + 4 * (keys + memory_length) * d)


def logits(size: Size, tokens: int) -> int:
    """The projection of this many tokens to the vocabulary."""
    return 2 * tokens * size.d_model * size.vocabulary


def training_forward(size: Size, rows: int, source: int, target: int, scored: int) -> int:
    """The forward pass of a training step that scores ``scored`` positions."""
    return (
        encoder(size, rows, source)
        + memory_projection(size, rows, source)
        + decoder(size, rows, target, target, source)
        + logits(size, scored)
    )


def training_step(size: Size, target_tokens: int) -> int:
    """A training step. The backward pass is two products for each of the forward pass.

    Logits are counted where a target is: what a contender computes beyond that is not useful work.
    """
    return 3 * training_forward(size, size.training_batch, size.longest, size.longest, target_tokens)


def mfu(work: float, seconds: float, peak: float) -> float:
    """Model FLOPs utilisation: ``work / (seconds * peak)``, the share of the peak that useful products reach.

    Useful is what the formula above counts, whatever the hardware does besides: a layer that is computed again for its gradient
    counts once, dropout and norms count for nothing.

    Paper: Chowdhery et al. 2022, "PaLM", https://arxiv.org/abs/2204.02311, appendix B.
    Differs from the paper: the products are counted exactly instead of as 6 a parameter and token, and embeddings, which are
    looked up and not multiplied, are left out.

    Args:
        work: Floating-point operations of the products, as :func:`training_step` counts them.
        seconds: How long they took.
        peak: Operations a second that the device can do at that precision.
    """
    return work / (seconds * peak)


def decoding(size: Size, lengths: Sequence[int], task: str) -> int:
    """Decoding these sources with caches, the memory projected once a source. Work on padding is not counted."""
    width = BEAM_WIDTH if task == "beam" else 1
    total = 0
    for source in lengths:
        total += encoder(size, 1, source) + memory_projection(size, 1, source)
        for keys in range(1, size.longest + 1):
            total += decoder(size, width, 1, keys, source) + logits(size, width)
    return total
