"""``recambio plugin``."""

from __future__ import annotations

import difflib
import keyword
import re
import string
from pathlib import Path
from typing import Annotated, Any

import typer

from recambio.cli import options
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

    A small part that works. Prints its path.
    """
    from recambio import registry

    kinds = sorted(p.stem for p in STARTERS.glob("*.txt"))
    if kind not in kinds:
        close = difflib.get_close_matches(kind, kinds, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{kind}: there is no starter for this kind.{hint} There is one for {', '.join(kinds)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise InputError(f"{name}: a part's name is snake_case, as my_{kind}")
    registry.load_builtins()
    parts = registry.REGISTRIES[kind]
    if name in parts.entries or name in parts.presets:
        raise InputError(f"{name}: the package has {kind} {name!r}; choose another name, as my_{name}")
    path = folder / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(starter(kind, name, path))
    except FileExistsError as error:
        raise InputError(f"{path}: exists already; choose another name or --folder") from error
    typer.echo(path)


def starter(kind: str, name: str, path: Path) -> str:
    """The text of a new plugin."""
    template = string.Template((STARTERS / f"{kind}.txt").read_text(encoding="utf-8"))
    cls = "".join(word.capitalize() for word in name.split("_"))
    return template.substitute(name=name, cls=cls, path=path.as_posix())


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
    slow: Annotated[bool, typer.Option("--slow", help="Run the slow checks too (torch.compile).")] = False,
) -> None:
    """Prove parts correct.

    Shapes, gradients, masks, caches, cost. Exits 1 if one fails.
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
    if problems := [
        p for kind, name in map(_split, names) for p in registry.REGISTRIES[kind].problems({"name": name, **given})
    ]:
        raise InputError(problems)
    failed = sum(_check(*_split(name), given, slow) for name in names)
    if failed:
        raise RunError(f"{target}: {failed} check{'s' * (failed > 1)} failed")


def _check(kind: str, name: str, given: dict[str, Any], slow: bool) -> int:
    """Run and print the checks of one part. Returns: how many failed."""
    from recambio import testing

    if kind not in testing.SITES:
        typer.echo(f"{kind} {name}: registered; there are no checks for this kind")
        return 0
    outcomes = []
    for outcome in testing.run(kind, {"name": name, **given}, slow=slow):
        outcomes.append(outcome)
        problem = f": {' '.join(outcome.problem.split())}" if outcome.problem else ""
        typer.echo(f"{'FAIL' if problem else 'ok':4}  {kind} {name} at {outcome.site}: {outcome.check}{problem}")
    failed = sum(o.problem is not None for o in outcomes)
    typer.echo(f"{kind} {name}: {len(outcomes) - failed} of {len(outcomes)} checks passed")
    return failed


def _split(name: str) -> tuple[str, str]:
    kind, _, part = name.partition("/")
    return kind, part
