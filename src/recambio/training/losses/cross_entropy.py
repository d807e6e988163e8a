"""Plain cross-entropy."""

from __future__ import annotations

from torch import Tensor

from recambio.registry import LOSS, Card
from recambio.training.losses.base import Loss, LossTerms
from recambio.training.losses.fused import smoothed_cross_entropy


@LOSS.register(
    "cross_entropy",
    card=Card(
        claim="Negative log-likelihood of the target tokens: the maximum-likelihood objective.",
        formula="-sum_n log p[y_n]",
        paper="Sutskever et al. 2014, Sequence to Sequence Learning with Neural Networks, https://arxiv.org/abs/1409.3215, section 3.2",
        fast_path="fused projection and softmax over pieces of the batch",
    ),
)
class CrossEntropy(Loss):
    """Cross-entropy against the one-hot target."""

    def forward(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> LossTerms:
        """See :meth:`Loss.forward`."""
        loss, nll = smoothed_cross_entropy(hidden, weight, bias, targets)
        return LossTerms(loss, nll)
