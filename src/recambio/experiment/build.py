"""From a config to the objects it names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from recambio.components.compatible import is_bounded
from recambio.config import Config, data_root, site_nodes
from recambio.config.schema import Decoding
from recambio.data.corpora.base import Corpus
from recambio.data.tokenizers.base import Tokenizer
from recambio.decoding.scorer import ModelScorer
from recambio.decoding.searches.base import Search
from recambio.errors import InputError
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.model.prepare import prepared
from recambio.registry import CORPUS, LOSS, OPTIMIZER, SCHEDULE, SEARCH, TOKENIZER
from recambio.training.losses.base import Loss
from recambio.training.optimizers.base import OptimizerPart, ParameterGroups
from recambio.training.schedules.base import Schedule

_PLACEHOLDER_VOCABULARY = 64


def model_spec(config: Config, source_vocabulary: int, target_vocabulary: int, is_joint: bool) -> ModelSpec:
    """What the config says of the model, for vocabularies of these sizes."""
    sites, model = site_nodes(config), config.values.model
    encoder = StackSpec(
        n_layers=model.encoder.n_layers,
        self_attention=sites.encoder_attention,
        feed_forward=sites.encoder_feed_forward,
        normalization=sites.encoder_normalization,
        activation=sites.encoder_activation,
        block=sites.encoder_block,
        positions=sites.encoder_positions,
        position_layers=model.encoder.position_layers,
    )
    decoder = StackSpec(
        n_layers=model.decoder.n_layers,
        self_attention=sites.decoder_attention,
        cross_attention=sites.cross_attention,
        feed_forward=sites.decoder_feed_forward,
        normalization=sites.decoder_normalization,
        activation=sites.decoder_activation,
        block=sites.decoder_block,
        positions=sites.decoder_positions,
        position_layers=model.decoder.position_layers,
    )
    return ModelSpec(
        encoder=encoder,
        decoder=decoder,
        source_vocabulary=source_vocabulary,
        target_vocabulary=target_vocabulary,
        is_joint=is_joint,
        d_model=model.d_model,
        n_heads=model.n_heads,
        d_ff=model.d_ff,
        dropout=model.dropout,
        embedding=model.embedding,
        max_length=config.values.data.max_length,
        seed=config.values.seed,
    )


def build_model(config: Config, tokenizer: Tokenizer) -> Transformer:
    """The config's model for a tokenizer's vocabulary, initialised.

    Raises:
        InputError: A part refuses its place; the line names both.
    """
    spec = model_spec(config, tokenizer.source_vocabulary_size, tokenizer.target_vocabulary_size, tokenizer.is_joint)
    try:
        return Transformer(spec)
    except ValueError as error:
        raise InputError(f"model.{error}") from error


def check_parts(config: Config) -> None:
    """Build everything that needs no data, to learn before any is touched whether the parts fit together.

    Raises:
        InputError: All refusals, a line each.
    """
    problems: list[str] = []
    tokenizer = TOKENIZER.create(config.values.data.tokenizer, seed=config.values.seed)
    spec = model_spec(config, _PLACEHOLDER_VOCABULARY, _PLACEHOLDER_VOCABULARY, tokenizer.is_joint)
    builders: dict[str, Callable[[], object]] = {
        "model": lambda: _on_meta(spec),
        "training.schedule": lambda: build_schedule(config, config.values.training.max_steps or 10**9),
        "training.loss": lambda: build_loss(config, 0),
        "training.optimizer": lambda: _check_optimizer(config),
        "decoding.search": lambda: build_search(config.values.decoding.search, tokenizer),
        "decoding.validation_search": lambda: build_search(config.values.decoding.validation_search, tokenizer),
    }
    for where, build in builders.items():
        try:
            build()
        except InputError as error:
            problems += [f"{where}: {p}" for p in error.problems]
        except ValueError as error:
            problems.append(f"{where}{'.' if where == 'model' else ': '}{error}")
    if problems:
        raise InputError(problems)


def _check_optimizer(config: Config) -> None:
    """Build the optimizer, and refuse a moving average of weights that it averages itself."""
    optimizer = build_optimizer(config).build(ParameterGroups.of(torch.nn.Linear(1, 1)), is_fused=False)
    if config.values.training.average.ema is not None and callable(getattr(optimizer, "eval", None)):
        name = config.values.training.optimizer["name"]
        raise ValueError(f"{name!r} averages its weights itself; leave out training.average.ema, or choose another")


def _on_meta(spec: ModelSpec) -> None:
    with torch.device("meta"):
        Transformer(spec)


def build_loss(config: Config, pad_id: int) -> Loss:
    """The config's loss."""
    return LOSS.create(config.values.training.loss, pad_id=pad_id)  # type: ignore[no-any-return]


def build_optimizer(config: Config) -> OptimizerPart:
    """The config's optimizer, before it knows any parameter."""
    return OPTIMIZER.create(config.values.training.optimizer)  # type: ignore[no-any-return]


def build_schedule(config: Config, max_steps: int | None) -> Schedule:
    """The config's learning-rate schedule for a run of this many optimiser steps."""
    return SCHEDULE.create(config.values.training.schedule, d_model=config.values.model.d_model, max_steps=max_steps)  # type: ignore[no-any-return]


def build_search(node: Any, tokenizer: Tokenizer) -> Search:
    """The search that a node names, for translations that this tokenizer spells."""
    return SEARCH.create(node, detokenize=tokenizer.decode)  # type: ignore[no-any-return]


def build_corpus(config: Config) -> Corpus:
    """The config's corpus, its files found."""
    return CORPUS.create(  # type: ignore[no-any-return]
        config.values.data.corpus, root=data_root(config), source_language="en", target_language="es"
    )


def build_scorer(model: Transformer, tokenizer: Tokenizer, decoding: Decoding) -> ModelScorer:
    """A model whose weights no longer change as a search sees it.

    Raises:
        InputError: There are no products of that precision here.
    """
    try:
        model = prepared(model, decoding.precision)
    except ValueError as error:
        raise InputError(f"decoding.precision: {error}") from error
    return ModelScorer(
        model,
        sos_id=tokenizer.sos_id,
        eos_id=tokenizer.eos_id,
        pad_id=tokenizer.pad_id,
        is_recorded=decoding.record_steps and next(model.parameters()).device.type == "cpu",
    )


def longest_target(config: Config) -> int | None:
    """The most target tokens that the decoder can count; None if its parts know no limit."""
    sites = site_nodes(config)
    limited = any(is_bounded(attention, sites.decoder_positions) for attention in sites.decoder_attention)
    return config.values.data.max_length if limited else None


def set_threads(threads: int | None) -> int:
    """Bound torch's CPU threads. Returns: how many it uses."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def relative(path: Path) -> str:
    """A path as a person at the working folder would type it."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)
