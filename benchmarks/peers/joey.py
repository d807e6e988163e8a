"""JoeyNMT's Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from joeynmt.decoders import TransformerDecoder
from joeynmt.embeddings import Embeddings
from joeynmt.encoders import TransformerEncoder
from joeynmt.model import Model
from joeynmt.transformer_layers import MultiHeadedAttention, PositionwiseFeedForward
from joeynmt.vocabulary import Vocabulary
from torch import Tensor, nn

from benchmarks.peers.contender import Contender, plain_adamw
from benchmarks.peers.ours import Ours
from benchmarks.peers.sizes import DROPOUT, PAD, SMOOTHING, Size
from benchmarks.peers.weights import copy_map, embedding, layers
from recambio.data.batch import Batch


class Joey(Contender):
    """Its model's logits and `torch.nn.functional.cross_entropy`; it has no cache, so decoding is left out.

    Its own loss writes the smoothed targets out, (B * T, V) of them, and its trainer counts correct tokens at every step: neither is
    part of this step, both are part of its training end to end.
    """

    name: ClassVar[str] = "joeynmt"
    title: ClassVar[str] = "JoeyNMT"
    model: Model

    def __init__(self, size: Size) -> None:
        super().__init__(size)
        stack: dict[str, Any] = {
            "num_layers": size.n_layers,
            "num_heads": size.n_heads,
            "hidden_size": size.d_model,
            "ff_size": size.d_ff,
            "dropout": DROPOUT,
            "emb_dropout": DROPOUT,
            "layer_norm": "post",
            "activation": "relu",
        }
        embedding = Embeddings(size.d_model, scale=True, vocab_size=size.vocabulary, padding_idx=PAD)
        decoder = TransformerDecoder(**stack, vocab_size=size.vocabulary)
        decoder.output_layer.weight = embedding.lut.weight
        vocabulary = _vocabulary()
        self.model = Model(TransformerEncoder(**stack), decoder, embedding, embedding, vocabulary, vocabulary)
        no_further_dropout(self.model)
        for module in self.model.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = 1e-5  # as the others have it

    def loss(self, batch: Batch) -> Tensor:
        """See :meth:`Contender.loss`. The model projects every position, padding too."""
        source_mask = batch.source != PAD
        following = batch.target[:, 1:]
        logits, *_ = self.model._encode_decode(
            src=batch.source,
            trg_input=batch.decoder_input,
            src_mask=source_mask[:, None],
            src_length=source_mask.sum(1),
            trg_mask=(following != PAD)[:, None],
        )
        return nn.functional.cross_entropy(
            logits.flatten(0, 1), following.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
        )

    def optimizer(self) -> torch.optim.Optimizer:
        """See :meth:`Contender.optimizer`."""
        return plain_adamw(self.model)

    def forbid_special_tokens(self) -> None:
        """Not for decoding."""
        raise NotImplementedError(_NO_DECODING)

    def greedy(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """Not for decoding."""
        raise NotImplementedError(_NO_DECODING)

    def beam(self, sources: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
        """Not for decoding."""
        raise NotImplementedError(_NO_DECODING)


_NO_DECODING = "JoeyNMT takes part in training only"


def no_further_dropout(model: nn.Module) -> None:
    """Its one option drops attention weights and inner activations too; the others here do not."""
    for module in model.modules():
        if isinstance(module, MultiHeadedAttention):
            module.dropout.p = 0.0
        elif isinstance(module, PositionwiseFeedForward):
            module.pwff_layer[2].p = 0.0


@torch.no_grad()
def copy_to_joey(ours: Ours, theirs: Joey) -> None:
    """It keeps a map each for q, k and v, and the feed-forward network's norm inside it."""
    theirs.model.src_embed.lut.weight.copy_(embedding(ours))
    for name, i, layer in layers(ours):
        peer: Any = getattr(theirs.model, name).layers[i]
        norms: Any = getattr(ours.model, name).block.norms[i]
        attentions = [("src_src_att", layer.self_attention)]
        pairs = [(peer.feed_forward.layer_norm, norms[-1])]
        if name == "encoder":
            pairs.append((peer.layer_norm, norms[0]))
        else:
            attentions = [("trg_trg_att", layer.self_attention), ("src_trg_att", layer.cross_attention)]
            pairs += [(peer.x_layer_norm, norms[0]), (peer.dec_layer_norm, norms[1])]
        for attribute, attention in attentions:
            _copy_attention(getattr(peer, attribute), attention, is_cross=attribute == "src_trg_att")
        pairs += [(peer.feed_forward.pwff_layer[0], layer.feed_forward.inner)]
        pairs += [(peer.feed_forward.pwff_layer[3], layer.feed_forward.output)]
        for to, source in pairs:
            copy_map(to, source)


def _copy_attention(to: MultiHeadedAttention, source: Any, is_cross: bool) -> None:
    stacks = [source.query, source.memory] if is_cross else [source.input]
    weights = torch.cat([s.weight for s in stacks]).chunk(3)
    biases = torch.cat([s.bias for s in stacks]).chunk(3)
    for linear, weight, bias in zip((to.q_layer, to.k_layer, to.v_layer), weights, biases, strict=True):
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    copy_map(to.output_layer, source.output)


def _vocabulary() -> Vocabulary:
    """The model only asks it for the special tokens' names."""
    names = {"unk": 0, "pad": 1, "bos": 2, "eos": 3}
    symbols = {f"{n}_token": f"<{n}>" for n in names} | {f"{n}_id": i for n, i in names.items()}
    return Vocabulary([], SimpleNamespace(**symbols, sep_token=None, sep_id=None, lang_tags=[]))
