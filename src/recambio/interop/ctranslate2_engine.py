"""Translation with an exported CTranslate2 model instead of the run's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recambio.decoding.generate import length_limit
from recambio.decoding.required import Required
from recambio.decoding.scorers import Prefixed
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.decoding.searches.beam import Beam
from recambio.decoding.searches.greedy import Greedy
from recambio.errors import InputError
from recambio.experiment.build import longest_target
from recambio.experiment.translator import LineTranslator, open_run
from recambio.interop.ctranslate2_export import ORIGIN, file_digest
from recambio.interop.ctranslate2_import import ctranslate2
from recambio.interop.export import default_place


class Engine(LineTranslator):
    """A run whose translations CTranslate2 finds.

    Args:
        run: The run folder, for its tokenizer, its cleaning and its search.
        model: The exported model; by default the run's ``export/ctranslate2``.
        overrides: ``key=value`` changes of ``decoding``.
        n_best: Translations to find for each line; by default what the config's search says.
        plugins: Plugins that the run needs and that lie outside the project.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises:
        InputError: There is no such model, it is of another run's vocabulary, or its search is none that CTranslate2 has.
    """

    def __init__(
        self,
        run: Path,
        model: Path | None = None,
        *,
        overrides: Sequence[str] = (),
        n_best: int | None = None,
        plugins: Sequence[str] = (),
        device: str = "auto",
    ) -> None:
        package = ctranslate2()
        place = model or default_place(run, "ctranslate2")
        if not (place / "model.bin").is_file():
            raise InputError(
                f"{place}: no CTranslate2 model; make one: recambio export {run} --to ctranslate2"
                + (f" {place}" if model else "")
            )
        config, tokenizer, search = open_run(run, overrides=overrides, plugins=plugins, n_best=n_best)
        _refuse_search(config.values.decoding.search["name"], search)
        if config.values.decoding.precision != "32":
            raise InputError(
                "decoding.precision: an exported model has its own; export with --quantization, and add decoding.precision=32 here"
            )
        self._pieces = tokenizer.pieces(range(tokenizer.target_vocabulary_size), "target")
        self._ids = {piece: i for i, piece in enumerate(self._pieces)}
        _refuse_vocabulary(place, self._pieces)
        own, theirs = longest_target(config), _origin(place, run).get("longest")
        super().__init__(config, tokenizer, run, search, min((n for n in (own, theirs) if n is not None), default=None))
        self._n_best = search.n_best if isinstance(search, Beam) else 1
        self.model: Any = package.Translator(
            str(place), device=device, intra_threads=config.values.trainer.threads or 0
        )

    def search_tokens(self, sources: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
        """See :meth:`~recambio.experiment.translator.LineTranslator.search_tokens`."""
        if any(isinstance(source, (Prefixed, Required)) for source in sources):
            raise InputError(
                "prefixes and required phrases can't be had of an exported model; translate with the run's own"
            )
        found = [[Hypothesis([], 0.0, 0.0, True)] for _ in sources]
        full = [i for i, row in enumerate(sources) if len(row) > 1]
        if not full:
            return found
        decoding, longest = self.config.values.decoding, self.target_limit
        limits = {i: length_limit(len(sources[i]), decoding.max_ratio, decoding.max_extra, longest) for i in full}
        # A batch has one limit. What went beyond its own is searched again under that one; the rest would have come out the same.
        again: dict[int, list[int]] = {}
        for i, best in zip(full, self._searched([sources[i] for i in full], max(limits.values())), strict=True):
            if all(len(h.tokens) + 1 <= limits[i] for h in best):
                found[i] = best
            else:
                again.setdefault(limits[i], []).append(i)
        for limit, members in again.items():
            for i, best in zip(members, self._searched([sources[i] for i in members], limit), strict=True):
                found[i] = best
        return [hypotheses[: self._n_best] for hypotheses in found]

    def _searched(self, rows: Sequence[Sequence[int]], limit: int) -> list[list[Hypothesis]]:
        results = self.model.translate_batch(
            [self.tokenizer.pieces(row, "source") for row in rows],
            beam_size=self.search.width,
            num_hypotheses=self.search.width,
            # The sum over the tokens is what the search's own rule is applied to.
            length_penalty=1.0,
            return_scores=True,
            return_end_token=True,
            max_decoding_length=limit,
            max_input_length=0,
            max_batch_size=max(1, self.config.values.decoding.batch_tokens // self.search.width),
            batch_type="tokens",
        )
        return [
            self._ranked([self._hypothesis(*one) for one in zip(r.hypotheses, r.scores, strict=True)]) for r in results
        ]

    def _hypothesis(self, pieces: Sequence[str], score: float) -> Hypothesis:
        tokens = [self._ids[piece] for piece in pieces]
        total, length = score * len(tokens), len(tokens)
        is_finished = bool(tokens) and tokens[-1] == self.tokenizer.eos_id
        penalty = self.search.penalty(length) if isinstance(self.search, Beam) else float(length)
        return Hypothesis(tokens[:-1] if is_finished else tokens, total, total / penalty, is_finished)

    def _ranked(self, found: list[Hypothesis]) -> list[Hypothesis]:
        """Best first; what was cut comes after what ended, as in our own search."""
        return sorted(found, key=lambda h: (not h.is_finished, -h.score))


def _refuse_search(name: str, search: Search) -> None:
    if type(search) not in (Beam, Greedy):
        raise InputError(
            f"decoding.search: {name!r} is no search of CTranslate2's here; the nearest is 'beam': decoding.search=beam"
        )
    if isinstance(search, Beam) and search.stop != "width":
        raise InputError(
            f"decoding.search.stop: is {search.stop!r}, which CTranslate2 lacks; the nearest is 'width': "
            "decoding.search.stop=width"
        )
    if isinstance(search, Beam) and search.coverage:
        raise InputError(
            f"decoding.search.coverage: is {search.coverage}, but CTranslate2 doesn't tell attention as ours is told; "
            "decoding.search.coverage=0"
        )


def _origin(place: Path, run: Path) -> dict[str, Any]:
    """What the model was made from; refused if the run has other weights there by now."""
    try:
        origin: dict[str, Any] = json.loads((place / ORIGIN).read_text(encoding="utf-8"))
        weights = run / origin["weights"]
        is_stale = weights.is_file() and file_digest(weights) != origin["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{place / ORIGIN}: can't be read; export the run again") from error
    if is_stale:
        raise InputError(f"{place}: was made before {weights} changed; remove it, and export the run again")
    return origin


def _refuse_vocabulary(place: Path, pieces: list[str]) -> None:
    """A model of another vocabulary would translate into nonsense."""
    shared, target = place / "shared_vocabulary.json", place / "target_vocabulary.json"
    path = shared if shared.is_file() else target
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != pieces:
        raise InputError(f"{place}: has another vocabulary than the run; export the run again")
