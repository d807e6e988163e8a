"""Translation data sets of the Hugging Face hub, by name or as a folder."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recambio.data.cache import stable_hash
from recambio.data.corpora.base import TRAIN, Corpus, files_fingerprint, resolve
from recambio.data.corpora.hub_folder import split_files
from recambio.data.corpora.jsonl import JsonlCorpus
from recambio.data.corpora.parquet import ParquetCorpus
from recambio.data.corpora.records import MISSING, SOURCE, TARGET, RecordPairs, field_paths, look_up
from recambio.data.pairs import OnBad, Pair
from recambio.errors import InputError
from recambio.registry import CORPUS, Card

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_ROWS = 1_000
_PATIENCE = 10.0  # seconds, as long as the library waits for an answer


@CORPUS.register(
    "huggingface",
    card=Card(
        claim="A translation data set of the Hugging Face hub by its name (Helsinki-NLP/opus-100), through the package datasets; "
        "or a folder with the files of its repository, which needs neither that package nor a network.",
        example={"path": "Helsinki-NLP/opus-100", "config": "en-es"},
    ),
)
class HuggingFaceCorpus(Corpus):
    """A translation data set of the hub, or a folder with the files of its repository.

    If ``path`` is a folder (below ``data.root``), its Parquet and JSON Lines files are read; otherwise it is a name on the hub.
    So the same config works on a machine without a network once the repository lies at ``data.root/Helsinki-NLP/opus-100``.

    Args:
        path: Name of the data set, such as ``Helsinki-NLP/opus-100``, or a folder.
        config: Its config, such as ``en-es``; of a folder, the folder within. Null if it has none.
        train: The data set's name of the training split.
        dev: The data set's name of the development set; none if null.
        test: The data set's name of the test set; none if null.
        source: Dotted path of the source: the column, and the language's key in it.
        target: Dotted path of the target.
        revision: Branch, tag or commit of the repository; null for the newest. A folder has none.
        root: Folder under which relative paths lie.
    """

    def __init__(
        self,
        path: str,
        config: str | None = None,
        train: str = "train",
        dev: str | None = "validation",
        test: str | None = "test",
        source: str = SOURCE,
        target: str = TARGET,
        revision: str | None = None,
        root: Path | None = None,
    ) -> None:
        named = {TRAIN: train, "dev": dev, "test": test}
        self.names = {split: name for split, name in named.items() if name is not None}
        self.path = path
        self.config = config
        self.fields = (source, target)
        self.field_paths = field_paths(source, target)
        self.revision = revision
        self.root = root
        self._loaded: dict[str, Any] = {}

    def splits(self) -> tuple[str, ...]:
        return tuple(self.names)

    def code(self) -> tuple[type, ...]:
        return (type(self), RecordPairs, JsonlCorpus, ParquetCorpus)

    def files(self, split: str) -> list[Path] | None:
        """The files of a split; None if it is to be had from the hub.

        Raises:
            InputError: There is a folder, but it hasn't the files; or ``path`` can be no name on the hub.
        """
        self.check_split(split)
        folder = resolve(self.root, self.path)
        if folder.is_dir():
            if self.revision is not None:
                raise InputError(
                    f"data.corpus.revision: is set, but {folder} is a folder, which has none; leave it out"
                )
            return split_files(folder, self.config, self.names[split], split)
        if not _NAME.fullmatch(self.path):
            raise InputError(
                f"data.corpus.path: no folder {folder}, and {self.path!r} is no name on the hub (user/name)"
            )
        return None

    def read(self, split: str, on_bad: OnBad | None = None) -> Iterator[Pair]:
        strict = split != TRAIN
        files = self.files(split)
        if files is None:
            yield from self._hub_pairs(split, strict, on_bad)
            return
        for path in files:
            kind = ParquetCorpus if path.suffix == ".parquet" else JsonlCorpus
            reader = kind(str(path), source=self.fields[0], target=self.fields[1])
            yield from reader.read_file(path, strict=strict, on_bad=on_bad)

    def fingerprint(self, split: str, cache: Path | None = None) -> str:
        files = self.files(split)
        options = [*self.fields, split == TRAIN]
        if files is None:
            # The library's own fingerprint follows from the repository's commit, the config and the split.
            return stable_hash(["huggingface", self._data_set(split)._fingerprint, options])
        return files_fingerprint("huggingface", files, [[path.suffixes for path in files], *options], cache)

    def _hub_pairs(self, split: str, strict: bool, on_bad: OnBad | None) -> Iterator[Pair]:
        data_set = self._data_set(split)
        columns = [path[0] for path in self.field_paths]
        known = data_set.column_names
        absent = [(option, at) for option, at in zip(("source", "target"), columns, strict=True) if at not in known]
        if absent:
            raise InputError(
                f"data.corpus.{option}: {self.path} has no column {column!r}; it has {', '.join(known)}; name a field of one of them"
                for option, column in absent
            )
        name = f"{self.path}/{self.names[split]}"
        pairs = RecordPairs(name, "row", self.fields, strict=strict, on_bad=on_bad)
        for batch in data_set.select_columns(list(dict.fromkeys(columns))).iter(_ROWS):
            sides = [[look_up(value, path[1:]) for value in batch[path[0]]] for path in self.field_paths]
            for index, (source, target) in enumerate(zip(*sides, strict=True)):
                is_whole = source is not MISSING and target is not MISSING
                record = None if is_whole else {column: batch[column][index] for column in columns}
                if (pair := pairs.take(source, target, record)) is not None:
                    yield pair
        pairs.finish()

    def _data_set(self, split: str) -> Any:
        """A split as the library has it, memory-mapped."""
        if split not in self._loaded:
            try:
                import datasets
            except ImportError:
                raise InputError(
                    f"data.corpus.path: no folder {resolve(self.root, self.path)}, and the hub needs the package 'datasets'; "
                    "pip install datasets, or 'recambio[data]'"
                ) from None
            name = self.names[split]
            silence = None if datasets.config.HF_HUB_OFFLINE else _silence(datasets.config.HF_ENDPOINT)
            try:
                with _offline(datasets.config, silence is not None):
                    self._loaded[split] = datasets.load_dataset(
                        self.path, self.config, split=name, revision=self.revision
                    )
            except Exception as error:  # of the library, of its HTTP clients, of the system: they share no class
                raise InputError(self._not_loaded(name, silence or _first_line(error))) from error
        return self._loaded[split]

    def _not_loaded(self, name: str, reason: str) -> str:
        what = [f"config {self.config}"] if self.config else []
        what += [f"split {name}", *([f"revision {self.revision}"] if self.revision else [])]
        include = f" --include '{self.config}/*'" if self.config else ""
        folder = resolve(self.root, self.path)
        return (
            f"data.corpus.path: {self.path} ({', '.join(what)}) can't be had from the hub or its cache "
            f"({reason}), and there is no folder {folder}; on a machine with a network, "
            f"hf download {self.path} --repo-type dataset{include} --local-dir FOLDER fetches what belongs there"
        )


def _silence(endpoint: str) -> str | None:
    """What shows that nobody answers at the hub's address; None if someone does, whatever the answer."""
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE).close()
    except (urllib.error.HTTPError, http.client.HTTPException, ValueError):
        return None
    except OSError as error:
        reason = getattr(error, "reason", error)
        # The library may know certificates that the system doesn't.
        return None if isinstance(reason, ssl.SSLError) else f"{endpoint} doesn't answer: {reason}"
    return None


@contextmanager
def _offline(library: Any, is_offline: bool) -> Iterator[None]:
    """Let the library look in its cache at once; it would ask a hub that doesn't answer for minutes first."""
    before = library.HF_HUB_OFFLINE
    library.HF_HUB_OFFLINE = before or is_offline
    try:
        yield
    finally:
        library.HF_HUB_OFFLINE = before


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
