"""The command line: exit statuses, one line a problem, results apart from the rest, and how soon it answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import recambio
from recambio import registry
from recambio.cli import _options_first, main
from recambio.errors import InputError, RunError

STEPS = "training: {max_steps: 10}\n"


@pytest.fixture(scope="module", autouse=True)
def built_ins() -> None:
    """Every part of the package is registered before the first test remembers what to restore."""
    registry.load_builtins()


@pytest.fixture(autouse=True)
def project(restored_registry: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with one small config."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(STEPS)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Exit status, standard output, lines of standard error."""
    status = main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(recambio.__file__).parent.parent)}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Another Python, in the working folder."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT
    )


def _known(kind: str) -> list[str]:
    """The names of a kind, presets too."""
    registry.load_builtins()
    return sorted([*registry.REGISTRIES[kind].entries, *registry.REGISTRIES[kind].presets])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "Missing command. (recambio --help)"),
        (["trian"], "No such command 'trian'. Did you mean 'train'? (recambio --help)"),
        (["train"], "Missing argument 'CONFIG'. (recambio train --help)"),
        (["config"], "Missing command. (recambio config --help)"),
        (["train", "a.yaml", "--plugin"], "--plugin: needs a value: a .py file, a module or an installed plugin"),
        (["train", "a.yaml", "--plugin", "--resume"], "--plugin: needs a value: a .py file, a module or an installed plugin"),
        (["train", "b"], "b: no such config. In experiments/: none"),
        (["config", "show", "a.yaml", "seed=x"], "seed: must be int, but is 'x' (str)"),
        (["eval"], "no runs under runs/: run `make train` or `recambio train` first"),
        (["eval", "tiny"], "tiny: no such run. Under runs/: none; run `make train` first"),
        (["translate", "tiny"], "tiny: no such run. Under runs/: none; run `make train` first"),
        (["translate", "tiny", "x", "y"], "translate: takes one FILE, but got x, y; join them with cat and pipe them in"),
        (["plugin", "new", "atention", "x"], "atention: there is no starter for this kind. Did you mean 'attention'? There is one "
         "for activation, attention, block, cleaning, corpus, embedding, feed_forward, loss, metric, normalization, optimizer, "
         "positions, schedule, search, tokenizer"),
        (["plugin", "new", "attention", "My"], "My: a part's name is snake_case and no word of Python or YAML, as my_attention"),
        (["plugin", "new", "attention", "class"], "class: a part's name is snake_case and no word of Python or YAML, as "
         "my_attention"),
        (["plugin", "new", "attention", "off"], "off: a part's name is snake_case and no word of Python or YAML, as my_attention"),
        (["plugin", "new", "loss", "mine", "--folder", "a.yaml"], "--folder a.yaml: is a file; name a folder"),
        (["plugin", "new", "loss", "test_mine"], "test_mine: pytest would take the file for its own; choose another name, as "
         "my_loss"),
        (["config", "show", "a.yaml", "model.attention=layer_norm"], "model.attention: unknown attention 'layer_norm'. Did you mean "
         f"normalization 'layer_norm'? Registered: {', '.join(_known('attention'))}. If it is a plugin, list it under plugins:"),
        (["components", "attention", "layer_norm"], "unknown attention 'layer_norm'. Did you mean normalization 'layer_norm'? "
         f"Registered: {', '.join(_known('attention'))}. If it is a plugin, list it under plugins:"),
    ],
)  # fmt: skip
def test_wrong_input_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    assert run(capsys, *arguments) == (2, "", [f"error: {error}"])


def test_a_misspelt_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, errors = run(capsys, "train", "a.yaml", "--resum")
    assert (status, out, len(errors)) == (2, "", 1)
    assert errors[0].startswith("error: No such option: --resum") and "--resume" in errors[0]


def test_every_problem_of_a_config_in_one_report(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    (project / "bad.yaml").write_text("trainig: 1\nmodel: {d_model: 510, n_heads: 8, attention: muti_head}\n")
    status, out, errors = run(capsys, "train", "bad.yaml", "seed=-1")
    assert (status, out) == (2, "")
    assert {e.split(":")[1].strip() for e in errors} == {
        "trainig",
        "model.d_model",
        "model.attention",
        "training",
        "seed",
    }
    assert all(e.startswith("error: ") for e in errors)
    assert not (project / "runs").exists()


def fake(monkeypatch: pytest.MonkeyPatch, name: str, function: Any) -> None:
    """A module of recambio.experiment whose ``run`` is this function."""
    module = ModuleType(f"recambio.experiment.{name}")
    module.run = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    import recambio.experiment

    monkeypatch.setattr(recambio.experiment, name, module, raising=False)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError(["a: b", "c: d\n  e"]), 2, ["error: a: b", "error: c: d e"]),
        (RunError("loss is not finite\nat step 3"), 1, ["error: loss is not finite at step 3"]),
        (ValueError("first\nsecond"), 1, ["error: ValueError: first (--debug shows the traceback)"]),
        (AssertionError(), 1, ["error: AssertionError (--debug shows the traceback)"]),
        (OSError(28, "No space left on device"), 1, ["error: OSError: [Errno 28] No space left on device "
                                                     "(--debug shows the traceback)"]),
        (KeyboardInterrupt(), 130, ["interrupted: nothing was begun; the same command begins"]),
    ],
)  # fmt: skip
def test_how_a_run_may_end(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: int,
    text: list[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    fake(monkeypatch, "train", fail)
    assert run(capsys, "train", "a.yaml") == (status, "", text)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_the_traceback_wherever_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("wrong")

    fake(monkeypatch, "train", fail)
    arguments = ["train", "a.yaml"]
    arguments.insert(place, "--debug")
    status, out, errors = run(capsys, *arguments)
    assert (status, out) == (1, "")
    assert errors[0].startswith("Traceback") and errors[-1] == "error: ValueError: wrong"


def test_train_hands_over_its_arguments_and_prints_the_folder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def train(config: Any, *, resume: bool, run: Path | None) -> Path:
        seen.update(config=config, resume=resume, run=run)
        return Path("runs/a")

    fake(monkeypatch, "train", train)
    assert run(capsys, "train", "a.yaml", "seed=9", "--resume", "model.d_ff=8", "--run", "x/y") == (0, "runs/a\n", [])
    assert (seen["config"].values.seed, seen["config"].values.model.d_ff) == (9, 8)
    assert (seen["resume"], seen["run"]) == (True, Path("x/y"))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run(capsys, "train", "a.yaml") == (0, "", [])
    assert (seen["resume"], seen["run"]) == (False, None)


def test_eval_and_translate_hand_over_their_arguments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    from recambio.experiment.run_folder import Manifest, create

    create(Manifest("tiny", 1))
    seen: list[Any] = []
    fake(monkeypatch, "evaluate", lambda run, **options: seen.append((run, options)))
    fake(monkeypatch, "translate", lambda run, **options: seen.append((run, options)))
    plain = {
        "sets": [],
        "source": None,
        "reference": [],
        "checkpoint": None,
        "as_json": False,
        "as_html": False,
        "overrides": [],
        "plugins": [],
        "devices": None,
    }
    assert run(capsys, "eval") == (0, "", [])
    assert seen.pop() == (Path("runs/tiny"), plain)
    assert run(capsys, "eval", "decoding.batch_tokens=9")[0] == 0
    assert seen.pop() == (Path("runs/tiny"), {**plain, "overrides": ["decoding.batch_tokens=9"]})
    arguments = ["--set", "dev", "--set", "wmt13", "--source", "s", "--reference", "r", "--reference", "q", "--json"]
    arguments += ["--devices", "cpu,cpu"]
    assert run(capsys, "eval", "runs/tiny", *arguments, "--checkpoint", "last", "--plugin", "p.py")[0] == 0
    assert seen.pop()[1] == {
        "sets": ["dev", "wmt13"], "source": Path("s"), "reference": [Path("r"), Path("q")], "checkpoint": "last",
        "as_json": True, "as_html": False, "overrides": [], "plugins": ["p.py"], "devices": "cpu,cpu",
    }  # fmt: skip
    assert run(capsys, "translate", "tiny", "decoding.search.width=2", "--plugin=p.py")[0] == 0
    plain = {
        "file": None, "checkpoint": None, "overrides": ["decoding.search.width=2"], "plugins": ["p.py"], "others": [],
        "n_best": None, "with_scores": False, "with_alignment": False, "align_layer": -1, "prefix": None,
        "prefix_file": None, "forbid": [], "require": [], "require_file": None, "engine": None, "devices": None,
    }  # fmt: skip
    assert seen.pop()[1] == plain
    arguments = [
        "--with",
        "a",
        "--with",
        "b",
        "--n-best",
        "3",
        "--scores",
        "--align",
        "--align-layer",
        "1",
        "--prefix",
        "El",
        "--devices",
        "2",
    ]
    arguments += ["--prefix-file", "p", "--forbid", "x y", "--forbid", "z", "--require", "u v", "--require-file", "q"]
    assert run(capsys, "translate", "tiny", *arguments)[0] == 0
    assert seen.pop()[1] == {
        **plain, "overrides": [], "plugins": [], "others": ["a", "b"], "n_best": 3, "with_scores": True,
        "with_alignment": True, "align_layer": 1, "prefix": "El", "prefix_file": Path("p"), "forbid": ["x y", "z"],
        "require": ["u v"], "require_file": Path("q"), "devices": "2",
    }  # fmt: skip
    status, _, errors = run(capsys, "translate", "tiny", "--align-layer", "1")
    assert status == 2 and errors == [
        "error: --align-layer: says which layer --align shows; add --align, or leave it out"
    ]
    (project / "in=put.txt").write_text("x\n")
    assert run(capsys, "translate", "newest", "in=put.txt")[0] == 0
    assert seen.pop()[1]["file"] == Path("in=put.txt")


def test_config_show_prints_every_value_with_its_origin(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    (project / "b.yaml").write_text("extends: a\nmodel:\n  attention: {name: grouped_query, n_groups: 2}\n")
    status, out, errors = run(capsys, "config", "show", "b.yaml", "data.batch_tokens=99")
    assert (status, errors) == (0, [])
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()}
    assert rows["training.max_steps"].split() == ["10", "a.yaml:1"]
    assert rows["model.attention.n_groups"].split() == ["2", "b.yaml:3"]
    assert rows["model.attention.bias"].split() == ["true", "default"]
    assert rows["data.batch_tokens"].split(maxsplit=1) == ["99", "command line"]
    assert rows["name"].split() == ["b", "default"]
    origins = {line.rindex(" default") for line in out.splitlines() if line.endswith(" default")}
    assert len(origins) == 1, "the columns are not aligned"


def test_components_shows_kinds_presets_and_cards(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "components")
    assert status == 0 and "attention:\n" in out and "optimizer:\n" in out
    status, out, _ = run(capsys, "components", "attention")
    assert "  multi_query            = {name: grouped_query, n_groups: 1}\n" in out
    status, out, _ = run(capsys, "components", "attention", "multi_query")
    assert status == 0 and "option       n_groups: int" in out and "arxiv.org/abs/2305.13245" in out
    status, out, _ = run(capsys, "components", "attention", "--json")
    cards = json.loads(out)
    assert {"multi_head", "grouped_query", "multi_query"} <= {c["name"] for c in cards}
    assert next(c for c in cards if c["name"] == "multi_query")["preset_of"] == "grouped_query"
    assert json.loads(run(capsys, "components", "--json")[1])
    assert run(capsys, "components", "atention")[2][0].startswith(
        "error: atention: no such kind of part. Did you mean 'attention'? Kinds: attention, "
    )
    status, _, errors = run(capsys, "components", "attention", "muti_head")
    assert status == 2 and errors[0].startswith("error: unknown attention 'muti_head'. Did you mean 'multi_head'?")


KEYS = {
    "cleaning": "data.cleaning=[my_cleaning]",
    "metric": "evaluation.metrics=[my_metric]",
    "search": "decoding.search=my_search",
    **{kind: f"data.{kind}=my_{kind}" for kind in ("corpus", "tokenizer")},
    **{kind: f"training.{kind}=my_{kind}" for kind in ("loss", "optimizer", "schedule")},
}
"""How a config names a part, for kinds that don't stand under ``model``."""


@pytest.mark.parametrize("kind", sorted(registry.REGISTRIES))
def test_a_new_plugin_is_a_part_and_its_test(capsys: pytest.CaptureFixture[str], kind: str, project: Path) -> None:
    path, test = f"plugins/my_{kind}.py", f"plugins/test_my_{kind}.py"
    assert run(capsys, "plugin", "new", kind, f"my_{kind}") == (0, f"{path}\n{test}\n", [])
    status, out, errors = run(
        capsys, "config", "show", "a.yaml", "--plugin", path, KEYS.get(kind, f"model.{kind}=my_{kind}")
    )
    assert (status, errors) == (0, []) and path in out
    assert f"my_{kind}" in (project / path).read_text() and f'with_name("my_{kind}.py")' in (project / test).read_text()
    assert f"[plugin {path}]" in run(capsys, "components", kind, "--plugin", path)[1]


@pytest.mark.parametrize("there", [["mine.py"], ["test_mine.py"], ["mine.py", "test_mine.py"]])
def test_a_new_plugin_overwrites_nothing_and_is_written_whole_or_not_at_all(
    capsys: pytest.CaptureFixture[str], project: Path, there: list[str]
) -> None:
    for name in there:
        (project / name).write_text("mine\n")
    assert run(capsys, "plugin", "new", "loss", "mine", "--folder", ".") == (
        2, "", [f"error: {name}: exists already; choose another name or --folder" for name in there]
    )  # fmt: skip
    assert [(p.name, p.read_text()) for p in sorted(project.glob("*mine.py"))] == [(name, "mine\n") for name in there]


def test_a_new_plugin_may_be_called_like_a_class_that_it_imports(
    capsys: pytest.CaptureFixture[str], project: Path
) -> None:
    assert run(capsys, "plugin", "new", "feed_forward", "linear")[0] == 0
    assert "class LinearPart(FeedForward):" in (project / "plugins" / "linear.py").read_text()
    loaded = run(capsys, "components", "feed_forward", "linear", "--plugin", "plugins/linear.py")
    assert loaded[0] == 0 and "option       bias: bool = false" in loaded[1]


@pytest.mark.parametrize(
    ("kind", "checks"),
    [("normalization", True), ("schedule", True), ("search", True), ("metric", True), ("cleaning", False)],
)
def test_a_new_plugin_passes_the_checks_that_its_kind_has(
    capsys: pytest.CaptureFixture[str], kind: str, checks: bool
) -> None:
    run(capsys, "plugin", "new", kind, "mine")
    status, out, errors = run(capsys, "plugin", "check", "plugins/mine.py")
    assert (status, errors) == (0, []), out
    last = out.splitlines()[-1]
    if checks:
        assert re.fullmatch(rf"{kind} mine: (\d+) of \1 checks passed", last)
    else:
        assert last == f"{kind} mine: registered; there are no checks for this kind"


@pytest.mark.parametrize(
    ("kind", "old", "new", "problem"),
    [
        ("attention", "class Mine(Attention)", "class Mine(nn.Module)", "line DECORATOR: TypeError: attention 'mine': Mine must "
         "inherit Attention (from recambio.components.attention.base)"),
        ("attention", "def new_cache(", "def cache_for(", "line DECORATOR: TypeError: attention 'mine': Mine must define "
         "new_cache(self, rows, max_length, memory=None), which Attention leaves open"),
        ("normalization", "def forward(self, x: Tensor)", "def forward(self, x: Tensor, size: int)", "line DECORATOR: TypeError: "
         "normalization 'mine': forward(self, x, size), line NEW, must take what Normalization.forward(self, x) takes"),
        ("metric", "    @property\n    def label", "    def label", "line DECORATOR: TypeError: metric 'mine': label, line NEW, "
         "must be a property; put @property above it"),
        ("loss", "self, gamma: float = 1.0", "self, **options: float", "line DECORATOR: ValueError: loss 'mine': the constructor "
         "must name its options, not take **options: 'float'"),
        ("normalization", 'register(\n    "mine"', 'register(\n    "layer_norm"', "line DECORATOR: ValueError: normalization "
         "'layer_norm' is already registered by recambio.components.normalization.layer_norm.LayerNorm; choose another name or "
         "pass replace=True"),
        ("search", "import Hypothesis, Scorer, Search", "import Hypothesis, Scorer, Serch", "line NEW: ImportError: cannot import "
         "name 'Serch' from 'recambio.decoding' (PACKAGE/decoding/__init__.py); did you mean 'Search'?"),
        ("block", "import torch\n", "import torhc\n", "line NEW: ModuleNotFoundError: No module named 'torhc'; install it, or "
         "correct its name"),
        ("activation", "self, scale: float", "self, scale: Scale", "TypeError: activation 'mine': an annotation of __init__, line "
         "NEW, can't be read (name 'Scale' is not defined); import what it names at the top of the file, not for type checking "
         "only"),
        ("cleaning", "@CLEANING", "# CLEANING", "registers no part; decorate the class, as @ATTENTION.register('my_attention')"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_one_line_with_its_name_the_place_and_the_remedy(
    capsys: pytest.CaptureFixture[str], project: Path, kind: str, old: str, new: str, problem: str
) -> None:
    run(capsys, "plugin", "new", kind, "mine")
    file = project / "plugins" / "mine.py"
    text = file.read_text()
    assert text.count(old) == 1
    text = text.replace(old, new)
    file.write_text(text)
    places = {
        "DECORATOR": str(text[: text.index(".register(")].count("\n") + 1),
        "NEW": str(text[: text.index(new.strip())].count("\n") + 1),
        "PACKAGE": str(Path(recambio.__file__).parent),
    }
    for word, place in places.items():
        problem = problem.replace(word, place)
    for command in (["plugin", "check", "plugins/mine.py"], ["components", "--plugin", "plugins/mine.py"]):
        assert run(capsys, *command) == (2, "", [f"error: plugins/mine.py: {problem}"])


def test_the_name_of_a_built_in_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "plugin", "new", "attention", "multi_head") == (
        2, "", ["error: multi_head: the package has attention 'multi_head'; choose another name, as my_multi_head"]
    )  # fmt: skip
    assert not Path("plugins").exists()


def test_plugin_check_finds_what_is_wrong(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    run(capsys, "plugin", "new", "normalization", "leaky")
    path = project / "plugins" / "leaky.py"
    path.write_text(path.read_text().replace("wide.abs().mean(-1, keepdim=True)", "wide.abs().mean()"))
    status, out, errors = run(capsys, "plugin", "check", "plugins/leaky.py")
    assert status == 1 and re.search(r"^FAIL  tokenwise +at decoder: ", out, re.MULTILINE)
    assert len(errors) == 1 and errors[0].startswith("error: plugins/leaky.py: ") and errors[0].endswith(" failed")


def test_plugin_check_takes_options_and_refuses_wrong_ones(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    (project / "empty.py").write_text("x = 1\n")
    status, _, errors = run(capsys, "plugin", "check", "attention/grouped_query", "n_gruops=2")
    assert status == 2 and errors[0].startswith(
        "error: n_gruops: attention 'grouped_query' has no option 'n_gruops'. Did"
    )
    assert run(capsys, "plugin", "check", "empty.py")[2] == [
        "error: empty.py: registers no part; decorate the class, as @ATTENTION.register('my_attention')"
    ]
    assert run(capsys, "plugin", "check", "gone.py")[0] == 2
    assert run(capsys, "plugin", "check", "normalization/rmsnorm")[0] == 2


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from(["train", "a=1", "--debug", "--resume", "--plugin=x", "--run", "r", "--", "-"])))
def test_moving_options_loses_none_and_keeps_the_order_of_the_rest(words: list[str]) -> None:
    moved = _options_first(words)
    assert sorted(moved) == sorted(words)
    end = words.index("--") if "--" in words else len(words)

    def is_global(word: str) -> bool:
        return word == "--debug" or word.startswith("--plugin")

    kept = [w for w in words[:end] if not is_global(w)] + words[end:]
    assert moved[len(moved) - len(kept) :] == kept


def test_help_and_import_are_quick_and_light() -> None:
    heavy = "{'torch', 'lightning', 'numpy', 'sentencepiece', 'sacrebleu', 'wandb', 'transformers', 'omegaconf'}"
    for imported in (
        "recambio",
        "recambio.cli",
        "recambio.registry",
        "recambio.errors",
        "recambio.experiment.run_folder",
    ):
        done = python("-c", f"import sys, {imported}; print(sorted(set(sys.modules) & {heavy}))")
        assert done.stdout == "[]\n", (imported, done)
    done = python("-c", "import sys, recambio.config, recambio.plugins; print('torch' in sys.modules)")
    assert done.stdout == "False\n", done
    for arguments in (["-m", "recambio", "--help"], ["-c", "import recambio"]):
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            assert python(*arguments).returncode == 0
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 1.0, (arguments, seconds)


def test_help_goes_to_standard_output_without_boxes() -> None:
    done = python("-m", "recambio", "train", "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "--resume" in done.stdout and not set("╭│╰─") & set(done.stdout)


def test_a_reader_that_leaves_early_sees_no_traceback() -> None:
    command = f"{sys.executable} -m recambio config show a.yaml | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False, env=ENVIRONMENT
    )
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""


def test_warnings_are_one_line_on_standard_error() -> None:
    code = (
        "from recambio.cli import main; import logging, recambio.cli.components as c\n"
        "main(['--version']); logging.getLogger('recambio').warning('careful')"
    )
    done = python("-c", code)
    assert (done.stdout.strip(), done.stderr) == ("0.1.0", "warning: careful\n")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
class TestMake:
    """What make says before there is an environment."""

    def make(self, repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make in the checkout with an environment that isn't there."""
        environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        return subprocess.run(
            ["make", "-C", str(repository), f"VENV={Path.cwd() / 'venv'}", *arguments],
            capture_output=True, text=True, timeout=60, check=False, env=environment,
        )  # fmt: skip

    def test_help_is_the_default_and_lists_the_targets(self, repository: Path) -> None:
        done = self.make(repository, "--no-print-directory")
        targets = [line.split()[1] for line in done.stdout.splitlines()]
        assert targets == [
            "help", "setup", "train", "eval", "translate", "test", "test-all", "lint", "docs", "bench-parts", "bench",
            "bench-joeynmt", "comet", "clean"
        ]  # fmt: skip

    def test_a_misspelt_variable_starts_nothing(self, repository: Path, project: Path) -> None:
        done = self.make(repository, "train", "CONFIG=mine.yaml")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "CONFIG: no such variable; those of this Makefile are PYTHON VENV" in done.stderr
        known = done.stderr.split(" are ")[1].split(".")[0].split()
        assert self.make(repository, "help", *(f"{name}=a b" for name in known)).returncode == 0

    def test_a_python_that_is_missing_or_too_old(self, repository: Path, project: Path) -> None:
        done = self.make(repository, "train", "PYTHON=no_such_python")
        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == (
            "error: PYTHON: there is no no_such_python; install Python 3.11 or newer, or name one: "
            "make setup PYTHON=/path/to/python3.11"
        )
        old = project / "python3.9"
        old.write_text('#!/bin/sh\ntest "$1" = -V && echo Python 3.9.2 && exit 0\nexit 1\n')
        old.chmod(0o755)
        done = self.make(repository, "train", f"PYTHON={old}")
        assert done.returncode == 2
        assert done.stderr.splitlines()[0] == (
            f"error: PYTHON: recambio needs Python 3.11 or newer, but {old} is Python 3.9.2; name another: "
            "make setup PYTHON=/path/to/python3.11"
        )
        assert not (project / "venv").exists()
