"""Which part stands where: inheritance applied, one entry per layer."""

from __future__ import annotations

from dataclasses import dataclass

from recambio.config.schema import Decoder, Encoder, Model, PartNode, SiteNode


@dataclass(frozen=True)
class ModelSites:
    """The part of every site of a model.

    Lists have one entry per layer of their stack; positions and block are one per stack.
    """

    encoder_attention: list[PartNode]
    encoder_feed_forward: list[PartNode]
    encoder_normalization: list[PartNode]
    encoder_activation: list[PartNode]
    encoder_positions: PartNode
    encoder_block: PartNode
    decoder_attention: list[PartNode]
    cross_attention: list[PartNode]
    decoder_feed_forward: list[PartNode]
    decoder_normalization: list[PartNode]
    decoder_activation: list[PartNode]
    decoder_positions: PartNode
    decoder_block: PartNode


def site_nodes(model: Model) -> ModelSites:
    """The nodes that the model builder needs, from ``config.values.model``."""

    def layers(own: SiteNode, default: PartNode, stack: Encoder | Decoder) -> list[PartNode]:
        if isinstance(own, list):
            return [dict(node) for node in own]
        return [dict(default if own is None else own) for _ in range(stack.n_layers)]

    encoder, decoder = model.encoder, model.decoder
    return ModelSites(
        encoder_attention=layers(encoder.attention, model.attention, encoder),
        encoder_feed_forward=layers(encoder.feed_forward, model.feed_forward, encoder),
        encoder_normalization=layers(encoder.normalization, model.normalization, encoder),
        encoder_activation=layers(encoder.activation, model.activation, encoder),
        encoder_positions=dict(encoder.positions or model.positions),
        encoder_block=dict(encoder.block or model.block),
        decoder_attention=layers(decoder.attention, model.attention, decoder),
        cross_attention=layers(decoder.cross_attention, model.attention, decoder),
        decoder_feed_forward=layers(decoder.feed_forward, model.feed_forward, decoder),
        decoder_normalization=layers(decoder.normalization, model.normalization, decoder),
        decoder_activation=layers(decoder.activation, model.activation, decoder),
        decoder_positions=dict(decoder.positions or model.positions),
        decoder_block=dict(decoder.block or model.block),
    )
