"""A run at work on chunks of lines: in this process, or in one of several."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from recambio.experiment import run_folder
from recambio.experiment.details import Details
from recambio.experiment.stream import Chunk
from recambio.experiment.translator import LineTranslator, OpenRun, Part, load, open_run
from recambio.experiment.workers import Translate, Workers

Lines = Callable[[Iterable[Chunk]], Iterator[str]]
"""From chunks to one answer for each of their lines, in order, as they are taken."""


@dataclass(frozen=True)
class Job:
    """A run and what to say of each line: plain data, from which every worker opens the run for itself.

    The fields are those of :func:`recambio.experiment.translate.run`.
    """

    run: Path
    checkpoint: str | None = None
    overrides: Sequence[str] = ()
    plugins: Sequence[str] = ()
    others: Sequence[str] = ()
    n_best: int | None = None
    forbid: Sequence[str] = ()
    require: Sequence[str] = ()
    with_scores: bool = False
    with_alignment: bool = False
    align_layer: int = -1

    @contextmanager
    def ready(self, devices: Sequence[str], opened: OpenRun | None = None) -> Iterator[Lines]:
        """The run, ready to translate.

        Args:
            devices: Several translate side by side, a process each; without any, a GPU if there is one.
            opened: What :meth:`without_model` gave, if it was asked before.

        Raises:
            InputError: As :func:`recambio.experiment.translator.load`, or a model's cross-attention can't be shown.
            RunError: A process died.
        """
        if len(devices) > 1:
            # Here too: what is wrong is said before processes start, and what is said of opening is said once.
            if opened is None:
                self.without_model()
            with Workers(self._shared(len(devices)).open, devices) as workers:
                yield workers.stream
        else:
            yield one_by_one(self.open(devices[0] if devices else None, opened))

    def without_model(self) -> OpenRun:
        """The run without its model; torch's threads are bounded as it says.

        Raises:
            InputError: As :func:`recambio.experiment.translator.open_run`.
        """
        folder = run_folder.existing(self.run)
        return open_run(folder, overrides=self.overrides, plugins=self.plugins, n_best=self.n_best)

    def open(self, device: str | None = None, opened: OpenRun | None = None) -> Translate:
        """The run with its model, as :meth:`ready` has it in each process."""
        return self.answers_of(
            load(
                self.run,
                checkpoint=self.checkpoint,
                overrides=self.overrides,
                plugins=self.plugins,
                device=device,
                others=self.others,
                forbid=self.forbid,
                require=self.require,
                n_best=self.n_best,
                opened=opened,
            )
        )

    def answers_of(self, translator: LineTranslator) -> Translate:
        """From a chunk to what is said of each line."""
        say = self._answer(translator)

        def translate(chunk: Chunk) -> Iterator[str]:
            found = translator.parts(chunk.lines, chunk.prefixes, chunk.names(), required=chunk.required)
            return map(say, found, chunk.numbers)

        return translate

    def _answer(self, translator: LineTranslator) -> Callable[[list[Part], int], str]:
        """From what was found for a line, and its number, to what is said of it: the translation, or JSON where more is asked for."""
        if self.n_best is None and not self.with_scores and not self.with_alignment:
            return lambda parts, _: translator.text(parts)
        details = Details(translator, self.n_best or 1, self.with_scores, self.with_alignment, self.align_layer)
        return lambda parts, number: json.dumps(details(parts, number), ensure_ascii=False)

    def _shared(self, n_processes: int) -> Job:
        """The same for one of several processes, which share the threads that one would have, unless the changes say how many each has."""
        threads = max(1, torch.get_num_threads() // n_processes)
        return replace(self, overrides=[f"trainer.threads={threads}", *self.overrides])


def one_by_one(translate: Translate) -> Lines:
    """Chunk after chunk, in this process."""
    return lambda chunks: (line for chunk in chunks for line in translate(chunk))
