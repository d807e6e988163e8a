"""What all contenders train on: the sentences, the vocabulary, the size of a step."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import flops
from benchmarks.peers.contender import BETAS, CLIP, LEARNING_RATE
from benchmarks.peers.sizes import DROPOUT, SIZES, SMOOTHING, Precision, Size
from recambio.config import Config, from_dict
from recambio.data.plan import TrainingPlan
from recambio.data.prepare import Prepared
from recambio.data.store import TokenStore
from recambio.experiment.prepare import prepared

NEVER = 1_000_000
"""Steps that no turn comes to: no validation, no end."""
TATOEBA = {"name": "moses", "train": "tatoeba/train", "dev": "tatoeba/dev"}


@dataclass(frozen=True)
class Turn:
    """How long a step and a turn are.

    Attributes:
        positions: Of our batch on its longer side, padding included; the others' batches hold as many real target tokens.
        tokens: Real target tokens after which a turn ends, with the step that is under way.
        warmup: Steps of each contender before its first turn.
        vocabulary: Words asked for.
    """

    positions: int
    tokens: int
    warmup: int
    vocabulary: int


TURNS = {
    "tiny": Turn(256, 300, 2, 500),
    "small": Turn(2048, 9_000, 3, 8_000),
    "base": Turn(2048, 3_600, 1, 16_000),
}


@dataclass(frozen=True)
class Job:
    """What one contender's process is told.

    Attributes:
        contender: Its name.
        size: Name of the model's size.
        threads: CPU threads.
        folder: Its own folder, for what a trainer writes.
        sentences: Sentence pairs of a step, where a toolkit counts these.
        positions: Positions of a step, padding included, where a toolkit counts these without sorting by length.
        has_files: Whether the corpus is Tatoeba; otherwise it is the embedded one.
    """

    contender: str
    precision: Precision
    size: str
    threads: int
    folder: str
    sentences: int
    positions: int
    has_files: bool

    def save(self) -> Path:
        """Write it into its folder. Returns: the file."""
        path = Path(self.folder) / "job.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def load(cls, path: str) -> Job:
        """Read it."""
        return cls(**json.loads(Path(path).read_text()))

    def config(self) -> Config:
        """As `recambio train` takes it."""
        return config(SIZES[self.size], self.precision, self.threads, self.has_files)

    def prepared(self) -> Prepared:
        """Token stores and vocabulary, from the cache."""
        return prepared(self.config(), is_quiet=True)


def has_files() -> bool:
    """Whether RECAMBIO_DATA holds Tatoeba."""
    root = os.environ.get("RECAMBIO_DATA")
    return root is not None and (Path(root) / "tatoeba").is_dir()


def config(size: Size, precision: Precision, threads: int, has_files: bool) -> Config:
    """The common architecture over the common sentences."""
    turn = TURNS[size.name]
    embedded = {
        "name": "embedded",
        "train_size": 1_000 if size.name == "tiny" else 20_000,
        "dev_size": 100,
        "test_size": 100,
    }
    stack = {"n_layers": size.n_layers}
    values: dict[str, Any] = {
        "name": "fit",
        "data": {
            "corpus": TATOEBA if has_files else embedded,
            "tokenizer": {"name": "unigram", "vocabulary_size": turn.vocabulary},
            "batch_tokens": turn.positions,
            "max_length": 64,
        },
        "model": {
            **{"d_model": size.d_model, "n_heads": size.n_heads, "d_ff": size.d_ff, "dropout": DROPOUT},
            **{"block": "post_norm", "positions": "sinusoidal", "encoder": stack, "decoder": stack},
        },
        "training": {
            "loss": {"name": "label_smoothing", "smoothing": SMOOTHING},
            "optimizer": {"name": "adamw", "lr": LEARNING_RATE, "beta1": BETAS[0], "beta2": BETAS[1], "eps": 1e-9},
            "schedule": "constant",
            "clip": CLIP,
            "max_steps": NEVER,
            "validate_every": NEVER,
        },
        "trainer": {
            **{"precision": "32" if precision == "fp32" else "bf16-mixed", "threads": threads},
            **{"accelerator": "cpu", "devices": 1},
        },
    }
    return from_dict(values)


def with_vocabulary(size: Size, data: Prepared) -> Size:
    """The size with the vocabulary that the corpus gave; the embedded corpus has fewer words than were asked for."""
    return replace(size, vocabulary=data.tokenizer.target_vocabulary_size)


def step_tokens(data: Prepared, positions: int) -> int:
    """Real target tokens of one of our steps, on average over an epoch."""
    store = data.stores["train"]
    plan = TrainingPlan(
        store.lengths("source"), store.lengths("target"), data_hash=store.content_hash, seed=1, batch_tokens=positions
    )
    return round(plan.mean_step_tokens)


def sentences_for(store: TokenStore, tokens: int) -> int:
    """Sentence pairs that hold so many target tokens on average."""
    return max(1, round(tokens / (float(store.lengths("target").mean()) + 1)))


def unsorted_positions(store: TokenStore, sentences: int, draws: int = 200) -> int:
    """Positions, on the longer side, that so many sentences take where they are drawn at random and padded together."""
    longer = np.maximum(store.lengths("source"), store.lengths("target")) + 1
    stream = np.random.default_rng(1)
    widest = [longer[stream.integers(len(longer), size=sentences)].max() for _ in range(draws)]
    return round(sentences * float(np.mean(widest)))


def flops_per_token(size: Size, source: Sequence[int], target: Sequence[int]) -> float:
    """Matrix-product operations of a training step for each real target token, every sentence at its own length.

    Padding counts for nothing, so a contender that pads reaches a smaller share of the peak.

    Args:
        size: Of the model.
        source: Tokens of each source sentence, EOS included.
        target: Target tokens of each, EOS included.
    """
    s, t = np.asarray(source, np.float64), np.asarray(target, np.float64)
    # The formula is a polynomial of both lengths, so it takes arrays as it takes numbers.
    work = 3 * flops.training_forward(size, 1, s, t, t)  # type: ignore[arg-type]
    return float(np.sum(work) / t.sum())
