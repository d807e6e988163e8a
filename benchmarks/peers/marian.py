"""Hugging Face's `MarianMTModel`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor, nn
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from benchmarks.peers.contender import Contender, plain_adamw
from benchmarks.peers.sizes import BEAM_WIDTH, DROPOUT, EOS, PAD, SMOOTHING, SOS, Size, padded
from recambio.data.batch import Batch

transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]


class Marian(Contender):
    """``model(...).logits`` and `torch.nn.functional.cross_entropy` to train, ``model.generate`` to decode."""

    name: ClassVar[str] = "marian"
    title: ClassVar[str] = "HF Marian"
    model: MarianMTModel

    def __init__(self, size: Size, attention: str = "sdpa") -> None:
        super().__init__(size)
        options: dict[str, Any] = {"attn_implementation": attention}
        config = MarianConfig(
            vocab_size=size.vocabulary,
            d_model=size.d_model,
            encoder_layers=size.n_layers,
            decoder_layers=size.n_layers,
            encoder_attention_heads=size.n_heads,
            decoder_attention_heads=size.n_heads,
            encoder_ffn_dim=size.d_ff,
            decoder_ffn_dim=size.d_ff,
            activation_function="relu",
            dropout=DROPOUT,
            attention_dropout=0.0,
            activation_dropout=0.0,
            scale_embedding=True,
            share_encoder_decoder_embeddings=True,
            tie_word_embeddings=True,
            max_position_embeddings=128,
            pad_token_id=PAD,
            decoder_start_token_id=SOS,
            eos_token_id=EOS,
            forced_eos_token_id=None,
            **options,
        )
        self.model = MarianMTModel(config)

    def loss(self, batch: Batch) -> Tensor:
        """See :meth:`Contender.loss`. The model projects every position, padding too."""
        logits = self.model(
            input_ids=batch.source,
            attention_mask=batch.source_mask,
            decoder_input_ids=batch.decoder_input,
            use_cache=False,
        ).logits
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), batch.target[:, 1:].flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
        )

    def optimizer(self) -> torch.optim.Optimizer:
        """See :meth:`Contender.optimizer`."""
        return plain_adamw(self.model)

    def forbid_special_tokens(self) -> None:
        """See :meth:`Contender.forbid_special_tokens`. Through the bias that is added anyway: a logits processor costs."""
        self.model.final_logits_bias[0, [PAD, SOS, EOS]] = float("-inf")

    def greedy(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """See :meth:`Contender.greedy`."""
        return self._generate(sources, n_tokens, n_beams=1)

    def beam(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """See :meth:`Contender.beam`."""
        return self._generate(sources, n_tokens, n_beams=BEAM_WIDTH)

    def _generate(self, sources: Sequence[Sequence[int]], n_tokens: int, n_beams: int) -> list[list[int]]:
        source = padded([list(row) for row in sources])
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            num_beams=n_beams,
            do_sample=False,
            max_new_tokens=n_tokens,
            length_penalty=1.0,
            pad_token_id=PAD,
            eos_token_id=EOS,
            decoder_start_token_id=SOS,
        )
        model: Any = self.model
        tokens = model.generate(source, attention_mask=source != PAD, generation_config=settings)
        return tokens[:, 1:].tolist()  # type: ignore[no-any-return]
