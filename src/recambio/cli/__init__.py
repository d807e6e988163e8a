"""The command line. Standard output carries results, standard error everything else; wrong input is one line a problem.

Exit status: 0 done, 1 the run failed, 2 the user's input was wrong, 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from recambio import interrupts
from recambio.cli import (
    compare,
    components,
    config,
    contrast,
    data,
    evaluate,
    export,
    imports,
    plugin,
    train,
    translate,
)
from recambio.errors import InputError, RunError
from recambio.experiment.run_folder import is_first_process

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, interrupts.STATUS

# Typer carries a copy of click whose place is not part of its interface; its errors are.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="recambio",
    help="Train, evaluate and use English-Spanish Transformers, every part swapped by name.",
    epilog="Everywhere: --plugin PATH adds a plugin, --debug shows tracebacks.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(value: bool) -> None:
    if value:
        from recambio import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    plugins: Annotated[
        list[str] | None,
        typer.Option("--plugin", metavar="PATH", help="A plugin file, module or installed plugin; may be repeated."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    context.obj = list(plugins or [])
    interrupts.begun()


app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("contrast")(contrast.contrast)
app.command("compare")(compare.compare)
app.command("translate")(translate.translate)
app.command("export")(export.export)
app.add_typer(imports.app, name="import")
app.command("components")(components.components)
app.add_typer(plugin.app, name="plugin")
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default). Returns: the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with interrupts.answered():
            status = _ended(words, is_debug="--debug" in words)
    except KeyboardInterrupt:
        status = INTERRUPTED
    if status == INTERRUPTED and is_first_process() and (line := interrupts.line()):
        print(line, file=sys.stderr)
    return status


def _ended(words: list[str], *, is_debug: bool) -> int:
    """Run a command line. Returns: the exit status."""
    _log_to_stderr()
    try:
        given = _options_first(words)
        with interrupts.advising(interrupts.nothing_begun):
            status = typer.main.get_command(app).main(args=given, prog_name="recambio", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else DONE
    except BrokenPipeError:
        # Whoever read our output has had enough (`| head`); the interpreter's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except _UsageError as error:
        where = error.ctx.command_path if getattr(error, "ctx", None) else "recambio"
        return _report([f"{error.format_message()} ({where} --help)"], WRONG_INPUT, is_debug)
    except InputError as error:
        return _report(error.problems, WRONG_INPUT, is_debug)
    except RunError as error:
        return _report([str(error)], FAILED, is_debug)
    except Exception as error:
        first = str(error).strip().split("\n", 1)[0]
        text = f"{type(error).__name__}{f': {first}' if first else ''}"
        return _report([text if is_debug else f"{text} (--debug shows the traceback)"], FAILED, is_debug)


def _report(problems: Sequence[str], status: int, is_debug: bool) -> int:
    if is_debug:
        traceback.print_exc()
    for problem in problems:
        print(f"error: {' '.join(problem.split())}", file=sys.stderr)
    return status


def _options_first(arguments: list[str]) -> list[str]:
    """The arguments with the options of every command moved to where the parser takes them: before the command."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first, rest = [], []
    words = iter(arguments[:end])
    for word in words:
        if word == "--debug" or word.startswith("--plugin="):
            first.append(word)
        elif word == "--plugin":
            value = next(words, "")
            if not value or value.startswith("-"):
                raise InputError("--plugin: needs a value: a .py file, a module or an installed plugin")
            first += [word, value]
        else:
            rest.append(word)
    return [*first, *rest, *arguments[end:]]


def _log_to_stderr() -> None:
    """One line on standard error for each warning of the package."""
    logger = logging.getLogger("recambio")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_Lines())
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """``warning: text``; information is the text alone."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"
