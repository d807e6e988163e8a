"""``recambio translate``: a file, a pipe, or a person at a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from recambio.data.pairs import decode_lines, read_lines
from recambio.errors import InputError
from recambio.experiment.details import Details
from recambio.experiment.progress import counted
from recambio.experiment.translator import LineTranslator, Part, load


def run(
    run: Path,
    *,
    file: Path | None = None,
    checkpoint: str | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    others: Sequence[str] = (),
    n_best: int | None = None,
    with_scores: bool = False,
    with_alignment: bool = False,
    align_layer: int = -1,
    prefix: str | None = None,
    prefix_file: Path | None = None,
    forbid: Sequence[str] = (),
    require: Sequence[str] = (),
    require_file: Path | None = None,
    engine: Callable[[], LineTranslator] | None = None,
) -> None:
    """Translate line by line to standard output: plain text, or JSON lines where more than the text is asked for.

    Args:
        run: The run folder.
        file: One sentence a line; without it, standard input.
        checkpoint: ``best``, ``last``, ``average`` or a file.
        overrides: Changes of ``decoding``.
        plugins: What the run needs from outside the project.
        others: Runs that predict together with this one.
        n_best: Translations a line, as JSON.
        with_scores: Log-probabilities of all tokens, as JSON.
        with_alignment: Cross-attention of all tokens, as JSON.
        align_layer: The decoder layer whose attention is meant, from 0; negative counts from the last.
        prefix: What all translations begin with.
        prefix_file: What each translation begins with, a line each.
        forbid: Phrases that no translation may hold.
        require: Phrases that every translation must hold.
        require_file: Phrases that each translation must hold, a line each, separated by tabs.
        engine: Opens what translates instead of the run's own model, and shows no more than texts and n-best lists.
    """
    for path in (file, prefix_file, require_file):
        if path is not None and not path.is_file():
            raise InputError(f"{path}: no such file; give one sentence a line, or pipe them in")
    if prefix is not None and prefix_file is not None:
        raise InputError("--prefix and --prefix-file: give one of them")
    translator: LineTranslator
    if engine is not None:
        translator = engine()
    else:
        translator = load(
            run,
            checkpoint=checkpoint,
            overrides=overrides,
            plugins=plugins,
            others=others,
            forbid=forbid,
            require=require,
            n_best=n_best,
        )
    written = _writer(translator, n_best, with_scores, with_alignment, align_layer)
    is_terminal = file is None and sys.stdin.isatty()
    if prefix_file is not None and is_terminal:
        raise InputError("--prefix-file: belongs to a file of sentences; name one, or use --prefix")
    if require_file is not None:
        if is_terminal:
            raise InputError("--require-file: belongs to a file of sentences; name one, or use --require")
        translator.required.check()
    prefixes = prefix if prefix_file is None else read_lines(prefix_file)
    required = None if require_file is None else (line.split("\t") for line in read_lines(require_file))
    if is_terminal:
        print("English, one sentence a line; an empty line or ctrl-D ends.", file=sys.stderr)
        _write(map(written, translator.stream_parts(_typed(), prefixes, chunk=1)))
        return
    lines = read_lines(file) if file is not None else decode_lines(sys.stdin.buffer, "standard input")
    _write(counted(map(written, translator.stream_parts(lines, prefixes, required=required))))


def _writer(
    translator: LineTranslator, n_best: int | None, with_scores: bool, with_alignment: bool, align_layer: int
) -> Callable[[list[Part]], str]:
    """From what was found for a line to the line that is written."""
    if n_best is None and not with_scores and not with_alignment:
        return lambda parts: translator.text(parts).replace("\n", " ")
    details = Details(translator, n_best or 1, with_scores, with_alignment, align_layer)

    def as_json(parts: list[Part]) -> str:
        return json.dumps(details(parts), ensure_ascii=False)

    return as_json


def _write(lines: Iterable[str]) -> None:
    # Each line is written and flushed by itself: an interrupt falls between two of them, and who reads a pipe waits for none.
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _typed() -> Iterator[str]:
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        if not line.strip():
            return
        yield line
