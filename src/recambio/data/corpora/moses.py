"""Moses pairs: two files whose lines correspond, named by language."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recambio.data.corpora.base import TRAIN, Corpus, existing, files_fingerprint, resolve
from recambio.data.pairs import OnBad, Pair, read_moses
from recambio.errors import InputError
from recambio.registry import CORPUS, Card


@CORPUS.register(
    "moses",
    card=Card(
        claim="Two text files whose lines correspond (PREFIX.en, PREFIX.es), plain or compressed (.gz, .xz, .zst).",
        example={"train": "mine/train", "dev": "mine/dev", "test": "mine/test"},
    ),
)
class MosesCorpus(Corpus):
    """Pairs of files ``PREFIX.en`` and ``PREFIX.es``, plain or with ``.gz``, ``.xz`` or ``.zst``.

    Args:
        train: Path prefix of the training pairs, such as ``tatoeba/train``, or a list of prefixes that are read in order.
        dev: Prefix of the development set; none if null.
        test: Prefix of the test set; none if null.
        root: Folder under which relative prefixes lie.
        source_language: Ending of the source's file.
        target_language: Ending of the target's file.
    """

    def __init__(
        self,
        train: str | list[str],
        dev: str | None = None,
        test: str | None = None,
        root: Path | None = None,
        source_language: str = "en",
        target_language: str = "es",
    ) -> None:
        self.root = root
        self.languages = (source_language, target_language)
        prefixes = {TRAIN: [train] if isinstance(train, str) else list(train)}
        prefixes |= {split: [path] for split, path in (("dev", dev), ("test", test)) if path is not None}
        if not prefixes[TRAIN]:
            raise InputError("data.corpus.train: is an empty list; name at least one prefix")
        self.prefixes = prefixes

    def splits(self) -> tuple[str, ...]:
        return tuple(self.prefixes)

    def files(self, split: str) -> list[tuple[Path, Path]]:
        """Source and target file of each prefix.

        Raises:
            InputError: A file is missing.
        """
        self.check_split(split)
        found: list[tuple[Path, Path]] = []
        problems: list[str] = []
        for prefix in self.prefixes[split]:
            path = resolve(self.root, prefix)
            sides: list[Path] = []
            for language in self.languages:
                try:
                    sides.append(existing(path.with_name(f"{path.name}.{language}"), split, self.root))
                except InputError as error:
                    problems.extend(error.problems)
            if len(sides) == 2:
                found.append((sides[0], sides[1]))
        if problems:
            raise InputError(problems)
        return found

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        for source, target in self.files(split):
            yield from read_moses(source, target, strict=split != TRAIN, on_bad=on_bad)

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        paths = [path for sides in self.files(split) for path in sides]
        return files_fingerprint("moses", paths, [split == TRAIN], cache)
