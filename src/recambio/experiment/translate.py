"""``recambio translate``: a file, a pipe, or a person at a terminal."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from recambio.data.pairs import decode_lines, read_lines
from recambio.errors import InputError
from recambio.experiment.devices import chosen
from recambio.experiment.job import Job, one_by_one
from recambio.experiment.progress import counted
from recambio.experiment.stream import arrived, groups, numbered
from recambio.experiment.translator import LineTranslator


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
    devices: str | None = None,
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
        devices: Which share the lines, as :func:`recambio.experiment.devices.chosen` reads it; by default one.
    """
    for path in (file, prefix_file, require_file):
        if path is not None and not (path.is_file() or path.is_fifo()):
            raise InputError(f"{path}: no such file; give one sentence a line, or pipe them in")
    if prefix is not None and prefix_file is not None:
        raise InputError("--prefix and --prefix-file: give one of them")
    is_terminal = file is None and sys.stdin.isatty()
    if prefix_file is not None and is_terminal:
        raise InputError("--prefix-file: belongs to a file of sentences; name one, or use --prefix")
    if require_file is not None and is_terminal:
        raise InputError("--require-file: belongs to a file of sentences; name one, or use --require")
    places = chosen(devices) if devices is not None else []
    if len(places) > 1 and is_terminal:
        raise InputError(f"--devices {devices}: several devices share a file; name one, or pipe it in")
    job = Job(
        run,
        checkpoint,
        overrides,
        plugins,
        others,
        n_best,
        forbid,
        require,
        with_scores,
        with_alignment,
        align_layer,
    )
    prefixes = prefix if prefix_file is None else read_lines(prefix_file)
    required = None if require_file is None else (line.split("\t") for line in read_lines(require_file))
    with job.ready(places) if engine is None else nullcontext(one_by_one(job.answers_of(engine()))) as translated:
        if is_terminal:
            print("English, one sentence a line; an empty line or ctrl-D ends.", file=sys.stderr)
            _write(translated(numbered(([line] for line in _typed()), prefixes)))
        else:
            _write(counted(translated(numbered(_read(file), prefixes, required)), _length(file)))


def _read(file: Path | None) -> Iterator[list[str]]:
    """Groups of lines: full ones of a file, what has arrived of a pipe."""
    if file is not None:
        return groups(read_lines(file)) if file.is_file() else arrived(read_lines(file))
    # Not sys.stdin itself: at exit the interpreter would wait for the thread that reads it.
    stream = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115
    lines = decode_lines(stream, "standard input")
    return groups(lines) if stat.S_ISREG(os.fstat(stream.fileno()).st_mode) else arrived(lines)


def _length(file: Path | None) -> int | None:
    """The lines of a file, if counting them takes no time to speak of and somebody sees how many there are."""
    if file is None or not file.is_file() or file.suffix in (".gz", ".xz", ".zst") or not sys.stderr.isatty():
        return None
    with file.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


def _write(lines: Iterable[str]) -> None:
    # Each line is written and flushed by itself: an interrupt falls between two of them, and who reads a pipe waits for none.
    for line in lines:
        sys.stdout.write(line.replace("\n", " ") + "\n")
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
