"""What every contender does: one training step, one batch decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from benchmarks.peers.sizes import Row, Size, sentences, training_batch
from recambio.data.batch import Batch

LEARNING_RATE = 1e-4
BETAS = (0.9, 0.98)
CLIP = 1.0


class Contender(ABC):
    """One toolkit's model of the common architecture, driven as its users drive it.

    The architecture: post-norm, sinusoidal positions, embeddings scaled by sqrt(D) and tied on all three sides, ReLU,
    biases in every projection but the output's; dropout on the embeddings and on each sub-layer's output, none on the
    attention weights and none inside the feed-forward network.

    Attributes:
        name: As the command line and the JSON write it.
        title: As the tables write it.
        model: Holds the parameters.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    model: nn.Module

    def __init__(self, size: Size) -> None:
        self.size = size
        self._optimizer: torch.optim.Optimizer | None = None

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """Label-smoothed cross-entropy per real target token; the uniform part of the target spreads over all of V."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, fused."""

    @abstractmethod
    def forbid_special_tokens(self) -> None:
        """From now on decode without PAD, SOS and EOS, so that every output is exactly as long as it may be."""

    @abstractmethod
    def greedy(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """The first ``n_tokens`` tokens of each greedy translation."""

    @abstractmethod
    def beam(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """Likewise with a beam of four, ranked by the mean log-probability."""

    def train_step(self, batch: Batch, precision: str) -> Tensor:
        """Forward, loss, backward, clipping, update. Returns: the loss before the update."""
        if self._optimizer is None:
            self._optimizer = self.optimizer()
        with torch.autocast(batch.source.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = self.loss(batch)
        # The ranges that a profile of `recambio train` has.
        with record_function("recambio::backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with record_function("recambio::optimizer"):
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def decode(self, sources: Sequence[Sequence[int]], task: str, n_tokens: int) -> list[list[int]]:
        """Token ids of ``greedy`` or ``beam``."""
        return (self.greedy if task == "greedy" else self.beam)(sources, n_tokens)

    def prepare(self, row: Row) -> Callable[[], object]:
        """Make ready for a row of the tables. Returns: what the clock measures; decoding gives its tokens."""
        if row.task == "train":
            self.model.train()
            batch = training_batch(self.size)
            return lambda: self.train_step(batch, row.precision)
        self.model.eval()
        if row.precision == "bf16":
            self.model.to(torch.bfloat16)
        self.forbid_special_tokens()
        sources = sentences(self.size, row.batch, seed=row.batch)
        return lambda: self.decode(sources, row.task, self.size.longest)

    def n_parameters(self) -> int:
        """Trainable parameters, each counted once."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def frozen(self) -> dict[str, int]:
        """Parameters that don't train, by name: tables of positions."""
        return {name: p.numel() for name, p in self.model.named_parameters() if not p.requires_grad}


def plain_adamw(model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer as users of plain torch write it."""
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=1e-9, fused=True)
