"""From nothing to a trained model with a part of one's own: docs/plugins.md as written, and every starter in one run."""

from __future__ import annotations

import hashlib
import json
import os
import pickletools
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recambio import registry, testing
from recambio.data.grammar import generate
from recambio.plugins import load_plugins
from tests.integration.forks import Forks
from tests.integration.test_readme import SMALL, SMALL_CORPUS

REPOSITORY = Path(__file__).resolve().parents[2]
GUIDE = (REPOSITORY / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*) ?([^\n]*)\n(.*?)^```", GUIDE, re.M | re.S)

Run = Callable[[str], tuple[int, str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder of someone outside: the experiments, and nothing of the library."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "experiments").symlink_to(REPOSITORY / "experiments")
    return folder


@pytest.fixture(scope="module")
def shell(project: Path, environment: dict[str, str], forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a line of a shell, whose ``recambio`` and ``pytest`` are forks. Returns: its status, and both outputs."""
    bin_folder = tmp_path_factory.mktemp("bin")
    for program in ("recambio", "pytest"):
        forks.script(bin_folder / program)
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), environment["PATH"]])

    def run(command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=project,
            env={**environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout

    return run


def without_numbers(text: str) -> str:
    """What doesn't depend on the machine, the seed or the size of the job."""
    return re.sub(r" +", " ", re.sub(r"\d[\d,.:]*", "#", text))


def follow(project: Path, shell: Run) -> dict[str, str]:
    """Do what the guide says, in its order. Returns: what each command printed."""
    printed: dict[str, str] = {}
    for (language, file, text), (after, _, shown) in zip(BLOCKS, [*BLOCKS[1:], ("", "", "")], strict=True):
        if language == "diff":
            content = (project / file).read_text()
            for old, new in re.findall(r"^-(.*)\n\+(.*)$", text, re.M):
                assert content.count(old) == 1, f"{file} has no line {old!r}, or several"
                content = content.replace(old, new)
            (project / file).write_text(content)
        if language != "sh":
            continue
        output = ""
        for command in text.splitlines():
            small = " ".join([*SMALL, *SMALL_CORPUS]) if command.startswith("recambio train") else ""
            status, printed[command] = shell(f"{command} {small}")
            output += printed[command]
            is_meant_to_fail = after == "text" and "FAILED" in shown
            assert (status != 0) == is_meant_to_fail, f"{command}\n{printed[command]}"
        if after == "text":
            place = 0
            for line in map(without_numbers, shown.splitlines()):
                place = without_numbers(output).find(line.removesuffix(" ..."), place) if line != "..." else place
                assert place >= 0, f"after {text!r} the guide shows {line!r}, but this was printed:\n{output}"
    return printed


def test_the_guide_as_written(project: Path, shell: Run) -> None:
    printed = follow(project, shell)
    train = next(c for c in printed if c.startswith("recambio train"))
    translated = printed[next(c for c in printed if "recambio translate" in c)]
    assert len(translated.splitlines()) == 1
    run = project / "runs" / "mine"
    (plugin,) = json.loads((run / "manifest.json").read_text())["plugins"]
    file = project / "plugins" / "my_attention.py"
    assert plugin["spec"] == plugin["path"] == "plugins/my_attention.py" and plugin["names"] == [
        "attention/my_attention"
    ]
    assert plugin["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    no_code_is_stored(run, file)

    # The run knows its plugin by itself, says when it has changed, and asks where it is gone.
    text = file.read_text()
    file.write_text(text + "# another line\n")
    status, output = shell("recambio eval runs/mine --set test")
    assert status == 0 and "warning: plugins/my_attention.py: has changed since runs/mine was trained" in output
    moved = file.rename(project / "moved.py")
    status, output = shell("recambio translate runs/mine < /dev/null")
    assert status == 2 and output.splitlines() == [
        "error: plugins/my_attention.py: plugin of runs/mine, is missing; say where it is with --plugin PATH"
    ]
    assert shell("echo Hello. | recambio translate runs/mine --plugin moved.py")[0] == 0
    moved.rename(file)

    # Going on with other code is said as well; without the plugin the config names a part that nobody knows.
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, "finished": False, "trained": False}))
    longer = " ".join([*SMALL, *SMALL_CORPUS, "training.max_steps=6"])
    status, output = shell(f"{train} {longer} --resume")
    assert status == 0 and "warning: plugins/my_attention.py: has changed since runs/mine was trained" in output
    assert json.loads((run / "manifest.json").read_text())["steps"] == 6
    bare = shlex.join([w for w in shlex.split(train) if w not in ("--plugin", "plugins/my_attention.py")])
    status, output = shell(f"{bare} {longer}")
    assert status == 2 and "error: model.attention: unknown attention 'my_attention'." in output


def no_code_is_stored(run: Path, plugin: Path) -> None:
    """A run folder holds names, options, numbers: no class, no source, nothing that runs when it is opened."""
    config = (run / "config.yaml").read_text()
    assert "name: my_attention" in config and "bias: true" in config
    code = [line.strip() for line in plugin.read_text().splitlines() if len(line.strip()) > 30]
    cls = re.search(r"^class (\w+)", plugin.read_text(), re.M)
    assert cls is not None and len(code) > 20
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {"last.ckpt", "best.safetensors", "weights.safetensors", "report.html"} <= {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        assert path.suffix not in (".py", ".pkl", ".pt")
        assert cls[1].encode() not in content, f"{path} names the class"
        if path.name != "report.html":  # which shows the part's card
            assert not [line for line in code if line.encode() in content], f"{path} holds the plugin's source"
    checkpoint = run / "checkpoints" / "last.ckpt"
    state = torch.load(checkpoint, weights_only=True)
    assert any("sharpness" in name for name in state["state_dict"])
    with zipfile.ZipFile(checkpoint) as archive:
        (pickle,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        named = {str(value) for op, value, _ in pickletools.genops(archive.read(pickle)) if "GLOBAL" in op.name}
    assert named and all(name.split(".")[0].split()[0] in ("torch", "collections") for name in named), named


def test_the_guide_describes_every_kind() -> None:
    registry.load_builtins()
    rows = {row[1]: row[0] for row in re.finditer(r"^\| `(\w+)` \| `.*$", GUIDE, re.M)}
    assert rows.keys() == registry.REGISTRIES.keys()
    for kind, parts in registry.REGISTRIES.items():
        contract = parts.contract
        assert contract is not None
        _, _, inherits, implements, context, *_ = rows[kind].split("|")
        assert f"`{contract.__name__}`" in inherits
        assert (REPOSITORY / "src" / Path(*contract.__module__.split("."))).with_suffix(".py").is_file()
        assert f"`{contract.__module__.removeprefix('recambio.')}`" in inherits
        assert getattr(contract, "__abstractmethods__", set()) <= set(re.findall(r"`(\w+)", implements)), kind
        assert set(re.findall(r"`(\w+)`", context)) == set(parts.context), kind


def test_the_guide_names_checks_that_exist() -> None:
    section = GUIDE[GUIDE.index("## What the kit proves") :]
    named = set(re.findall(r"`(\w+)`:", section[: section.index("\n## ")]))
    assert len(named) > 20 and named <= testing.CHECKS.keys(), named - testing.CHECKS.keys()


# ------------------------------------------------------------------------------------------------ all kinds

KINDS = sorted(registry.REGISTRIES)
CONFIG = """
plugins: [{plugins}]
data:
  corpus: my_corpus
  tokenizer: my_tokenizer
  cleaning: [normalize, my_cleaning, length]
  batch_tokens: 512
  max_length: 128
model:
  {{d_model: 16, n_heads: 2, d_ff: 32, encoder: {{n_layers: 1}}, decoder: {{n_layers: 1}}, {model}}}
training:
  max_steps: 4
  validate_every: 2
  log_every: 2
  loss: my_loss
  optimizer: my_optimizer
  schedule: {{name: my_schedule, warmup: 2}}
decoding: {{search: my_search, validation_search: {{name: my_search, ratio: 0.0}}}}
evaluation: {{metrics: [bleu, my_metric]}}
trainer: {{threads: 1, accelerator: cpu}}
"""
IN_MODEL = ("activation", "attention", "block", "embedding", "feed_forward", "normalization", "positions")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a new plugin of every kind, a corpus for one of them, and a config that names them all."""
    from recambio.cli.plugin import STARTERS, starter

    folder = tmp_path_factory.mktemp("everything")
    for name in ("plugins", "experiments", "data/my_corpus"):
        (folder / name).mkdir(parents=True)
    for kind in KINDS:
        path, test = Path(f"plugins/my_{kind}.py"), Path(f"plugins/test_my_{kind}.py")
        for file, template in ((path, f"{kind}.txt"), (test, f"tests/{kind}.txt")):
            (folder / file).write_text(starter(template, f"my_{kind}", path, test))
    assert {p.stem for p in STARTERS.glob("*.txt")} == {p.stem for p in STARTERS.glob("tests/*.txt")} == set(KINDS)
    for split, n in (("train", 200), ("dev", 6), ("test", 6)):
        lines = [json.dumps({"en": pair.source, "es": pair.target}) for pair in generate(split, n, 1)]
        (folder / "data" / "my_corpus" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    plugins = ", ".join(f"../plugins/my_{kind}.py" for kind in KINDS)
    model = ", ".join(f"{kind}: my_{kind}" for kind in IN_MODEL)
    (folder / "experiments" / "all.yaml").write_text(CONFIG.format(plugins=plugins, model=model))
    return folder


def test_the_starters_are_installed_with_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["recambio"]
    package = REPOSITORY / "src" / "recambio"
    files = [path.relative_to(package) for path in (package / "cli" / "starters").rglob("*.txt")]
    assert len(files) == 2 * len(KINDS)
    assert [file for file in files if not any(file.match(pattern) for pattern in patterns)] == []


PYTEST = ["-q", "-p", "no:cacheprovider"]


def test_every_starter_passes_its_own_test(everything: Path, environment: dict[str, str], forks: Forks) -> None:
    done = forks.run([*PYTEST, "plugins", "-k", "not ddp"], everything, environment, program="pytest")
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed, \d+ deselected in", done.stdout.splitlines()[-1]), done.stdout


@pytest.mark.slow  # contracts/test_parts.py has a pair of processes every time
def test_every_starter_trains_alike_on_two_processes(everything: Path, restored_registry: None) -> None:
    """The one check left out above, in one pair of processes for all of them."""
    load_plugins([str(everything / "plugins" / f"my_{kind}.py") for kind in KINDS])
    places = [(kind, f"my_{kind}", site) for kind in KINDS if kind in testing.SITES for site in testing.SITES[kind]]
    cases = [(kind, node, site) for kind, node, site in places if "ddp" in testing.check_names(kind, site)]
    assert len(cases) > 10
    assert [outcome for outcome in testing.run_together(cases) if outcome.problem] == []


FORMULAS = {
    "activation": ("x.relu().square()", "x.relu()"),
    "attention": ("self.sharpness.exp()", "(1 + self.sharpness)"),
    "block": ("x = x + self.gain", "x = x - self.gain"),
    "cleaning": ("> self.most", ">= self.most"),
    "corpus": ("return source, target", "return target, source"),
    "embedding": ("x: Tensor = self.target(tokens)", "x: Tensor = self.source(tokens)"),
    "feed_forward": ("self.activation(self.inner(x))", "self.activation(self.inner(x)).square()"),
    "loss": ("** self.gamma", "** (2 * self.gamma)"),
    "metric": ("(h & r).total()", "(h | r).total()"),
    "normalization": ("wide.abs().mean(-1, keepdim=True)", "wide.square().mean(-1, keepdim=True).sqrt()"),
    "optimizer": ("momentum=self.momentum", "momentum=0.0"),
    "positions": ("distance.sign()", "distance.abs().sign()"),
    "schedule": ("/ self.half_life", "/ self.warmup"),
    "search": ("least >= t", "least > t"),
    "tokenizer": ("N_SPECIAL + i for", "N_SPECIAL - 1 + i for"),
}


def test_the_test_of_every_starter_notices_another_formula(
    everything: Path, environment: dict[str, str], forks: Forks
) -> None:
    changed = everything / "changed"
    changed.mkdir()
    for kind, (old, new) in FORMULAS.items():
        text = (everything / "plugins" / f"my_{kind}.py").read_text()
        assert text.count(old) == 1, kind
        (changed / f"my_{kind}.py").write_text(text.replace(old, new))
        test = f"test_my_{kind}.py"
        (changed / test).write_text((everything / "plugins" / test).read_text())
    done = forks.run([*PYTEST, "changed", "-k", "not contract"], everything, environment, program="pytest")
    failed = set(re.findall(r"^FAILED changed/test_my_(\w+)\.py", done.stdout, re.M))
    assert failed == set(FORMULAS) == set(KINDS), done.stdout


def test_a_part_of_every_kind_in_one_run(everything: Path, environment: dict[str, str], forks: Forks) -> None:
    trained = forks.run(["train", "all"], everything, environment)
    assert trained.returncode == 0, trained.stderr
    run = everything / "runs" / "all"
    manifest = json.loads((run / "manifest.json").read_text())
    assert sorted(name for plugin in manifest["plugins"] for name in plugin["names"]) == [f"{k}/my_{k}" for k in KINDS]
    scored = json.loads((run / "eval" / "test.json").read_text())["sets"]["test"]
    assert scored["n"] == 6 and "version:1" in scored["my_metric"]["signature"]
    again = forks.run(["eval", "runs/all", "--set", "test", "--json"], everything, environment)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["sets"]["test"]["my_metric"] == scored["my_metric"]
