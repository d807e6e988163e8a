"""``recambio train``: data, tokenizer, training, evaluation, report."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from rich.console import Console

from recambio import interrupts
from recambio.config import Config
from recambio.config import load as load_config
from recambio.data.plan import Cursor
from recambio.data.prepare import Prepared
from recambio.data.tokenizers.base import Tokenizer
from recambio.errors import InputError, RunError
from recambio.evaluation.result import build_metrics, write_results
from recambio.experiment import run_folder
from recambio.experiment.build import (
    build_loss,
    build_model,
    build_optimizer,
    build_schedule,
    build_search,
    check_parts,
    longest_target,
    relative,
    set_threads,
)
from recambio.experiment.evaluate import evaluate
from recambio.experiment.hardware import check_trainer
from recambio.experiment.init_from import InitialWeights, initial_weights
from recambio.experiment.job import Job
from recambio.experiment.overlap import has_found, overlap_lines
from recambio.experiment.precision import chosen_precision, is_slow
from recambio.experiment.prepare import prepared
from recambio.experiment.report import write_report
from recambio.experiment.run_folder import Manifest
from recambio.experiment.sets import default_sets
from recambio.experiment.summary import print_summary, start_lines
from recambio.files import replacing
from recambio.model.weights import read_step
from recambio.plugins import warn_of_change
from recambio.training.callbacks import Agreement, Checkpoints, Interrupt, Limits, Profile, Progress
from recambio.training.compilation import Compilation, compile_layers
from recambio.training.datamodule import TranslationData
from recambio.training.memory import reported
from recambio.training.module import EvaluationText, TranslationModule
from recambio.training.tracking import log_final, make_loggers

RUN_VARIABLE = "RECAMBIO_RUN_DIR"
"""Tells the processes that Lightning starts for the other ranks which folder the first one made."""


@contextmanager
def _handing_down() -> Iterator[None]:
    """Take back in the end what the environment tells the ranks that this process starts: its next run has another folder."""
    is_told = RUN_VARIABLE in os.environ
    try:
        yield
    finally:
        if not is_told:
            os.environ.pop(RUN_VARIABLE, None)


@_handing_down()
def run(config: Config, *, resume: bool = False, run: Path | None = None) -> Path:
    """Train a config to its end.

    Args:
        config: Checked.
        resume: Continue the newest unfinished run of this name; start one if there is none; do nothing if it is finished.
        run: The folder to use; with ``resume`` the one to continue.

    Returns:
        The run folder.

    Raises:
        InputError: The config can't be trained here; nothing has been written then.
        RunError: Training failed.
    """
    _quieten()
    check_trainer(config.values.trainer)
    initial = initial_weights(config)
    check_parts(config)
    if initial is not None:
        # Weights that don't fit are to be known of before anything is written.
        initial.fill(build_model(config, initial.tokenizer))
    # Nothing is written or started before something is logged: this only asks whether it could be.
    _loggers(config, Path(), None)
    # Nor may a metric whose model can't be had be found out after the training.
    build_metrics(config.values.evaluation.metrics)
    threads = set_threads(config.values.trainer.threads)
    is_first = run_folder.is_first_process()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    data = prepared(config, tokenizer=initial.tokenizer if initial else None, is_quiet=not is_first)
    overlap = data.reports["train"].overlap
    if is_first and overlap is not None and has_found(overlap):
        for line in overlap_lines(overlap):
            console.print(line, markup=False)
    _batches(config, data).plan(1)
    folder, is_resumed = _folder(config, resume, run, is_first)
    manifest = run_folder.read_manifest(folder)
    if manifest.finished:
        console.print(f"{relative(folder)} is finished; nothing to resume")
        return folder
    if not is_first:
        _fill(config, data, initial, folder, manifest, console)
        return folder
    with interrupts.advising(lambda: _kept(folder)), run_folder.held(folder):
        run_folder.sweep(folder)
        if is_resumed and (folder / "config.yaml").is_file():
            _check_unchanged(config, folder, manifest)
            _check_same_data(data, folder, manifest)
        config.save(folder / "config.yaml")
        data.tokenizer.save(folder)
        _describe(manifest, config, data, initial, threads)
        run_folder.write_manifest(folder, manifest)
        console.print(f"run folder: {relative(folder)}{' (resumed)' if is_resumed else ''}")
        if config.values.trainer.precision == "auto":
            console.print(f"precision: {manifest.precision}")
        for line in start_lines(manifest.init_from):
            console.print(line)
        _fill(config, data, initial, folder, manifest, console)
        _conclude(config, folder, manifest, console)
    return folder


def _kept(folder: Path) -> str:
    """What an interrupted run has, and how it goes on."""
    where = relative(folder)
    if run_folder.read_manifest(folder).trained:
        return (
            f"the training in {where} is finished; `recambio eval {where}` scores it, or the same command with --resume does, and "
            "writes the report"
        )
    last = folder / "checkpoints" / "last.ckpt"
    saved = f"step {read_step(last)} is saved" if last.is_file() else "nothing is saved yet"
    return f"{saved} in {where}; the same command with --resume goes on"


def _fill(
    config: Config, data: Prepared, initial: InitialWeights | None, folder: Path, manifest: Manifest, console: Console
) -> None:
    """Train, unless the run has; the first process leaves the recommended weights and the manifest."""
    if manifest.trained:
        # Removed only when the manifest knows of the training's end: one killed before that needs them, one killed after it may leave them.
        Checkpoints(folder / "checkpoints").remove_snapshots()
        return
    trainer, module, checkpoints, limits = _fit(config, data, initial, folder, manifest, console)
    if not trainer.is_global_zero:
        return
    console.print(f"training ended: {limits.reason}")
    _choose_weights(folder, checkpoints, config, manifest)
    manifest.trained = True
    manifest.tokens_seen = module.tokens_seen
    manifest.steps = trainer.global_step
    run_folder.write_manifest(folder, manifest)
    checkpoints.remove_snapshots()


def _folder(config: Config, resume: bool, run: Path | None, is_first: bool) -> tuple[Path, bool]:
    """The run folder, and whether it holds a run to be continued."""
    manifest = Manifest(config.values.name, config.values.seed)
    if handed := os.environ.get(RUN_VARIABLE):
        folder = Path(handed)
        return folder, (folder / "checkpoints" / "last.ckpt").is_file()
    if run is not None:
        if (run / "manifest.json").is_file():
            if not resume and is_first:
                raise InputError(f"--run {run}: holds a run already; add --resume to continue it, or name a new folder")
            folder, is_resumed = run, True
        elif is_first:
            run.mkdir(parents=True, exist_ok=True)
            run_folder.write_manifest(run, manifest)
            folder, is_resumed = run, False
        else:
            run_folder.await_manifest(run)
            folder, is_resumed = run, False
    elif not is_first:
        raise InputError(
            "--run: each rank needs the same folder when the ranks are started from outside; give --run PATH"
        )
    else:
        found = run_folder.unfinished(config.values.name) if resume else None
        done = run_folder.all_runs(config.values.name) if resume and found is None else []
        if found is not None or done:
            folder, is_resumed = found or done[0][0], True
        else:
            folder, is_resumed = run_folder.create(manifest), False
    os.environ[RUN_VARIABLE] = str(folder.resolve())
    return folder, is_resumed


_WHOLE = ("auto", "ddp", "single_device")
"""Strategies under which every rank holds all weights begin with one of these."""

_MAY_CHANGE = (
    *("name", "plugins", "data.root", "training.max_", "training.early_stopping", "training.log_every"),
    *("trainer.devices", "trainer.num_nodes", "trainer.accelerator", "trainer.strategy", "trainer.threads"),
    *("tracking", "decoding", "evaluation", "training.profile", "training.checkpoint_activations"),
)
"""What a resumed run may be given anew: its limits, its hardware, and what doesn't enter the weights."""


def _check_unchanged(config: Config, folder: Path, manifest: Manifest) -> None:
    """Refuse to go on with a run under a config that would have trained another model; warn of plugins that have changed.

    Raises:
        InputError: One line for each value that differs.
    """
    was = load_config(folder / "config.yaml", plugins_are_loaded=True, check_hardware=False).leaves()
    now = config.leaves()
    changed = [k for k in sorted({*was, *now}) if was.get(k) != now.get(k) and not k.startswith(_MAY_CHANGE)]
    if changed:
        raise InputError(
            f"{key}: is {now.get(key)!r}, but {relative(folder)} was started with {was.get(key)!r}; "
            "leave it for --resume, or start a new run without"
            for key in changed
        )
    for entry in manifest.plugins:
        for plugin in config.plugins:
            if plugin.spec == entry["spec"]:
                warn_of_change(entry, plugin.sha256, folder)


def _check_same_data(data: Prepared, folder: Path, manifest: Manifest) -> None:
    """Refuse to go on with other training pairs: a cursor into the old ones means nothing in them.

    Raises:
        InputError: They differ.
    """
    was = manifest.data.get("hashes", {}).get("train")
    if was not in (None, data.hashes["train"]):
        raise InputError(
            f"data: the training pairs aren't those that {relative(folder)} was started with: a file of the corpus has changed, or "
            "evaluation.sets names other sentences to keep out of them; undo that for --resume, or start a new run without"
        )


def _describe(manifest: Manifest, config: Config, data: Prepared, initial: InitialWeights | None, threads: int) -> None:
    started, manifest.init_from = manifest.init_from, initial.describe() if initial else None
    if started and manifest.init_from and started["sha256"] != manifest.init_from["sha256"]:
        raise InputError(
            f"training.init_from: {manifest.init_from['path']} is not the file that this run started from any more; "
            "bring that back, or start a new run without --resume"
        )
    manifest.data = {
        "hashes": data.hashes,
        "train": data.reports["train"].to_dict(),
        "pairs": {split: len(store) for split, store in data.stores.items()},
        "vocabulary": [data.tokenizer.source_vocabulary_size, data.tokenizer.target_vocabulary_size],
    }
    if data.parts:
        manifest.data["parts"] = [part.to_dict() for part in data.parts]
    manifest.threads = threads
    manifest.precision = chosen_precision(config.values.trainer, manifest.precision)
    manifest.origins = dict(config.origins)
    manifest.plugins = [p.to_dict() for p in config.plugins]


def _fit(
    config: Config, data: Prepared, initial: InitialWeights | None, folder: Path, manifest: Manifest, console: Console
) -> tuple[L.Trainer, TranslationModule, Checkpoints, Limits]:
    values = config.values
    training, tokenizer = values.training, data.tokenizer
    dev = data.stores["dev"]
    batches = _batches(config, data)
    last = folder / "checkpoints" / "last.ckpt"
    resumed_step = None
    if last.is_file():
        resumed_step = read_step(last)
        batches.load_checkpoint(last)
    loggers = _loggers(config, folder, resumed_step)
    average, stopping = training.average, training.early_stopping
    agreement = Agreement()
    limits = Limits(None, training.max_minutes, stopping.patience, stopping.min_delta, training.monitor, agreement)
    checkpoints = Checkpoints(
        folder / "checkpoints",
        training.monitor,
        average.best or average.last,
        "best" if average.best else "last",
        is_moving=average.ema is not None,
        limits=limits,
    )
    progress = Progress(None, training.log_every)
    interrupt = Interrupt(checkpoints, training.validate_every, agreement)
    # The first process has written its choice, which is every rank's.
    precision = chosen_precision(values.trainer, manifest.precision)
    if is_slow(values.trainer, precision):
        console.print(
            f"warning: trainer.precision: this processor isn't known to multiply bfloat16; without such products {precision} takes several "
            "times as long as 32, which 'auto' takes here"
        )
    if not values.trainer.strategy.startswith(_WHOLE):
        console.print(
            f"warning: trainer.strategy: {values.trainer.strategy!r} is handed to Lightning untested; weight files, averages and clipping "
            "need whole weights on every rank (docs/distributed.md)"
        )
    trainer = L.Trainer(
        accelerator=values.trainer.accelerator,
        devices=values.trainer.devices,
        num_nodes=values.trainer.num_nodes,
        strategy=values.trainer.strategy,
        # Lightning's bf16-true would change torch's default dtype as well, and with it tables that are to be float32.
        precision="32" if precision == "bf16-true" else precision,  # type: ignore[arg-type]
        logger=loggers,
        # The cursor moves before a checkpoint may be written, and an interrupt knows whether the limits have struck.
        callbacks=[
            *([Profile(folder)] if training.profile else []),
            *(checkpoints, limits, progress, interrupt),
        ],
        max_epochs=-1,
        val_check_interval=training.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    max_steps = training.max_steps
    if training.max_epochs is not None:
        epochs = batches.last_step(training.max_epochs, trainer.world_size, resumed_step or 0)
        max_steps = epochs if max_steps is None else min(max_steps, epochs)
    progress.max_steps = max_steps
    limits.max_steps = max_steps
    if batches.sampled is not None:
        # How many steps the epochs take is known only when they are made: an estimate does for the schedule, not for the end.
        is_done = training.max_epochs is not None and batches.cursor.epoch >= training.max_epochs
        limits.max_steps = resumed_step if is_done else training.max_steps
        limits.max_epochs = training.max_epochs
    batches.max_steps, batches.max_epochs = limits.max_steps, training.max_epochs
    trainer.fit_loop.epoch_loop.max_steps = -1 if limits.max_steps is None else limits.max_steps
    model = build_model(config, tokenizer)
    model.encoder.is_checkpointed = model.decoder.is_checkpointed = training.checkpoint_activations
    if values.trainer.compile:
        trainer.callbacks.append(Compilation(compile_layers(model)))  # type: ignore[attr-defined]
    module = TranslationModule(
        model,
        build_loss(config, tokenizer.pad_id),
        build_optimizer(config),
        build_schedule(config, max_steps),
        **_special(tokenizer),
        seed=values.seed,
        clip=training.clip,
        log_every=training.log_every,
        ema=average.ema,
        search=build_search(values.decoding.validation_search, tokenizer),
        validation=EvaluationText(dev.text("target"), tokenizer.decode),
        max_ratio=values.decoding.max_ratio,
        max_extra=values.decoding.max_extra,
        max_length=longest_target(config),
    )
    if resumed_step is None:
        if initial is not None:
            initial.fill(model)
        first = batches.plan(trainer.world_size).step(Cursor(), 0).batches[0]
        model.calibrate(
            lambda: module.terms(batches.collated(batches.store(0), first)) and None,
            ("encoder", "decoder") if initial is None else initial.drawn_blocks(),
        )
    if precision == "bf16-true":
        model.to(torch.bfloat16)
    manifest.parameters = sum(p.numel() for p in model.parameters())
    manifest.accelerator = type(trainer.accelerator).__name__.removesuffix("Accelerator").lower()
    manifest.devices, manifest.num_nodes = trainer.num_devices, trainer.num_nodes
    plan = batches.plan(trainer.world_size)
    manifest.accumulate, manifest.step_tokens = plan.accumulate, round(plan.mean_step_tokens)
    if trainer.is_global_zero:
        run_folder.write_manifest(folder, manifest)
        if training.target_batch_tokens is not None:
            console.print(
                f"accumulate {plan.accumulate}: {manifest.step_tokens:,} target tokens a step of the "
                f"{training.target_batch_tokens:,} asked for"
            )
    try:
        with interrupt.taken_over(), reported("outside a step", "choose a smaller model, or a device with more memory"):
            trainer.fit(module, datamodule=batches, ckpt_path=None if resumed_step is None else last, weights_only=True)
    except SystemExit:
        if trainer.state.status == "interrupted":
            raise KeyboardInterrupt from None
        raise
    finally:
        batches.leave(is_done=trainer.state.finished)
    if interrupt.is_asked:
        # After the last validation: all is saved, and what is left to do can be done another time.
        interrupt.stop(trainer)
    return trainer, module, checkpoints, limits


def _batches(config: Config, data: Prepared) -> TranslationData:
    """The corpus as optimiser steps and validation batches.

    Raises:
        InputError: There is no dev set, or a sentence doesn't fit a batch.
    """
    if "dev" not in data.stores:
        raise InputError("data.corpus: has no dev set, which chooses the weights; name one")
    values = config.values
    return TranslationData(
        data.stores["train"],
        data.stores["dev"],
        **_special(data.tokenizer),
        seed=values.seed,
        batch_tokens=values.data.batch_tokens,
        accumulate=values.training.accumulate,
        target_tokens=values.training.target_batch_tokens,
        valid_batch_tokens=values.decoding.batch_tokens,
        parts=data.parts,
        sampled=data.sampled,
    )


def _special(tokenizer: Tokenizer) -> dict[str, int]:
    return {"pad_id": tokenizer.pad_id, "sos_id": tokenizer.sos_id, "eos_id": tokenizer.eos_id}


def _loggers(config: Config, folder: Path, resumed_step: int | None) -> list[Logger]:
    plain = config.to_dict()
    tracking = plain["tracking"]
    return make_loggers(
        folder, plain, csv=tracking["csv"], wandb=tracking["wandb"], run_name=folder.name, resume_step=resumed_step
    )


def _choose_weights(folder: Path, checkpoints: Checkpoints, config: Config, manifest: Manifest) -> None:
    """Copy what the run recommends to ``weights.safetensors``."""
    average = checkpoints.write_average()
    chosen = average or folder / "checkpoints" / "best.safetensors"
    if not chosen.is_file():
        raise RunError(f"{folder}: training ended without a validation, so there are no weights to recommend")
    with replacing(folder / "weights.safetensors") as aside:
        shutil.copyfile(chosen, aside)
    manifest.weights = {
        "holds": "average" if average else "best",
        "averaged_steps": checkpoints.kept if average else [],
        "ema": config.values.training.average.ema,
        "best_step": checkpoints.best_step,
        "best_score": checkpoints.best,
        "monitor": config.values.training.monitor,
    }


def _conclude(config: Config, folder: Path, manifest: Manifest, console: Console) -> None:
    """Final evaluation, report and summary."""
    sets = default_sets(config)
    with Job(folder, plugins=[p.spec for p in config.plugins]).ready([]) as translated:
        console.print(
            "evaluating ..." if sets else "no test set to score: the corpus has none, nor does evaluation.sets name one"
        )
        results = evaluate(sets, build_metrics(config.values.evaluation.metrics), translated)
    scores = write_results(folder, results)
    log_final(folder, config.to_dict(), scores)
    manifest.finished = True
    manifest.ended = run_folder.now()
    run_folder.write_manifest(folder, manifest)
    write_report(folder)
    print_summary(console, folder, results)
    sys.stderr.flush()


def _quieten() -> None:
    """Lightning's advice is for those who write the loop; ours is written."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*checkpoint directory.*",
        ".*LeafSpec.*",
        ".*Checkpointing.*",
        ".*num_workers.*",
        # What is logged is the same on every rank; to have it averaged over ranks would be wrong of BLEU.
        ".*sync_dist=True.*",
    ):
        warnings.filterwarnings("ignore", text)
