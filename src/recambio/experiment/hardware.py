"""Whether this machine can give a training the devices that its config asks for."""

from __future__ import annotations

import difflib
import os
import warnings
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import StrategyRegistry

from recambio.config.schema import Trainer
from recambio.errors import InputError

_RIGHT = {
    "accelerator": "auto takes what there is",
    "devices": "auto takes all there are; a number from 1 that many, processes on a CPU; 0,1 GPUs by their numbers",
    "num_nodes": "1 is this machine alone",
    "strategy": "auto and ddp are the ones tested here (docs/distributed.md)",
}
_COPIES = ("ddp_spawn", "ddp_fork", "ddp_notebook")
_BY_HAND = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


def check_trainer(trainer: Trainer) -> None:
    """Let Lightning resolve the config's devices and strategy, one option after the other, before anything is prepared or written.

    Raises:
        InputError: One of them isn't to be had here; one line.
    """
    known = StrategyRegistry.available_strategies()
    if trainer.strategy.lower() not in ("auto", *known):
        close = difflib.get_close_matches(trainer.strategy, ["auto", *known], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"trainer.strategy: unknown strategy {trainer.strategy!r}.{hint} {_RIGHT['strategy']}")
    if trainer.strategy.lower().startswith(_COPIES):
        raise InputError(
            f"trainer.strategy: {trainer.strategy!r} makes the ranks of copies of this process, which can't be sent what a run holds; ddp "
            "starts the command again for each"
        )
    options: dict[str, Any] = {}
    for name, right in _RIGHT.items():
        options[name] = getattr(trainer, name)
        try:
            resolved = _resolved(options)
        # Lightning refuses with exceptions of many kinds, ImportError of a missing package among them.
        except Exception as error:
            raise InputError(f"trainer.{name}: is {options[name]!r}: {_line(error)}; {right}") from error
    for environment in (TorchElasticEnvironment, SLURMEnvironment):
        if environment.detect():
            try:
                environment().validate_settings(resolved.num_devices, resolved.num_nodes)
            except ValueError as error:
                raise InputError(
                    f"trainer.devices, trainer.num_nodes: {_line(error)}; give those that were started"
                ) from error
    is_by_hand = isinstance(getattr(resolved.strategy, "cluster_environment", None), LightningEnvironment)
    if trainer.num_nodes > 1 and is_by_hand and not all(variable in os.environ for variable in _BY_HAND):
        raise InputError(
            f"trainer.num_nodes: is {trainer.num_nodes}, but nothing says which node this is and where the first one is; start it on each "
            f"by docs/launch/torchrun.sh or docs/launch/slurm.sh, or set {', '.join(_BY_HAND[:-1])} and {_BY_HAND[-1]}"
        )


def _resolved(options: dict[str, Any]) -> L.Trainer:
    with warnings.catch_warnings():
        # What is worth a warning is said when the training's own trainer is made.
        warnings.simplefilter("ignore")
        return L.Trainer(
            **options,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".!")
