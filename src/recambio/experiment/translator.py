"""A finished run, ready to translate."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recambio.config import Config
from recambio.config import load as load_config
from recambio.data.cleaning.base import Cleaner
from recambio.data.sentences import cut
from recambio.data.tokenizers.base import Tokenizer, load_tokenizer
from recambio.decoding.generate import generate, length_limit
from recambio.decoding.required import Required, unwrapped
from recambio.decoding.scorer import Scorer
from recambio.decoding.scorers import Ensemble, Forbidden, ForcedPrefix, PhraseAutomaton, Prefixed
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.errors import InputError
from recambio.experiment import run_folder
from recambio.experiment.build import build_model, build_scorer, build_search, longest_target, set_threads
from recambio.experiment.checkpoint import weights_path
from recambio.experiment.required import RequiredWords, warn_of_missing
from recambio.experiment.stream import CHUNK, groups, numbered
from recambio.model.transformer import Transformer
from recambio.model.weights import load_weights
from recambio.plugins import verify_plugins
from recambio.registry import SEARCH

_log = logging.getLogger(__name__)

OpenRun = tuple[Config, Tokenizer, Search]
"""A run without its model."""


@dataclass(frozen=True)
class Part:
    """A line, or a piece of one that was too long, with what was found for it.

    Attributes:
        source: As the model met it, normalised.
        tokens: Its ids, EOS included.
        hypotheses: Best first.
    """

    source: str
    tokens: list[int]
    hypotheses: list[Hypothesis]


class LineTranslator(ABC):
    """From lines of English to lines of Spanish, whatever finds the translations of token ids.

    Args:
        config: Of the run.
        tokenizer: Of the run.
        run_dir: Where it came from.
        search: How translations are found.
        max_length: The longest sentence that the model can take, in tokens; None if there is no end.

    Attributes:
        source_limit: A longer line, in tokens with EOS, is split: no model has seen one in training.
    """

    def __init__(
        self, config: Config, tokenizer: Tokenizer, run_dir: Path, search: Search, max_length: int | None
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.run_dir = run_dir
        self.search = search
        self.target_limit = max_length
        self.source_limit = min(config.values.data.max_length, max_length or config.values.data.max_length)
        self._cleaner = Cleaner(config.values.data.cleaning)
        self._phrases: PhraseAutomaton | None = None
        self.required = RequiredWords(search, tokenizer, self._cleaner)

    @abstractmethod
    def search_tokens(self, sources: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
        """Hypotheses for token ids, EOS included, best first. A source of EOS alone has an empty one."""

    def translate(
        self,
        lines: Sequence[str],
        prefixes: Sequence[str] | None = None,
        required: Sequence[Sequence[str]] | None = None,
    ) -> list[str]:
        """English lines to Spanish lines; an empty line stays empty.

        Args:
            lines: A line longer than any sentence of training is split at sentence ends, with a warning, and its pieces'
                translations are joined by spaces.
            prefixes: What the translation of each line must begin with; an empty one leaves it free.
            required: Phrases that the translation of each line must hold. One that doesn't, for want of tokens, is warned of.
        """
        return [self.text(parts) for parts in self.parts(lines, prefixes, required=required)]

    def parts(
        self,
        lines: Sequence[str],
        prefixes: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        *,
        required: Sequence[Sequence[str]] | None = None,
    ) -> list[list[Part]]:
        """Like :meth:`translate`, with all that was found; a line is one part unless it was split.

        Args:
            lines: English.
            prefixes: One a line.
            names: What messages call each line; by default ``line 1`` and so on.
            required: One list of phrases a line.

        Raises:
            InputError: A prefix is too long, or holds what is forbidden; a phrase can't be required of a line, or of any.
        """
        names = [f"line {number}" for number in range(1, len(lines) + 1)] if names is None else names
        sources: list[str] = []
        tokens: list[list[int]] = []
        owners: list[int] = []
        normalised = [self._cleaner.normalize_line(line) for line in lines]
        rows = self.tokenizer.encode(normalised, "source")
        for i, (line, row) in enumerate(zip(normalised, rows, strict=True)):
            pieces, ids = [line], [row]
            if len(row) >= self.source_limit:
                pieces = cut(line, self._fits)
                ids = self.tokenizer.encode(pieces, "source")
                _log.warning(
                    f"{names[i]}: has {len(row) + 1:,} tokens, more than the {self.source_limit:,} of training; "
                    f"split into {len(pieces)} pieces"
                )
            sources += pieces
            tokens += [[*r, self.tokenizer.eos_id] for r in ids]
            owners += [i] * len(pieces)
        if prefixes is not None:
            self._add_prefixes(tokens, owners, prefixes, names)
        wanted = self.required.add(tokens, owners, required, names)
        found: list[list[Part]] = [[] for _ in lines]
        for i, source, row, hypotheses in zip(owners, sources, tokens, self.search_tokens(tokens), strict=True):
            found[i].append(Part(source, row, hypotheses))
        for name, parts, phrases in zip(names, found, wanted, strict=True):
            if phrases:
                warn_of_missing(self.text(parts), phrases, name)
        return found

    def text(self, parts: Sequence[Part]) -> str:
        """The best translation of a line."""
        pieces = self.tokenizer.decode([part.hypotheses[0].tokens for part in parts])
        return " ".join(piece for piece in pieces if piece)

    def stream(
        self,
        lines: Iterable[str],
        prefixes: Iterable[str] | str | None = None,
        chunk: int = CHUNK,
        *,
        required: Iterable[Sequence[str]] | None = None,
    ) -> Iterator[str]:
        """Translate lines as they come.

        Args:
            lines: English.
            prefixes: One a line, or one for all.
            chunk: Lines to take at a time.
            required: Phrases a line.

        Raises:
            InputError: There are fewer prefixes or lists of phrases than lines, or more.
        """
        for held in numbered(groups(lines, chunk), prefixes, required):
            for parts in self.parts(held.lines, held.prefixes, held.names(), required=held.required):
                yield self.text(parts)

    def _fits(self, text: str) -> bool:
        return len(self.tokenizer.encode([text], "source")[0]) < self.source_limit

    def _add_prefixes(
        self, tokens: list[list[int]], owners: Sequence[int], prefixes: Sequence[str], names: Sequence[str]
    ) -> None:
        """Give the first piece of each line the line's prefix."""
        decoding, problems = self.config.values.decoding, []
        starts = [self._cleaner.normalize_line(prefix) for prefix in prefixes]
        for i, (prefix, target) in enumerate(zip(starts, self.tokenizer.encode(starts, "target"), strict=True)):
            place = owners.index(i)
            n_source = len(tokens[place])
            limit = length_limit(n_source, decoding.max_ratio, decoding.max_extra, self.target_limit)
            if n_source > 1 and len(target) >= limit:
                problems.append(
                    f"{names[i]}: the prefix {prefix!r} has {len(target)} tokens, but the translation of {n_source} may "
                    f"have {limit}; shorten it, or raise decoding.max_extra"
                )
            if self._phrases is not None and self._phrases.finds(target):
                problems.append(f"{names[i]}: the prefix {prefix!r} holds a forbidden phrase; change one of the two")
            if target:
                tokens[place] = Prefixed(tokens[place], target)
        if problems:
            raise InputError(problems)


class Translator(LineTranslator):
    """A model with its tokenizer and search.

    Args:
        config: Of the run.
        model: With its weights.
        tokenizer: Of the run.
        run_dir: Where it came from.
        search: Replaces the config's.
        others: Further models with the same vocabulary, which predict together with it.
        forbid: Phrases that no translation may hold; see :class:`recambio.decoding.scorers.PhraseAutomaton`.
        require: Phrases that every translation must hold; see :class:`recambio.decoding.searches.constrained_beam.ConstrainedBeam`.
        max_length: The longest sentence that all models can take, in tokens; by default what the config says.
    """

    def __init__(
        self,
        config: Config,
        model: Transformer,
        tokenizer: Tokenizer,
        run_dir: Path,
        search: Search | None = None,
        *,
        others: Sequence[Transformer] = (),
        forbid: Sequence[str] = (),
        require: Sequence[str] = (),
        max_length: int | None = None,
    ) -> None:
        super().__init__(
            config,
            tokenizer,
            run_dir,
            search or build_search(config.values.decoding.search, tokenizer),
            longest_target(config) if max_length is None else max_length,
        )
        self.model = model.eval()
        self.models = [self.model, *(other.eval() for other in others)]
        members = [build_scorer(one, tokenizer, config.values.decoding) for one in self.models]
        self.scorer: Scorer[Any] = Ensemble(members, config.values.decoding.ensemble) if others else members[0]
        if forbid:
            phrases = [self._cleaner.normalize_line(phrase).strip() for phrase in forbid]
            if not all(phrases):
                raise InputError("--forbid: a phrase is empty; name a word, or several in a row")
            self._phrases = PhraseAutomaton(phrases, tokenizer.surface("target"))
            self.scorer = Forbidden(self.scorer, self._phrases)
        self.required = RequiredWords(self.search, tokenizer, self._cleaner, self._phrases, require)

    def search_tokens(self, sources: Sequence[Sequence[int]]) -> list[list[Hypothesis]]:
        """See :meth:`LineTranslator.search_tokens`."""
        decoding, limit = self.config.values.decoding, self.target_limit
        too_long = [i for i, s in enumerate(sources) if limit is not None and len(s) > limit]
        if too_long:
            raise InputError(
                f"line {too_long[0] + 1}: has {len(sources[too_long[0]])} tokens, but learned positions end at {limit}; "
                "shorten it, or train with a larger data.max_length"
            )
        is_prefixed = any(isinstance(unwrapped(source), Prefixed) for source in sources)
        is_required = any(isinstance(source, Required) for source in sources)
        return generate(
            ForcedPrefix(self.scorer) if is_prefixed else self.scorer,
            self.required.search if is_required else self.search,
            sources,
            batch_tokens=decoding.batch_tokens,
            max_ratio=decoding.max_ratio,
            max_extra=decoding.max_extra,
            max_length=limit,
        )


def load(
    run: str | Path,
    *,
    checkpoint: str | None = None,
    overrides: Sequence[str] = (),
    plugins: Sequence[str] = (),
    device: str | None = None,
    others: Sequence[str | Path] = (),
    forbid: Sequence[str] = (),
    require: Sequence[str] = (),
    n_best: int | None = None,
    opened: OpenRun | None = None,
) -> Translator:
    """Open a run folder.

    Args:
        run: The folder.
        checkpoint: ``best``, ``last``, ``average`` or a weights file; by default what the run recommends.
        overrides: ``key=value`` changes of the config, of decoding and evaluation only.
        plugins: Plugins that the run needs and that lie outside the project.
        device: ``cpu``, ``cuda``, ``cuda:1``; by default a GPU if there is one.
        others: Run folders whose models predict together with this one's: an ensemble. They must share its vocabulary;
            ``checkpoint`` holds for them too, and how to translate is said by the first run alone.
        forbid: Phrases that no translation may hold.
        require: Phrases that every translation must hold.
        n_best: Translations to find for each line; by default what the config's search says.
        opened: What :func:`open_run` gave of all this, if it was asked before.

    Raises:
        InputError: A folder is no run, has no weights, or needs a plugin that is missing; the vocabularies differ; the search can't.
    """
    folder = run_folder.existing(run)
    config, tokenizer, search = opened or open_run(folder, overrides=overrides, plugins=plugins, n_best=n_best)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = _model(config, tokenizer, folder, checkpoint, place)
    limits = [longest_target(config)]
    members = []
    for name in others:
        other = run_folder.existing(name)
        verify_plugins(run_folder.read_manifest(other).plugins, other, plugins)
        theirs = load_config(other / "config.yaml", plugins_are_loaded=True, check_hardware=False)
        if load_tokenizer(other).fingerprint != tokenizer.fingerprint:
            raise InputError(
                f"--with {other}: has another vocabulary than {folder}; an ensemble's runs must be trained with one tokenizer "
                "(the same data and data.tokenizer, or training.init_from)"
            )
        members.append(_model(theirs, tokenizer, other, checkpoint, place))
        limits.append(longest_target(theirs))
    return Translator(
        config,
        model,
        tokenizer,
        folder,
        search,
        others=members,
        forbid=forbid,
        require=require,
        max_length=min((limit for limit in limits if limit is not None), default=None),
    )


def open_run(
    folder: Path, *, overrides: Sequence[str] = (), plugins: Sequence[str] = (), n_best: int | None = None
) -> OpenRun:
    """A run's config, tokenizer and search, without its model; torch's threads are bounded as the config says.

    Args:
        folder: The run folder.
        overrides: ``key=value`` changes of the config, of decoding and evaluation only.
        plugins: Plugins that the run needs and that lie outside the project.
        n_best: Translations that the search is to find; by default what the config says.

    Raises:
        InputError: A plugin is missing, a change is none that a trained run takes, or the search can't.
    """
    verify_plugins(run_folder.read_manifest(folder).plugins, folder, plugins)
    for override in overrides:
        if not override.startswith(("decoding.", "evaluation.", "data.root=", "trainer.threads=")):
            raise InputError(
                f"{override.split('=')[0]}: a trained run takes changes of decoding.* and evaluation.* only"
            )
    config = load_config(folder / "config.yaml", overrides, plugins_are_loaded=True, check_hardware=False)
    set_threads(config.values.trainer.threads)
    tokenizer = load_tokenizer(folder)
    return config, tokenizer, _search(config, tokenizer, n_best)


def _model(config: Config, tokenizer: Tokenizer, folder: Path, checkpoint: str | None, place: str) -> Transformer:
    model = build_model(config, tokenizer)
    load_weights(model, weights_path(folder, checkpoint))
    return model.to(place)


def _search(config: Config, tokenizer: Tokenizer, n_best: int | None) -> Search:
    """The config's search, made to return so many hypotheses.

    Raises:
        InputError: It can't.
    """
    node = dict(config.values.decoding.search)
    if n_best is not None:
        option = next((o for o in ("n_best", "n") if o in SEARCH.options(node["name"])), None)
        if option is None:
            raise InputError(
                f"--n-best {n_best}: search {node['name']!r} gives one translation; choose another, as decoding.search=beam"
            )
        node[option] = n_best
    try:
        return build_search(node, tokenizer)
    except ValueError as error:
        raise InputError(f"decoding.search: {error}") from error
