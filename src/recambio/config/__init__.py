"""Configs: YAML files that extend each other, overrides last, every problem in one report.

config = load("tiny", ["model.attention=grouped_query", "training.max_steps=100"])
config.values.model.d_model, config.origins["model.attention.name"], site_nodes(config)
"""

from __future__ import annotations

from recambio.config import sites as _sites
from recambio.config.build import Config, data_root, from_dict, load
from recambio.config.schema import PartNode, RunConfig
from recambio.config.sites import ModelSites


def site_nodes(config: Config) -> ModelSites:
    """The part of every site of the model, inheritance applied."""
    return _sites.site_nodes(config.values.model)


__all__ = ["Config", "ModelSites", "PartNode", "RunConfig", "data_root", "from_dict", "load", "site_nodes"]
