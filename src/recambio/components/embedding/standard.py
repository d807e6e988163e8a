"""One vector a token, with three ways of sharing them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recambio.components.embedding.base import TokenEmbedding
from recambio.registry import EMBEDDING, Card


@EMBEDDING.register(
    "standard",
    Card(
        claim="One vector a token, scaled by sqrt(D) on the way in; source, target and output matrices may be one.",
        formula="x = sqrt(D) E[token]; logits = W x + b; tie all: E_source = E_target = W, tie decoder: E_target = W",
        paper='Press & Wolf 2017, "Using the Output Embedding to Improve Language Models", '
        "https://arxiv.org/abs/1608.05859, section 3; Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.4",
        parameters="V * D * (1 if tie == 'all' else 2 if tie == 'decoder' else 3) + V * output_bias",
        flops="2 * D * V; the output projection of a target token, a lookup is not counted",
        fast_path="A lookup; one matrix product.",
    ),
)
class StandardEmbedding(TokenEmbedding):
    """One vector a token, scaled by sqrt(D) on the way in; source, target and output matrices may be one.

    ``x = sqrt(D) E[token]``, ``logits = W x + b``

    Paper: Press & Wolf 2017, "Using the Output Embedding to Improve Language Models", https://arxiv.org/abs/1608.05859,
    section 3; Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.4 (the scale).

    Args:
        tie: Which matrices are one parameter: "all" three (needs a joint tokenizer), those of the "decoder" (target and
            output), or "none".
        scale: Whether token vectors are multiplied by sqrt(D) on input; the output projection never is.
        output_bias: Whether each target token's logit has a bias of its own.
    """

    def __init__(
        self,
        d_model: int,
        source_vocabulary: int,
        target_vocabulary: int,
        is_joint: bool,
        tie: Literal["none", "decoder", "all"] = "all",
        scale: bool = True,
        output_bias: bool = False,
    ) -> None:
        super().__init__()
        if tie == "all" and not is_joint:
            raise ValueError(
                "`tie` 'all' needs a joint tokenizer, but source and target have their own; use one tokenizer for both "
                "languages, or tie: decoder"
            )
        self.tie = tie
        self.scale = math.sqrt(d_model) if scale else 1.0
        self.source = nn.Embedding(source_vocabulary, d_model)
        self.target = nn.Embedding(target_vocabulary, d_model)
        self.projection = _Output(target_vocabulary, d_model, output_bias, is_tied=tie != "none")
        for table in (self.source, self.target):
            nn.init.normal_(table.weight, std=d_model**-0.5)
        self._share()
        self.register_load_state_dict_post_hook(_share_again)  # type: ignore[no-untyped-call]

    def embed_source(self, tokens: Tensor) -> Tensor:
        """See :meth:`TokenEmbedding.embed_source`."""
        x: Tensor = self.source(tokens)
        return x * self.scale

    def embed_target(self, tokens: Tensor) -> Tensor:
        """See :meth:`TokenEmbedding.embed_target`."""
        x: Tensor = self.target(tokens)
        return x * self.scale

    def output(self) -> tuple[Tensor, Tensor | None]:
        """See :meth:`TokenEmbedding.output`."""
        return self.projection.weight, self.projection.bias

    def _share(self) -> None:
        if self.tie == "all":
            self.target.weight = self.source.weight
        if self.tie != "none":
            self.projection.weight = self.target.weight


def _share_again(module: nn.Module, incompatible: Any) -> None:
    """After ``load_state_dict(assign=True)``, which gives each name a parameter of its own."""
    assert isinstance(module, StandardEmbedding)
    module._share()


class _Output(nn.Module):
    """The projection to the vocabulary, as a holder of its parameters."""

    weight: Tensor

    def __init__(self, vocabulary: int, d_model: int, has_bias: bool, is_tied: bool) -> None:
        super().__init__()
        self.is_tied = is_tied
        self.weight = nn.Parameter(torch.randn(vocabulary, d_model) * d_model**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if has_bias else None

    def draw(self, stream: Callable[[str], torch.Generator]) -> None:
        """Fill an untied matrix like the token vectors, from N(0, 1/D); a tied one was drawn where it is shared from."""
        if not self.is_tied:
            with torch.no_grad():
                std = self.weight.shape[1] ** -0.5
                self.weight.copy_(torch.empty(self.weight.shape).normal_(std=std, generator=stream("weight")))
