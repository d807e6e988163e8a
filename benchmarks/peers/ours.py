"""recambio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.peers.contender import BETAS, CLIP, LEARNING_RATE, Contender
from benchmarks.peers.sizes import BEAM_WIDTH, DROPOUT, EOS, PAD, SMOOTHING, SOS, Size
from recambio import registry
from recambio.data.batch import Batch
from recambio.decoding import ModelScorer, Search
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.training.losses.base import Loss, LossTerms
from recambio.training.losses.fused import smoothed_cross_entropy
from recambio.training.module import TranslationModule
from recambio.training.optimizers.base import ParameterGroups

registry.load_builtins()


class Ours(Contender):
    """The package's own parts: `TranslationModule.terms`, the ``adamw`` part, the ``greedy`` and ``beam`` searches."""

    name: ClassVar[str] = "recambio"
    title: ClassVar[str] = "recambio"
    model: Transformer

    def __init__(self, size: Size, seed: int = 1, positions: str = "sinusoidal") -> None:
        super().__init__(size)
        stack = StackSpec.uniform(size.n_layers, block="post_norm", positions=positions)
        decoder = StackSpec.uniform(size.n_layers, block="post_norm", positions=positions, cross_attention="multi_head")
        self.model = Transformer(
            ModelSpec(
                encoder=stack,
                decoder=decoder,
                source_vocabulary=size.vocabulary,
                target_vocabulary=size.vocabulary,
                d_model=size.d_model,
                n_heads=size.n_heads,
                d_ff=size.d_ff,
                dropout=DROPOUT,
                embedding="all",
                seed=seed,
            )
        )
        part = {"name": "adamw", "lr": LEARNING_RATE, "beta1": BETAS[0], "beta2": BETAS[1], "eps": 1e-9}
        self.module = TranslationModule(
            self.model,
            _SmoothedOverAll(),
            registry.OPTIMIZER.create(part),
            registry.SCHEDULE.create("constant"),
            pad_id=PAD,
            sos_id=SOS,
            eos_id=EOS,
            seed=seed,
            clip=CLIP,
        )
        self._greedy: Search = registry.SEARCH.create("greedy")
        self._beam: Search = registry.SEARCH.create({"name": "beam", "width": BEAM_WIDTH})
        self._scorer: ModelScorer | None = None
        self.is_recorded = False

    def loss(self, batch: Batch) -> Tensor:
        """See :meth:`Contender.loss`."""
        terms, _ = self.module.terms(batch)
        return terms.loss * (1 / batch.target_tokens)

    def optimizer(self) -> torch.optim.Optimizer:
        """See :meth:`Contender.optimizer`. Norms and biases are not decayed, as in a real run."""
        return self.module.optimizer_part.build(ParameterGroups.of(self.model), is_fused=True)

    def forbid_special_tokens(self) -> None:
        """See :meth:`Contender.forbid_special_tokens`."""
        self._scorer = _Endless(self.model, sos_id=SOS, eos_id=EOS, pad_id=PAD, is_recorded=self.is_recorded)
        if self._scorer.recorder is not None:
            self._scorer.recorder.uses = 8  # within the rounds that don't count

    def greedy(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """See :meth:`Contender.greedy`."""
        return self._search(self._greedy, sources, n_tokens)

    def beam(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """See :meth:`Contender.beam`."""
        return self._search(self._beam, sources, n_tokens)

    def _search(self, search: Search, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        assert self._scorer is not None, "forbid_special_tokens() comes first"
        return [found[0].tokens for found in search(self._scorer, sources, [n_tokens] * len(sources))]


class _Endless(ModelScorer):
    """A scorer to which EOS is as impossible as SOS and PAD are; a step costs what it always costs."""

    def __init__(self, model: Transformer, *, sos_id: int, eos_id: int, pad_id: int, is_recorded: bool) -> None:
        super().__init__(model, sos_id=sos_id, eos_id=eos_id, pad_id=pad_id, is_recorded=is_recorded)
        self.never = torch.tensor([sos_id, pad_id, eos_id])


class _SmoothedOverAll(Loss):
    """Label smoothing as `torch.nn.functional.cross_entropy` defines it: PAD gets its share of the uniform mass too."""

    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        """See :meth:`Loss.forward`."""
        return LossTerms(*smoothed_cross_entropy(hidden, weight, bias, targets, SMOOTHING))
