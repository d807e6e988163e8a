"""Real command lines in a working folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration.forks import Forked, Forks, Moment

MICRO = """
name: micro
data:
  corpus: {name: embedded, train_size: 600, dev_size: 20, test_size: 8}
  tokenizer: {name: unigram, vocabulary_size: 400}
  batch_tokens: 256
  max_length: 64
model:
  d_model: 16
  n_heads: 2
  d_ff: 32
  dropout: 0.1
  positions: rope
  encoder: {n_layers: 1}
  decoder: {n_layers: 1}
training:
  max_steps: 40
  accumulate: 2
  validate_every: 10
  log_every: 4
  average: {last: 2}
  optimizer: {name: adamw, lr: 0.01}
  schedule: {name: inverse_sqrt, warmup: 10}
trainer: {threads: 1, accelerator: cpu}
decoding: {search: {name: beam, width: 2}, max_ratio: 1.0, max_extra: 4}
evaluation: {metrics: [bleu, chrf]}
"""

_NUMBERS = {
    "one": "uno",
    "two": "dos",
    "three": "tres",
    "four": "cuatro",
    "five": "cinco",
    "six": "seis",
    "seven": "siete",
}


def phrases(project: Path, dev: int) -> list[str]:
    """Write a corpus of sentences of one form, which a small model half knows after 40 steps. Returns: overrides for that."""
    pairs = [
        (
            f"today we see {a} books and {b} old houses{end}",
            f"hoy vemos {_NUMBERS[a]} libros y {_NUMBERS[b]} casas viejas{fin}",
        )
        for a in _NUMBERS
        for b in _NUMBERS
        for end, fin in (
            (".", "."),
            (" in the city.", " en la ciudad."),
            (" in the city with the new car.", " en la ciudad con el coche nuevo."),
        )
    ]
    pairs = pairs[::5] + pairs[1::5] + pairs[2::5] + pairs[3::5] + pairs[4::5]
    for split, some in (("dev", pairs[:dev]), ("test", pairs[dev : dev + 2]), ("train", pairs[dev + 2 :])):
        for side, language in enumerate(("en", "es")):
            (project / f"{split}.{language}").write_text("".join(f"{pair[side]}\n" for pair in some))
    corpus = "data.corpus={name: moses, train: train, dev: dev, test: test}"
    learnt = [
        "training.max_steps=40",
        "training.optimizer.lr=0.03",
        "training.schedule.warmup=5",
        "training.loss=cross_entropy",
    ]
    return [corpus, "data.root=.", "data.tokenizer.vocabulary_size=300", "model.d_model=32", "model.dropout=0", *learnt]


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One thread, one data cache for all tests, no network."""
    cache = tmp_path_factory.mktemp("cache")
    # Under `make test` its variables would make an inner make report the folders it enters, or take the outer one's ARGS.
    foreign = ("RECAMBIO_", "WANDB_", "MAKE", "MFLAGS")
    own = {"PYTHON", "VENV", "TORCH_INDEX", "EXP", "RUN", "FILE", "ARGS"}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and k not in own}
    return {
        **inherited,
        "OMP_NUM_THREADS": "1",
        "RECAMBIO_CACHE": str(cache),
        "HF_HUB_OFFLINE": "1",
        "HOME": str(cache),
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A working folder with ``experiments/micro.yaml``."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "micro.yaml").write_text(MICRO)
    return tmp_path


@pytest.fixture(scope="session")
def forks(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """One process that has imported everything, from which commands are forked."""
    served = Forks(tmp_path_factory.mktemp("forks"), environment)
    yield served
    served.close()


@pytest.fixture
def recambio(project: Path, environment: dict[str, str], forks: Forks) -> Command:
    """Run ``recambio ...`` in the project, in a fork; the result holds status and both outputs."""

    def run(
        *arguments: str, timeout: float = 240, stdin: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return forks.run(arguments, project, {**environment, **variables}, stdin, timeout)

    return run


@pytest.fixture
def start(project: Path, environment: dict[str, str], forks: Forks) -> Callable[..., Forked]:
    """Start ``recambio train micro ...``, in a process group of its own, so that all of it can be killed from outside."""

    def started(*arguments: str, config: str = "micro", moment: Moment | None = None) -> Forked:
        return forks.start(["train", config, *arguments], project, environment, moment=moment)

    return started


def whole(arguments: Sequence[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``recambio ...`` in a process of its own from its first import on."""
    return subprocess.run(
        [sys.executable, "-m", "recambio", *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="session")
def unbroken(
    environment: dict[str, str], forks: Forks, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """``recambio train micro ...``, once for the same arguments. Returns: its run folder.

    Plain, and where it is asked for, it is a whole process, which starts its other ranks as Lightning does.
    """
    done: dict[tuple[str, ...], Path] = {}

    def trained(*arguments: str, plugin: str = "", is_whole: bool = False) -> Path:
        if arguments not in done:
            place = tmp_path_factory.mktemp("unbroken")
            (place / "micro.yaml").write_text(MICRO)
            (place / "plugin.py").write_text(plugin)
            words = ["train", "micro.yaml", *arguments]
            run = whole if is_whole or not arguments else forks.run
            result = run(words, place, environment)
            assert result.returncode == 0, result.stderr
            done[arguments] = place / result.stdout.strip()
        return done[arguments]

    return trained
