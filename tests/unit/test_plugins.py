"""The plugin loader: files, modules, entry points, failures, and what a run folder may load."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recambio import plugins, registry
from recambio.errors import InputError
from recambio.plugins import load_plugins, verify_plugins

Write = Callable[..., Path]

PART = """from recambio.registry import ATTENTION

@ATTENTION.register("{name}")
class Part:
    def __init__(self, width: int = {width}) -> None:
        self.width = width
"""

RAN = """
import pathlib
pathlib.Path("ran").touch()
"""


@pytest.fixture(autouse=True)
def sandbox(restored_registry: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One built-in part, an empty project as the working folder, and no trace afterwards."""
    monkeypatch.setattr(registry, "load_builtins", lambda: None)
    monkeypatch.setattr(registry.ATTENTION, "contract", None)
    monkeypatch.setattr(registry.ATTENTION, "entries", {})
    registry.ATTENTION.register("built_in")(type("BuiltIn", (), {"__init__": _bare}))
    monkeypatch.setattr(plugins, "_loaded", {})
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _bare(self: Any) -> None: ...


def write(path: str | Path, text: str | None = None, name: str = "mine", width: int = 3) -> Path:
    """A plugin file."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(PART.format(name=name, width=width) if text is None else text)
    return place


def failure(*specs: str, base: Path | None = None) -> list[str]:
    """What loading reports."""
    with pytest.raises(InputError) as caught:
        load_plugins(specs, base)
    assert all("\n" not in p for p in caught.value.problems)
    return caught.value.problems


def test_a_file_is_loaded_once_under_a_stable_name() -> None:
    write("plugins/mine.py")
    (first,) = load_plugins(["plugins/mine.py"])
    assert first.spec == first.path == "plugins/mine.py" and first.names == ("attention/mine",)
    assert first.module.startswith("recambio_plugin_mine_") and len(first.module) == len("recambio_plugin_mine_") + 8
    part = registry.ATTENTION.get("mine").cls
    assert registry.ATTENTION.get("mine").origin == "plugins/mine.py"
    assert load_plugins([str(Path("plugins/mine.py").resolve())]) == [first]
    assert load_plugins(["mine.py"], Path("plugins")) == [first]
    assert registry.ATTENTION.get("mine").cls is part
    assert json.loads(json.dumps(first.to_dict()))["names"] == ["attention/mine"]


def test_a_path_is_looked_up_beside_the_yaml_and_then_in_the_working_folder() -> None:
    write("inner/mine.py", name="inner")
    write("mine.py", name="outer")
    write("only.py", name="only")
    assert load_plugins(["mine.py"], Path("inner"))[0].names == ("attention/inner",)
    assert load_plugins(["mine.py"])[0].names == ("attention/outer",)
    assert load_plugins(["only.py"], Path("inner"))[0].names == ("attention/only",)


def test_order_is_kept() -> None:
    for name in ("b", "a", "c"):
        write(f"{name}.py", name=f"part_{name}")
    assert [p.spec for p in load_plugins(["b.py", "a.py", "c.py"])] == ["b.py", "a.py", "c.py"]


def test_an_edited_plugin_is_loaded_anew() -> None:
    path = write("mine.py", width=3)
    (first,) = load_plugins(["mine.py"])
    write(path, width=44)
    (second,) = load_plugins(["mine.py"])
    assert second.sha256 != first.sha256 and second.module == first.module
    assert registry.ATTENTION.create("mine").width == 44


def test_parts_come_back_after_the_registry_was_restored() -> None:
    saved = registry.snapshot()
    write("mine.py")
    load_plugins(["mine.py"])
    registry.restore(saved)
    assert "mine" not in registry.ATTENTION.entries
    load_plugins(["mine.py"])
    assert "mine" in registry.ATTENTION.entries


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1\nimport no_such_module_here\n", "bad.py: line 2: ModuleNotFoundError: No module named 'no_such_module_here'; "
         "install it, or correct its name"),
        ("from json import lods\n", "bad.py: line 1: ImportError: cannot import name 'lods' from 'json' "
         f"({json.__file__}); did you mean 'loads'?"),
        ("x = 1\n\ndef f(:\n", "bad.py: line 3: SyntaxError: invalid syntax"),
        ("def f():\n    raise RuntimeError('one\\ntwo')\n\nf()\n", "bad.py: line 2: RuntimeError: one (--debug shows the "
         "traceback)"),
        ("raise SystemExit(3)\n", "bad.py: line 1: SystemExit: 3 (--debug shows the traceback)"),
        (PART.format(name="half", width=1).replace("width: int", "width: Unknown").replace("from recambio",
         "from __future__ import annotations\nfrom recambio"), "bad.py: TypeError: attention 'half': an annotation of __init__, "
         "line 6, can't be read (name 'Unknown' is not defined); import what it names at the top of the file, not for type "
         "checking only"),
        ("assert False\n", "bad.py: line 1: AssertionError (--debug shows the traceback)"),
        ("import json\njson.loads('{')\n", "bad.py: line 2: JSONDecodeError: Expecting property name enclosed in double "
         "quotes: line 1 column 2 (char 1) (--debug shows the traceback)"),
        (PART.format(name="half", width=1).replace("self, width: int = 1", "self, *widths: int"), "bad.py: line 3: ValueError: "
         "attention 'half': the constructor must name its options, not take *widths: int"),
        ("x = 1\n", "bad.py: registers no part; decorate the class, as @ATTENTION.register('my_attention')"),
        (PART.format(name="half", width=1).replace("@", "# "), "bad.py: registers no part; decorate the class, as "
         "@ATTENTION.register('my_attention')"),
    ],
)  # fmt: skip
def test_a_plugin_that_fails_says_so_in_one_line(text: str, problem: str) -> None:
    write("bad.py", text)
    assert failure("bad.py") == [problem]


def test_a_plugin_that_fails_leaves_nothing() -> None:
    write("bad.py", PART.format(name="half", width=1) + "\nraise RuntimeError('late')\n")
    modules = set(sys.modules)
    assert failure("bad.py") == ["bad.py: line 8: RuntimeError: late (--debug shows the traceback)"]
    assert "half" not in registry.ATTENTION.entries
    write("bad.py", "x = 1\n")
    assert "registers no part" in failure("bad.py")[0]
    assert set(sys.modules) == modules
    write("bad.py", PART.format(name="half", width=1))
    assert load_plugins(["bad.py"])[0].names == ("attention/half",)


def test_all_failures_at_once() -> None:
    write("one.py", "import no_such_one\n")
    write("two.py", "import no_such_two\n")
    assert [p.split(":")[0] for p in failure("one.py", "two.py", "three.py")] == ["one.py", "two.py", "three.py"]


def test_a_built_in_can_not_be_shadowed_silently() -> None:
    write("mine.py", name="built_in")
    (problem,) = failure("mine.py")
    assert problem.startswith("mine.py: line 3: ValueError: attention 'built_in' is already registered by ")
    assert registry.ATTENTION.get("built_in").origin is None
    write("mine.py", PART.format(name="built_in", width=5).replace('"built_in"', '"built_in", replace=True'))
    load_plugins(["mine.py"])
    assert registry.ATTENTION.get("built_in").origin == "mine.py"


def test_a_module_that_is_no_plugin_stays_as_it_was() -> None:
    assert failure("json") == ["json: registers no part; decorate the class, as @ATTENTION.register('my_attention')"]
    assert sys.modules["json"] is json


def test_a_second_name_alone_makes_a_plugin() -> None:
    write("mine.py", "from recambio.registry import ATTENTION\nATTENTION.preset('short', of='built_in')\n")
    assert load_plugins(["mine.py"])[0].names == ()
    assert registry.ATTENTION.presets["short"].of == "built_in"


def test_a_constructor_that_fails_is_named_with_its_line() -> None:
    write("mine.py", PART.format(name="mine", width=1).replace("self.width = width", "self.width = widht"))
    load_plugins(["mine.py"])
    with pytest.raises(InputError) as caught:
        registry.ATTENTION.create("mine")
    assert caught.value.problems == [
        "mine.py: line 6: attention 'mine' can't be built: NameError: name 'widht' is not defined"
    ]
    write("mine.py", PART.format(name="mine", width=1) + "        raise ValueError('`width` must be 2')\n")
    load_plugins(["mine.py"])
    with pytest.raises(ValueError, match=r"^`width` must be 2$"):  # what a part says of its options stays as it is
        registry.ATTENTION.create("mine")


def test_a_name_of_another_plugin_is_refused_with_its_file() -> None:
    write("one.py", name="mine")
    write("two.py", name="mine")
    assert failure("one.py", "two.py") == [
        "two.py: line 3: ValueError: attention 'mine' is already registered by Part of the plugin one.py; "
        "choose another name or pass replace=True"
    ]


def test_what_is_not_there(tmp_path: Path) -> None:
    Path("folder").mkdir()
    (problem,) = failure("gone.py", base=Path("inner"))
    assert problem == (
        f"gone.py: no such plugin file (looked for inner/gone.py or {Path.cwd() / 'gone.py'}); "
        "`plugins:` and --plugin take a .py file"
    )
    assert failure("folder/")[0].startswith("folder/: no such plugin file")
    assert failure("no_such_module_here") == [
        "no_such_module_here: no such plugin; give a .py file, an importable module or an installed plugin (installed: none)"
    ]
    assert failure("json.nothing")[0].startswith("json.nothing: no such plugin")


def test_modules_and_packages(tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    write(installed / "single.py", name="single")
    write(installed / "pack" / "__init__.py", "from pack import inner\n")
    inner = write(installed / "pack" / "inner.py", name="packed")
    (single,) = load_plugins(["single"])
    assert single.names == ("attention/single",) and single.module == "single"
    (pack,) = load_plugins(["pack"])
    assert pack.names == ("attention/packed",) and Path(pack.path).name == "__init__.py"
    inner.write_text(inner.read_text().replace("= 3", "= 44"))
    (again,) = load_plugins(["pack"])
    assert again.sha256 != pack.sha256 and registry.ATTENTION.create("packed").width == 44


def test_a_module_that_was_imported_before_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / "installed" / "early.py", name="early")
    __import__("early")
    assert registry.ATTENTION.get("early").origin is None
    (plugin,) = load_plugins(["early"])
    assert plugin.names == ("attention/early",) and registry.ATTENTION.get("early").origin == "early"


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An installed distribution with an entry point ``fancy`` -> ``fancy_parts.attention``."""
    installed = tmp_path / "installed"
    write(installed / "fancy_parts" / "__init__.py", "raise_if_imported_unasked = True\n")
    module = write(installed / "fancy_parts" / "attention.py", name="fancy")
    info = installed / "fancy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fancy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[recambio.plugins]\nfancy = fancy_parts.attention\n")
    importlib.invalidate_caches()
    return module


def test_entry_points_are_listed_without_import_and_loaded_by_name(entry_point: Path) -> None:
    assert plugins.available() == {"fancy": "fancy_parts.attention"}
    assert not any(m.startswith("fancy_parts") for m in sys.modules)
    assert "installed: fancy)" in failure("fnacy")[0]
    (plugin,) = load_plugins(["fancy"])
    assert (plugin.spec, plugin.module, plugin.names) == ("fancy", "fancy_parts.attention", ("attention/fancy",))


class TestFromARunFolder:
    """What a run folder may load."""

    run = Path("runs/tiny")

    def manifest(self, *specs: str) -> list[dict[str, Any]]:
        """The entries of a run that was trained with these plugins, in a process of its own."""
        saved, before = registry.snapshot(), set(sys.modules)
        entries = [p.to_dict() for p in load_plugins(specs)]
        registry.restore(saved)
        plugins._loaded.clear()
        for name in [
            m for m in set(sys.modules) - before if m.startswith(("recambio_plugin_", "fancy_parts", "outside_module"))
        ]:
            del sys.modules[name]
        return json.loads(json.dumps(entries))

    def refused(self, entries: list[dict[str, Any]], *extra: str) -> list[str]:
        """What is reported, and that nothing was imported."""
        modules = set(sys.modules)
        with pytest.raises(InputError) as caught:
            verify_plugins(entries, self.run, list(extra))
        assert not {m for m in set(sys.modules) - modules if m.startswith("recambio_plugin_")}
        return caught.value.problems

    def test_unchanged_inside_the_project_loads_silently(self, caplog: pytest.LogCaptureFixture) -> None:
        write("plugins/mine.py")
        entries = self.manifest("plugins/mine.py")
        (plugin,) = verify_plugins(entries, self.run)
        assert plugin.to_dict() == entries[0] and "mine" in registry.ATTENTION.entries
        assert caplog.records == []

    def test_changed_loads_with_a_warning_of_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write("plugins/mine.py")
        entries = self.manifest("plugins/mine.py")
        write(path, width=9)
        seen: list[logging.LogRecord] = []
        monkeypatch.setattr(plugins.logger, "handle", seen.append)
        verify_plugins(entries, self.run)
        (record,) = seen
        text = record.getMessage()
        assert record.levelno == logging.WARNING and "\n" not in text
        assert text.startswith("plugins/mine.py: has changed since runs/tiny was trained (sha256 ")
        assert entries[0]["sha256"][:8] in text

    def test_missing_asks_for_its_place(self) -> None:
        path = write("plugins/mine.py")
        entries = self.manifest("plugins/mine.py")
        moved = path.rename("moved.py")
        assert self.refused(entries) == [
            "plugins/mine.py: plugin of runs/tiny, is missing; say where it is with --plugin PATH"
        ]
        (plugin,) = verify_plugins(entries, self.run, [str(moved)])
        assert plugin.spec == "moved.py" and "mine" in registry.ATTENTION.entries

    def test_outside_the_project_is_not_run_unasked(self, tmp_path: Path) -> None:
        outside = write(tmp_path / "elsewhere" / "mine.py", PART.format(name="mine", width=1) + RAN)
        entries = self.manifest(str(outside))
        Path("ran").unlink()
        assert self.refused(entries) == [
            f"{outside}: plugin of runs/tiny, lies outside this project; if you trust it, add --plugin {outside}"
        ]
        assert not Path("ran").exists()
        verify_plugins(entries, self.run, [str(outside)])
        assert Path("ran").exists()

    def test_a_path_that_climbs_out_is_outside(self, tmp_path: Path) -> None:
        write(tmp_path / "elsewhere" / "mine.py")
        entries = self.manifest("../elsewhere/mine.py")
        entries[0] |= {"spec": "../elsewhere/mine.py", "path": "../elsewhere/mine.py"}
        assert "lies outside this project" in self.refused(entries)[0]

    def test_a_link_that_leads_out_is_outside(self, tmp_path: Path) -> None:
        write(tmp_path / "elsewhere" / "mine.py")
        Path("linked.py").symlink_to(tmp_path / "elsewhere" / "mine.py")
        entries = self.manifest("linked.py")
        entries[0] |= {"spec": "linked.py", "path": "linked.py"}
        assert "lies outside this project" in self.refused(entries)[0]

    @pytest.mark.parametrize("place", ["runs/tiny/mine.py", "runs/other/plugins/mine.py", "stranger/mine.py"])
    def test_code_that_came_with_a_run_is_not_run_unasked(self, place: str) -> None:
        write(place, PART.format(name="mine", width=1) + RAN)
        entries = self.manifest(place)
        Path("ran").unlink()
        run = Path("stranger") if place.startswith("stranger") else self.run
        with pytest.raises(InputError, match="lies in a run folder; if you trust it, add --plugin"):
            verify_plugins(entries, run)
        assert not Path("ran").exists()
        verify_plugins(entries, run, [place])
        assert Path("ran").exists()

    def test_an_environment_inside_the_project_is_no_part_of_it(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        site = Path.cwd() / ".venv" / "lib"
        write(site / "outside_module.py", name="outside")
        monkeypatch.syspath_prepend(str(site))
        entries = self.manifest("outside_module")
        monkeypatch.setattr(sys, "prefix", str(Path.cwd() / ".venv"))
        assert "lies among the installed packages" in self.refused(entries)[0]

    def test_a_module_outside_is_not_imported_unasked(self, tmp_path: Path) -> None:
        write(tmp_path / "installed" / "outside_module.py", name="outside")
        entries = self.manifest("outside_module")
        assert "lies outside this project" in self.refused(entries)[0]
        assert "outside_module" not in sys.modules
        verify_plugins(entries, self.run, ["outside_module"])
        assert "outside" in registry.ATTENTION.entries

    def test_an_installed_plugin_loads(self, entry_point: Path) -> None:
        entries = self.manifest("fancy")
        (plugin,) = verify_plugins(entries, self.run)
        assert plugin.names == ("attention/fancy",)

    def test_nothing_loads_if_one_is_refused(self) -> None:
        write("one.py", name="one")
        write("two.py", name="two")
        entries = self.manifest("one.py", "two.py")
        Path("two.py").unlink()
        assert len(self.refused(entries)) == 1
        assert "one" not in registry.ATTENTION.entries
