"""A plain loop around `torch.nn.Transformer`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchmarks.peers.contender import Contender, plain_adamw
from benchmarks.peers.sizes import BEAM_WIDTH, DROPOUT, EOS, PAD, SMOOTHING, SOS, Size, padded
from recambio.data.batch import Batch


class TorchLoop(Contender):
    """What the tutorials write; it decodes without a cache, for `torch.nn.Transformer` has none."""

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "torch.nn.Transformer"
    model: TorchTransformer

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        self.model = TorchTransformer(size)

    def loss(self, batch: Batch) -> Tensor:
        """See :meth:`Contender.loss`."""
        memory = self.model.encode(batch.source)
        logits = self.model.project(self.model.decode(batch.decoder_input, memory, batch.source == PAD))
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.target[:, 1:].flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
        )

    def optimizer(self) -> torch.optim.Optimizer:
        """See :meth:`Contender.optimizer`."""
        return plain_adamw(self.model)

    def forbid_special_tokens(self) -> None:
        """See :meth:`Contender.forbid_special_tokens`."""
        self.model.never[[PAD, SOS, EOS]] = float("-inf")

    @torch.inference_mode()
    def greedy(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """See :meth:`Contender.greedy`."""
        source = padded([list(row) for row in sources])
        memory, is_padding = self.model.encode(source), source == PAD
        target = torch.full((len(source), 1), SOS)
        for _ in range(n_tokens):
            logits = self.model.project(self.model.decode(target, memory, is_padding)[:, -1]) + self.model.never
            target = torch.cat([target, logits.argmax(-1, keepdim=True)], dim=1)
        return target[:, 1:].tolist()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def beam(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """See :meth:`Contender.beam`. All hypotheses are equally long, so the sum ranks as the mean does."""
        source = padded([list(row) for row in sources])
        n, k, v = len(source), BEAM_WIDTH, self.size.vocabulary
        memory = self.model.encode(source).repeat_interleave(k, dim=0)
        is_padding = (source == PAD).repeat_interleave(k, dim=0)
        target = torch.full((n * k, 1), SOS)
        sums = torch.full((n, k), -math.inf)
        sums[:, 0] = 0.0
        first = torch.arange(n)[:, None] * k
        for _ in range(n_tokens):
            logits = self.model.project(self.model.decode(target, memory, is_padding)[:, -1]) + self.model.never
            totals = sums.view(-1, 1) + logits.float().log_softmax(-1)
            sums, best = totals.view(n, k * v).topk(k)
            rows = (best // v + first).flatten()
            target = torch.cat([target[rows], (best % v).view(-1, 1)], dim=1)
        return target.view(n, k, -1)[:, 0, 1:].tolist()  # type: ignore[no-any-return]


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer` with embeddings and positions around it.

    Its own constructor puts a norm behind each stack, which post-norm layers don't need; stacks without one are handed in.
    """

    positions: Tensor
    never: Tensor

    def __init__(self, size: Size, longest: int = 128) -> None:
        super().__init__()
        d_model = size.d_model
        shared: dict[str, Any] = {"dim_feedforward": size.d_ff, "dropout": DROPOUT, "batch_first": True}
        encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(d_model, size.n_heads, **shared), size.n_layers, enable_nested_tensor=False
        )
        decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(d_model, size.n_heads, **shared), size.n_layers)
        self.transformer = nn.Transformer(
            d_model, size.n_heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=True
        )
        for module in self.modules():
            # Its one option drops attention weights and inner activations too; the others here do not.
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            elif isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                module.dropout.p = 0.0
        self.embedding = nn.Embedding(size.vocabulary, d_model)
        self.dropout = nn.Dropout(DROPOUT)
        self.scale = math.sqrt(d_model)
        angles = torch.arange(longest)[:, None] * torch.exp(
            torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model)
        )
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
        self.register_buffer("positions", table, persistent=False)
        self.register_buffer("never", torch.zeros(size.vocabulary), persistent=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """tokens: (B, T). Returns: (B, T, D)."""
        x: Tensor = self.dropout(self.embedding(tokens) * self.scale + self.positions[: tokens.shape[1]])
        return x

    def encode(self, source: Tensor) -> Tensor:
        """source: (B, S). Returns: (B, S, D)."""
        x: Tensor = self.transformer.encoder(self.embed(source), src_key_padding_mask=source == PAD)
        return x

    def decode(self, target: Tensor, memory: Tensor, is_padding: Tensor) -> Tensor:
        """target: (B, T), memory: (B, S, D), is_padding: (B, S). Returns: (B, T, D)."""
        mask = self.transformer.generate_square_subsequent_mask(target.shape[1], dtype=memory.dtype)
        x: Tensor = self.transformer.decoder(
            self.embed(target), memory, tgt_mask=mask, memory_key_padding_mask=is_padding, tgt_is_causal=True
        )
        return x

    def project(self, hidden: Tensor) -> Tensor:
        """hidden: (..., D). Returns: logits (..., V), by the embedding's own matrix."""
        return nn.functional.linear(hidden, self.embedding.weight)
