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
    "feed_forward/glu/encoder_feed_forward": "inner.weight output.weight",
    "feed_forward/glu/decoder_feed_forward": "inner.weight output.weight",
    "feed_forward/mlp/encoder_feed_forward": "inner.weight inner.bias output.weight output.bias",
    "feed_forward/mlp/decoder_feed_forward": "inner.weight inner.bias output.weight output.bias",
    "positions/alibi/encoder": "",
    "positions/alibi/decoder": "",
    "positions/chain/encoder": "schemes.0.table.weight schemes.1.weight",
    "positions/chain/decoder": "schemes.0.table.weight schemes.1.weight",
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
    "normalization/layer_norm/decoder": "weight bias",
    "normalization/rms_norm/decoder": "weight",
    "activation/gelu/decoder": "",
    "activation/relu/decoder": "",
    "activation/silu/decoder": "",
    "embedding/standard/model": "source.weight target.weight projection.weight",
}
GIVEN = {"grouped_query": {"n_groups": 2}, "chain": {"schemes": ["learned", "t5"]}}


@pytest.mark.parametrize("part", KEYS)
def test_keys_are_what_they_were(part: str) -> None:
    kind, name, site = part.split("/")
    node = {"name": name, **GIVEN.get(name, {})}
    module = build_embedding(node) if kind == "embedding" else Rig(kind, node, site, n_layers=1).parts()[0]
    assert list(module.state_dict()) == KEYS[part].split()


def test_every_part_of_the_package_is_listed() -> None:
    expected = {
        f"{kind}/{name}/{site}"
        for kind in SITES
        for name, entry in REGISTRIES[kind].entries.items()
        if entry.origin is None
        for site in sites(kind, name)
    }
    assert expected == set(KEYS), "a new part needs its keys here; an old one must not lose them"
