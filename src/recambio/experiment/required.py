"""Phrases that translations must hold, from a user's lines to a search and back to a warning where one is missing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property

from recambio.data.cleaning.base import Cleaner
from recambio.data.tokenizers.base import Tokenizer
from recambio.decoding.required import Required, RequiredPhrase, Spelling, holds
from recambio.decoding.scorers import PhraseAutomaton
from recambio.decoding.searches.base import Search
from recambio.decoding.searches.beam import Beam
from recambio.decoding.searches.constrained_beam import ConstrainedBeam
from recambio.errors import InputError
from recambio.registry import SEARCH

_log = logging.getLogger(__name__)


class RequiredWords:
    """What all translations of a translator must hold, and what those of single lines must hold besides.

    Args:
        search: The translator's.
        tokenizer: Of the run.
        cleaner: Normalises phrases as it does lines.
        forbidden: What no translation may hold, if anything.
        everywhere: Phrases that every translation must hold.

    Raises:
        InputError: The search can't, or a phrase can't be said.
    """

    def __init__(
        self,
        search: Search,
        tokenizer: Tokenizer,
        cleaner: Cleaner,
        forbidden: PhraseAutomaton | None = None,
        everywhere: Sequence[str] = (),
    ) -> None:
        self._beam, self._tokenizer, self._cleaner, self._forbidden = search, tokenizer, cleaner, forbidden
        self._everywhere: dict[str, RequiredPhrase | None] = {}
        if everywhere:
            self.check()
            problems: list[str] = []
            for text in map(self._normalised, everywhere):
                if text:
                    self._phrase(text, "--require", self._everywhere, problems)
                else:
                    problems.append("--require: a phrase is empty; name a word, or several in a row")
            if problems:
                raise InputError(problems)

    def check(self) -> None:
        """Refuse a search that can't be made to say anything.

        Raises:
            InputError: It is no beam.
        """
        if type(self._beam) is not Beam:
            cls = type(self._beam)
            name = next((entry.name for entry in SEARCH.entries.values() if entry.cls is cls), cls.__name__)
            raise InputError(
                "--require and --require-file: share out the places of search 'beam', but decoding.search is "
                f"{name!r}; add decoding.search=beam"
            )

    @cached_property
    def search(self) -> ConstrainedBeam:
        """What translates sources that are :class:`Required`, and others as the beam does."""
        self.check()
        assert isinstance(self._beam, Beam)
        return ConstrainedBeam(self._beam, self._spelling)

    @cached_property
    def _spelling(self) -> Spelling:
        tokenizer = self._tokenizer
        return Spelling(tokenizer.surface("target"), tokenizer.unk_id, lambda lines: tokenizer.encode(lines, "target"))

    def add(
        self,
        tokens: list[list[int]],
        owners: Sequence[int],
        by_line: Sequence[Sequence[str]] | None,
        names: Sequence[str],
    ) -> list[list[str]]:
        """Say of sources what their translations must hold. Of a line in pieces the longest, which has the most room, carries it.

        Args:
            tokens: Of each piece of the lines; replaced by :class:`Required`.
            owners: The line of each piece, from 0.
            by_line: Phrases of each line, besides those for all.
            names: What messages call each line.

        Returns:
            The phrases of each line. An empty line, whose translation is empty, has none.

        Raises:
            InputError: A phrase can't be said, or belongs to an empty line.
        """
        pieces_of: list[list[int]] = [[] for _ in range(owners[-1] + 1)]
        for place, line in enumerate(owners):
            pieces_of[line].append(place)
        if by_line is None and not self._everywhere:
            return [[] for _ in pieces_of]
        self.check()
        known = dict(self._everywhere)
        problems: list[str] = []
        wanted: list[list[str]] = []
        for i, pieces in enumerate(pieces_of):
            where = names[i]
            own = [text for text in map(self._normalised, by_line[i] if by_line else ()) if text]
            carrier = max(pieces, key=lambda place: len(tokens[place]))
            if len(tokens[carrier]) == 1:
                if own:
                    problems.append(f"{where}: is empty, but {own[0]!r} is required of it; require nothing there")
                wanted.append([])
                continue
            phrases = [self._phrase(text, where, known, problems) for text in dict.fromkeys([*self._everywhere, *own])]
            required = [phrase for phrase in phrases if phrase is not None]
            wanted.append([phrase.text for phrase in required])
            if required:
                tokens[carrier] = Required(tokens[carrier], required)
                if len(pieces) > 1:
                    number = pieces.index(carrier) + 1
                    _log.warning(f"{where}: piece {number} of {len(pieces)}, the longest, must hold what is required")
        if problems:
            raise InputError(problems)
        return wanted

    def _normalised(self, phrase: str) -> str:
        return self._cleaner.normalize_line(phrase).strip()

    def _phrase(
        self, text: str, where: str, known: dict[str, RequiredPhrase | None], problems: list[str]
    ) -> RequiredPhrase | None:
        """The phrase of a text, kept in ``known``; None for one that can't be said, of which the problems then speak."""
        if text not in known:
            known[text] = None
            if self._forbidden is not None and self._forbidden.finds(self._tokenizer.encode([text], "target")[0]):
                problems.append(f"{where}: {text!r} can't be said without a forbidden phrase; change one of the two")
            else:
                try:
                    known[text] = self._spelling.phrase(text)
                except ValueError as error:
                    problems.append(f"{where}: {error}; leave it out, or train with data.tokenizer.byte_fallback")
        return known[text]


def warn_of_missing(text: str, phrases: Sequence[str], where: str) -> None:
    """Say what a translation should hold and doesn't."""
    if missing := [repr(phrase) for phrase in phrases if not holds(text, phrase)]:
        _log.warning(
            f"{where}: lacks {len(missing)} of {len(phrases)} required phrases ({', '.join(missing)}): the length limit came first; "
            "raise decoding.max_extra or decoding.max_ratio"
        )
