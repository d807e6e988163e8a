"""``recambio plugin``."""

from __future__ import annotations

import difflib
import itertools
import keyword
import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from recambio.cli import options
from recambio.cli.components import card_of, card_text
from recambio.errors import InputError, RunError

app = typer.Typer(help="Parts of your own.", rich_markup_mode=None)

STARTERS = Path(__file__).parent / "starters"


@app.callback()
def _group() -> None:
    """Parts of your own."""


@app.command("new")
def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="As attention.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="As my_attention.", show_default=False)],
    folder: Annotated[Path, typer.Option("--folder", metavar="PATH", help="Where to write it.")] = Path("plugins"),
) -> None:
    """Write a plugin to start from.

    A small part that works, and its test. Prints their paths.
    """
    from recambio import registry

    kinds = sorted(p.stem for p in STARTERS.glob("*.txt"))
    if kind not in kinds:
        close = difflib.get_close_matches(kind, kinds, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{kind}: there is no starter for this kind.{hint} There is one for {', '.join(kinds)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in registry.YAML_WORDS:
        raise InputError(f"{name}: a part's name is snake_case and no word of Python or YAML, as my_{kind}")
    if name == "conftest" or name.startswith("test_"):
        raise InputError(f"{name}: pytest would take the file for its own; choose another name, as my_{kind}")
    registry.load_builtins()
    parts = registry.REGISTRIES[kind]
    if name in parts.entries or name in parts.presets:
        raise InputError(f"{name}: the package has {kind} {name!r}; choose another name, as my_{name}")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--folder {folder}: is a file; name a folder")
    path, test = folder / f"{name}.py", folder / f"test_{name}.py"
    if taken := [f"{p}: exists already; choose another name or --folder" for p in (path, test) if p.exists()]:
        raise InputError(taken)
    folder.mkdir(parents=True, exist_ok=True)
    for file, template in ((path, f"{kind}.txt"), (test, f"tests/{kind}.txt")):
        with file.open("x", encoding="utf-8") as stream:
            stream.write(starter(template, name, path, test))
        typer.echo(file)


def starter(template: str, name: str, path: Path, test: Path) -> str:
    """The text of a new plugin, or of its test."""
    text = (STARTERS / template).read_text(encoding="utf-8")
    cls = "".join(word.capitalize() for word in name.split("_"))
    if re.search(rf"\b{cls}\b", text):
        cls += "Part"  # a class that the plugin imports has this name
    return string.Template(text).substitute(name=name, cls=cls, path=path.as_posix(), test=test.as_posix())


@app.command("check")
def check(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A plugin (file, module or installed name), or KIND/NAME.", show_default=False
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="OPTION=VALUE", help="Options to build the part with.", show_default=False),
    ] = None,
    slow: Annotated[bool, typer.Option("--slow", help="Compile it and train it too: minutes.")] = False,
) -> None:
    """Prove parts correct.

    Shapes, gradients, masks, caches, precision, processes, cost: a card with a line for each check. Exits 1 if one fails.
    """
    from recambio import plugins, registry
    from recambio.config import source

    plugins.load_plugins(options.plugins(context))
    kind, _, name = target.partition("/")
    if kind in registry.REGISTRIES and name and not target.endswith(".py"):
        registry.REGISTRIES[kind].get(name)
        names = [target]
    else:
        (loaded,) = plugins.load_plugins([target])
        names = list(loaded.names)
        if not names:
            raise InputError(f"{target}: registers no part; decorate the class, as @ATTENTION.register('my_attention')")
    given = source.overrides(values or []).values
    nodes = [(kind, {"name": name, **_example(kind, name), **given}) for kind, name in map(_split, names)]
    if problems := [p for kind, node in nodes for p in registry.REGISTRIES[kind].problems(node)]:
        raise InputError(problems)
    failed = sum(_check(kind, node, slow) for kind, node in nodes)
    if failed:
        raise RunError(f"{target}: {failed} check{'s' * (failed > 1)} failed")


def _example(kind: str, name: str) -> Mapping[str, Any]:
    """What the part can't be built without, as its card gives it."""
    from recambio import registry

    node = registry.REGISTRIES[kind].example(name)
    return {} if isinstance(node, str) else node


def _check(kind: str, node: dict[str, Any], slow: bool) -> int:
    """Run and print the checks of one part. Returns: how many failed."""
    from recambio import registry, testing

    name = node["name"]
    typer.echo(card_text(card_of(registry.REGISTRIES[kind], name)))
    typer.echo()
    if kind not in testing.SITES:
        typer.echo(f"{kind} {name}: registered; there are no checks for this kind")
        return 0
    n_checks = failed = 0
    outcomes = testing.run(kind, node, slow=slow)
    for check, group in itertools.groupby(outcomes, key=lambda outcome: outcome.check):
        found = list(group)
        n_checks += len(found)
        if passed := [outcome.site for outcome in found if not outcome.problem]:
            _line("ok", "green", check, f"{testing.CHECKS[check].proves} ({', '.join(passed)})")
        for outcome in found:
            if outcome.problem:
                failed += 1
                _line("FAIL", "red", check, f"at {outcome.site}: {' '.join(outcome.problem.split())}")
    typer.echo(f"{kind} {name}: {n_checks - failed} of {n_checks} checks passed")
    return failed


def _line(word: str, color: str, check: str, text: str) -> None:
    """One line of a card; coloured at a terminal."""
    typer.echo(f"{typer.style(f'{word:4}', fg=color)}  {check:16} {text}")


def _split(name: str) -> tuple[str, str]:
    kind, _, part = name.partition("/")
    return kind, part
