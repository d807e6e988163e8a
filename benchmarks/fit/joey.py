"""JoeyNMT's ``train`` over text files of ids, one word each.

The words are ours, so nothing of its tokenizers is needed. Its loader splits every line twice, once to choose the batch and once
to fill it, as it does with any tokenizer; splitting at spaces is the cheapest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from joeynmt import helpers, training
from joeynmt.batch import Batch

from benchmarks.fit.clock import Clock
from benchmarks.fit.work import NEVER, Job
from benchmarks.peers.contender import BETAS, CLIP, LEARNING_RATE
from benchmarks.peers.joey import no_further_dropout
from benchmarks.peers.sizes import DROPOUT, SIZES, SMOOTHING
from recambio.data.store import TokenStore
from recambio.data.tokenizers.base import SIDES

N_SPECIAL = 4
_SIDES = {"source": "en", "target": "es"}


def train(job: Job, clock: Clock) -> None:
    """Write the files, then train with three changes.

    The clock is called after each update. Dropout on attention weights and inside the feed-forward network is off, as in all
    contenders, which no key of its config says. On CPU it refuses half precision ("TODO: torch.bfloat16 for cpu?"): for bf16
    its trainer is handed the autocast that it would have made.
    """
    data = job.prepared()
    folder = Path(job.folder)
    write(data.stores["train"], folder / "train", data.tokenizer.unk_id)
    write(data.stores["dev"], folder / "dev", data.tokenizer.unk_id)
    vocabulary = range(N_SPECIAL, data.tokenizer.target_vocabulary_size)
    (folder / "vocabulary.txt").write_text("".join(f"{i}\n" for i in vocabulary))
    config = configuration(job)
    helpers.make_model_dir(Path(config["model_dir"]))
    _put_clock(clock, job.precision == "bf16")
    training.train(0, 1, config, skip_test=True)


def write(store: TokenStore, path: Path, unk_id: int) -> None:
    """A side a file, a sentence a line, ids apart by spaces."""
    for side in SIDES:
        row = store.source if side == "source" else store.target
        with path.with_name(f"{path.name}.{_SIDES[side]}").open("w") as file:
            for i in range(len(store)):
                file.write(" ".join("<unk>" if t == unk_id else str(t) for t in row(i).tolist()) + "\n")


def configuration(job: Job) -> dict[str, Any]:
    """As its YAML files have it."""
    size, folder = SIZES[job.size], Path(job.folder)
    stack = {
        "type": "transformer",
        "num_layers": size.n_layers,
        "num_heads": size.n_heads,
        "embeddings": {"embedding_dim": size.d_model, "scale": True, "dropout": DROPOUT},
        "hidden_size": size.d_model,
        "ff_size": size.d_ff,
        "dropout": DROPOUT,
        "layer_norm": "post",
        "activation": "relu",
    }
    side = {"level": "word", "voc_file": str(folder / "vocabulary.txt"), "max_length": -1}
    return {
        "name": "fit",
        "model_dir": str(folder / "run"),
        "use_cuda": False,
        "random_seed": 1,
        "data": {
            "train": str(folder / "train"),
            "dev": str(folder / "dev"),
            "dataset_type": "plain",
            "src": {"lang": _SIDES["source"], **side},
            "trg": {"lang": _SIDES["target"], **side},
        },
        "model": {"encoder": stack, "decoder": stack, "tied_embeddings": True, "tied_softmax": True},
        "training": {
            "loss": "crossentropy",
            "label_smoothing": SMOOTHING,
            "normalization": "tokens",
            "optimizer": "adamw",
            "adam_betas": list(BETAS),
            "learning_rate": LEARNING_RATE,
            "learning_rate_min": 1e-9,
            "scheduling": "exponential",
            "decrease_factor": 1.0,  # a constant rate; "plateau" passes an option that torch has dropped
            "clip_grad_norm": CLIP,
            "batch_size": job.positions,
            "batch_type": "token",
            "epochs": NEVER,
            "updates": NEVER,
            "logging_freq": 50,
            "validation_freq": NEVER,
            "shuffle": True,
        },
        "testing": {},
    }


def _put_clock(clock: Clock, is_bf16: bool) -> None:
    class Clocked(training.TrainManager):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            if is_bf16:
                options["autocast"] = {"device_type": "cpu", "enabled": True, "dtype": torch.bfloat16}
            super().__init__(*arguments, **options)
            no_further_dropout(self.model)
            self._tokens = 0
            self.optimizer.register_step_post_hook(lambda *_: clock.step(self._tokens))

        def _train_step(self, batch: Batch) -> Any:
            self._tokens = batch.ntokens
            return super()._train_step(batch)

    training.TrainManager = Clocked
