"""Every command and every code block of the README, run as written but for the size of the job."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.forks import Forks

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SMALL = [
    *("training.max_steps=4", "training.validate_every=4", "training.log_every=2", "training.schedule.warmup=1"),
    "model.d_model=16",
    *("model.n_heads=2", "model.d_ff=16", "trainer.threads=1", "trainer.precision=32", "decoding.search.width=2"),
]
SMALL_CORPUS = [
    *("data.corpus.train_size=400", "data.corpus.dev_size=10", "data.corpus.test_size=10"),
    "data.tokenizer.vocabulary_size=400",
]


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Path:
    """A checkout as a reader has it, with a small parallel corpus beside it and the README's plugin written down.

    The ``recambio`` of its environment is a fork.
    """
    place = tmp_path_factory.mktemp("readme")
    (place / ".venv" / "bin").mkdir(parents=True)
    forks.script(place / ".venv" / "bin" / "recambio")
    (place / ".venv" / ".ready").touch()
    for name in ("Makefile", "experiments", "plugins", "pyproject.toml", "constraints.txt"):
        (place / name).symlink_to(REPOSITORY / name)
    (place / "plugins").unlink()
    (place / "plugins").mkdir()
    plugin = next(b for b in blocks("python") if b.startswith("# plugins/my_norm.py"))
    (place / "plugins" / "my_norm.py").write_text(plugin)
    data = place / "data" / "tatoeba"
    data.mkdir(parents=True)
    for split, n in (("train", 300), ("dev", 10), ("test", 10)):
        (data / f"{split}.en").write_text("".join(f"I have {i} books and {split} {i * 7}.\n" for i in range(n)))
        (data / f"{split}.es").write_text("".join(f"Tengo {i} libros y {split} {i * 7}.\n" for i in range(n)))
    return place


def run(place: Path, environment: dict[str, str], command: str) -> str:
    """One line of a shell block; what trains, trains four steps of a small model."""
    words = shlex.split(command.split("|")[-1])
    if words[:2] == ["recambio", "train"] or words[:2] == ["make", "train"]:
        is_real = "EXP=tatoeba" in words
        small = [*SMALL, *(["data.tokenizer.vocabulary_size=330"] if is_real else SMALL_CORPUS)]
        command += f" ARGS='{' '.join(small)}'" if words[0] == "make" else " " + " ".join(small)
    if words[0] == "make":
        # Nothing to be set up: no file is newer than this one.
        (place / ".venv" / ".ready").touch()
    if words[:2] == ["make", "test"]:
        command += " --dry-run"
    variables = {
        **environment,
        "PATH": f"{place / '.venv' / 'bin'}{os.pathsep}{environment['PATH']}",
        "RECAMBIO_DATA": str(place / "data"),
    }
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=place,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_every_shell_command_works(place: Path, environment: dict[str, str]) -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines() if line and not line.startswith("#")]
    assert len(commands) > 10
    outputs = {command: run(place, environment, command) for command in commands}
    assert outputs["make train"].strip().endswith("runs/tiny")
    assert "pytest" in outputs["make test"]
    assert "BLEU" in outputs["make eval"]
    assert outputs['echo "The black cat eats fish." | recambio translate runs/tiny'].count("\n") == 1
    assert "grouped_query" in outputs["recambio components"]

    python = next(b for b in blocks("python") if "recambio.load" in b)
    result = subprocess.run(
        [sys.executable, "-c", python],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("['")


def test_the_resume_and_file_commands_in_the_text_work(place: Path, environment: dict[str, str]) -> None:
    """Runs after the test above, in the same folder."""
    in_text = re.findall(r"`((?:recambio|make) [^`<]+)`", README)
    wanted = {
        "recambio train tiny --resume": "recambio train tiny --resume",
        "recambio eval runs/tiny --source test.en --reference test.es": None,
        "make eval RUN=runs/tiny": None,
        "make help": None,
        "recambio plugin new attention mine": None,
    }
    for name in ("test.en", "test.es"):
        (place / name).write_text((place / "data" / "tatoeba" / name).read_text())
    for command in wanted:
        assert any(command in text for text in in_text), command
        run(place, environment, command)
    assert (place / "plugins" / "mine.py").is_file()


def test_the_plugin_is_under_thirty_lines() -> None:
    plugin = next(b for b in blocks("python") if b.startswith("# plugins/my_norm.py"))
    assert len(plugin.splitlines()) < 30


def test_the_yaml_block_is_a_config(place: Path, environment: dict[str, str]) -> None:
    text = blocks("yaml")[0].replace("devices: 4", "devices: 1").replace("mine/", "tatoeba/")
    (place / "mine.yaml").write_text(text.replace("base.yaml", str(REPOSITORY / "experiments" / "base.yaml")))
    assert "tatoeba/train" in run(place, environment, "recambio config show mine.yaml")
    assert "train: 300 pairs" in run(
        place, environment, "recambio data prepare mine.yaml data.tokenizer.vocabulary_size=330"
    )
