"""The names that checkpoints are read by: whoever renames a parameter of a part breaks old runs, and this test."""

from __future__ import annotations

import pytest

from recambio.registry import REGISTRIES
from recambio.testing import SITES, sites
from recambio.testing.rig import Rig, build_embedding

# kind/name/site -> keys, in order, of one part in a stack of one layer
KEYS = {
    "attention/grouped_query/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/grouped_query/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/grouped_query/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/multi_head/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/multi_head/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/multi_head/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/qk_norm/encoder_self": "input.weight input.bias output.weight output.bias query_norm.weight key_norm.weight",
    "attention/qk_norm/decoder_self": "input.weight input.bias output.weight output.bias query_norm.weight key_norm.weight",
    "attention/qk_norm/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias query_norm.weight "
    "key_norm.weight",
    "attention/cosine/encoder_self": "scale input.weight input.bias output.weight output.bias",
    "attention/cosine/decoder_self": "scale input.weight input.bias output.weight output.bias",
    "attention/cosine/cross": "scale query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/gated/encoder_self": "input.weight input.bias output.weight output.bias gate.weight gate.bias",
    "attention/gated/decoder_self": "input.weight input.bias output.weight output.bias gate.weight gate.bias",
    "attention/gated/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias gate.weight gate.bias",
    "attention/differential/encoder_self": "shares input.weight input.bias output.weight output.bias norm.weight",
    "attention/differential/decoder_self": "shares input.weight input.bias output.weight output.bias norm.weight",
    "attention/differential/cross": "shares query.weight query.bias memory.weight memory.bias output.weight output.bias norm.weight",
    "attention/sliding_window/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/sliding_window/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/latent/encoder_self": "input.weight input.bias norm.weight up.weight output.weight output.bias",
    "attention/latent/decoder_self": "input.weight input.bias norm.weight up.weight output.weight output.bias",
    "attention/latent/cross": "query.weight query.bias memory.weight memory.bias norm.weight up.weight output.weight output.bias",
    "attention/linformer/encoder_self": "input.weight input.bias output.weight output.bias key_mixtures.weight value_mixtures.weight",
    "attention/fourier_mix/encoder_self": "",
    "attention/cope/decoder_self": "position_vectors input.weight input.bias output.weight output.bias",
    "attention/entmax/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/entmax/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/entmax/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/shaw/encoder_self": "relative_keys relative_values input.weight input.bias output.weight output.bias",
    "attention/shaw/decoder_self": "relative_keys relative_values input.weight input.bias output.weight output.bias",
    "attention/sigmoid/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/sigmoid/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/sigmoid/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/sink/encoder_self": "sink input.weight input.bias output.weight output.bias",
    "attention/sink/decoder_self": "sink input.weight input.bias output.weight output.bias",
    "attention/sink/cross": "sink query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/softpick/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/softpick/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/softpick/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/sparse_topk/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/sparse_topk/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/sparse_topk/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/synthesizer/encoder_self": "table input.weight input.bias output.weight output.bias",
    "attention/synthesizer/decoder_self": "table input.weight input.bias output.weight output.bias",
    "attention/talking_heads/encoder_self": "mix_scores mix_weights input.weight input.bias output.weight output.bias",
    "attention/talking_heads/decoder_self": "mix_scores mix_weights input.weight input.bias output.weight output.bias",
    "attention/talking_heads/cross": "mix_scores mix_weights query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/transformer_xl/encoder_self": "content_query distance_query input.weight input.bias output.weight output.bias "
    "distance.weight",
    "attention/transformer_xl/decoder_self": "content_query distance_query input.weight input.bias output.weight output.bias "
    "distance.weight",
    "attention/average/decoder_self": "inner.weight inner.bias outer.weight outer.bias gates.weight gates.bias",
    "attention/cosformer/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/cosformer/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/linear/encoder_self": "input.weight input.bias output.weight output.bias",
    "attention/linear/decoder_self": "input.weight input.bias output.weight output.bias",
    "attention/linear/cross": "query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/performer/encoder_self": "directions input.weight input.bias output.weight output.bias",
    "attention/performer/decoder_self": "directions input.weight input.bias output.weight output.bias",
    "attention/performer/cross": "directions query.weight query.bias memory.weight memory.bias output.weight output.bias",
    "attention/dynamic_conv/encoder_self": "input.weight input.bias output.weight output.bias kernel.weight",
    "attention/light_conv/encoder_self": "weight input.weight input.bias output.weight output.bias",
    "attention/dynamic_conv/decoder_self": "input.weight input.bias output.weight output.bias kernel.weight",
    "attention/light_conv/decoder_self": "weight input.weight input.bias output.weight output.bias",
    "attention/ssru/decoder_self": "forget_bias input.weight",
    "feed_forward/glu/encoder_feed_forward": "inner.weight output.weight",
    "feed_forward/glu/decoder_feed_forward": "inner.weight output.weight",
    "feed_forward/mlp/encoder_feed_forward": "inner.weight inner.bias output.weight output.bias",
    "feed_forward/mlp/decoder_feed_forward": "inner.weight inner.bias output.weight output.bias",
    "feed_forward/conv/encoder_feed_forward": "inner.weight inner.bias output.weight output.bias",
    "feed_forward/conv/decoder_feed_forward": "inner.weight inner.bias output.weight output.bias",
    "feed_forward/mixture_of_experts/encoder_feed_forward": "router.weight inner.weight output.weight",
    "feed_forward/mixture_of_experts/decoder_feed_forward": "router.weight inner.weight output.weight",
    "feed_forward/none/encoder_feed_forward": "",
    "feed_forward/none/decoder_feed_forward": "",
    "positions/alibi/encoder": "",
    "positions/alibi/decoder": "",
    "positions/chain/encoder": "schemes.1.weight",
    "positions/chain/decoder": "schemes.1.weight",
    "positions/learned/encoder": "table.weight",
    "positions/learned/decoder": "table.weight",
    "positions/none/encoder": "",
    "positions/none/decoder": "",
    "positions/rope/encoder": "",
    "positions/rope/decoder": "",
    "positions/sinusoidal/encoder": "",
    "positions/sinusoidal/decoder": "",
    "positions/t5/encoder": "weight",
    "positions/t5/decoder": "weight",
    "block/post_norm/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias",
    "block/post_norm/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias",
    "block/pre_norm/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias final_norm.weight final_norm.bias",
    "block/pre_norm/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias final_norm.weight final_norm.bias",  # noqa: E501
    "block/admin/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias omegas.0.0 omegas.0.1",
    "block/admin/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias "
    "omegas.0.0 omegas.0.1 omegas.0.2",
    "block/b2t/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias",
    "block/b2t/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias",
    "block/deep_norm/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias",
    "block/deep_norm/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias",
    "block/dlcl/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias final_norm.weight final_norm.bias "
    "output_norms.0.weight output_norms.0.bias weights.0 weights.1",
    "block/dlcl/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias "
    "final_norm.weight final_norm.bias output_norms.0.weight output_norms.0.bias weights.0 weights.1",
    "block/hyper_connections/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias final_norm.weight final_norm.bias "
    "connections.0.0.mixing connections.0.0.shares connections.0.0.weight connections.0.0.mixing_scale "
    "connections.0.0.shares_scale connections.0.0.norm.weight connections.0.0.norm.bias "
    "connections.0.1.mixing connections.0.1.shares connections.0.1.weight connections.0.1.mixing_scale "
    "connections.0.1.shares_scale connections.0.1.norm.weight connections.0.1.norm.bias",
    "block/hyper_connections/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias "
    "final_norm.weight final_norm.bias connections.0.0.mixing connections.0.0.shares connections.0.0.weight "
    "connections.0.0.mixing_scale connections.0.0.shares_scale connections.0.0.norm.weight "
    "connections.0.0.norm.bias connections.0.1.mixing connections.0.1.shares connections.0.1.weight "
    "connections.0.1.mixing_scale connections.0.1.shares_scale connections.0.1.norm.weight "
    "connections.0.1.norm.bias connections.0.2.mixing connections.0.2.shares connections.0.2.weight "
    "connections.0.2.mixing_scale connections.0.2.shares_scale connections.0.2.norm.weight "
    "connections.0.2.norm.bias",
    "block/layer_scale/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias final_norm.weight final_norm.bias "
    "scales.0.0 scales.0.1",
    "block/layer_scale/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias "
    "final_norm.weight final_norm.bias scales.0.0 scales.0.1 scales.0.2",
    "block/parallel/encoder": "norms.0.0.weight norms.0.0.bias final_norm.weight final_norm.bias",
    "block/parallel/decoder": "norms.0.0.weight norms.0.0.bias final_norm.weight final_norm.bias",
    "block/peri_norm/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias final_norm.weight final_norm.bias "
    "output_norms.0.0.weight output_norms.0.0.bias output_norms.0.1.weight output_norms.0.1.bias "
    "input_norm.weight input_norm.bias",
    "block/peri_norm/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias "
    "final_norm.weight final_norm.bias output_norms.0.0.weight output_norms.0.0.bias output_norms.0.1.weight "
    "output_norms.0.1.bias output_norms.0.2.weight output_norms.0.2.bias input_norm.weight input_norm.bias",
    "block/res_dual/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias final_norm.weight final_norm.bias",
    "block/res_dual/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias "
    "final_norm.weight final_norm.bias",
    "block/rezero/encoder": "scales.0",
    "block/rezero/decoder": "scales.0",
    "block/sandwich_norm/encoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias final_norm.weight final_norm.bias "
    "output_norms.0.0.weight output_norms.0.0.bias output_norms.0.1.weight output_norms.0.1.bias",
    "block/sandwich_norm/decoder": "norms.0.0.weight norms.0.0.bias norms.0.1.weight norms.0.1.bias norms.0.2.weight norms.0.2.bias "
    "final_norm.weight final_norm.bias output_norms.0.0.weight output_norms.0.0.bias output_norms.0.1.weight "
    "output_norms.0.1.bias output_norms.0.2.weight output_norms.0.2.bias",
    "normalization/layer_norm/decoder": "weight bias",
    "normalization/rms_norm/decoder": "weight",
    "activation/gelu/decoder": "",
    "activation/relu/decoder": "",
    "activation/silu/decoder": "",
    "positions/fire/encoder": "c threshold_factor inner offset outer",
    "positions/fire/decoder": "c threshold_factor inner offset outer",
    "positions/kerple/encoder": "raw_r1 raw_r2",
    "positions/kerple/decoder": "raw_r1 raw_r2",
    "positions/sandwich/encoder": "",
    "positions/sandwich/decoder": "",
    "positions/xpos/decoder": "",
    "normalization/dynamic_tanh/decoder": "alpha weight bias",
    "normalization/none/decoder": "",
    "normalization/scale_norm/decoder": "g",
    "activation/mish/decoder": "",
    "activation/relu_squared/decoder": "",
    "activation/tanh/decoder": "",
    "embedding/factorised/model": "source_map target_map output_map tables.source.weight tables.target.weight tables.projection.weight",
    "embedding/normalised/model": "gain source.weight target.weight projection.weight",
    "embedding/standard/model": "source.weight target.weight projection.weight",
}


@pytest.mark.parametrize("part", KEYS)
def test_keys_are_what_they_were(part: str) -> None:
    kind, name, site = part.split("/")
    node = REGISTRIES[kind].example(name)
    module = build_embedding(node) if kind == "embedding" else Rig(kind, node, site, n_layers=1).parts()[0]
    assert list(module.state_dict()) == KEYS[part].split()


def test_every_part_of_the_package_is_listed() -> None:
    expected = {
        f"{kind}/{name}/{site}"
        for kind, places in SITES.items()
        if not {"training", "decoding", "evaluation"} & set(places)  # what trains, searches or scores has no weights
        for name, entry in REGISTRIES[kind].entries.items()
        if entry.origin is None
        for site in sites(kind, name)
    }
    assert expected == set(KEYS), "a new part needs its keys here; an old one must not lose them"
