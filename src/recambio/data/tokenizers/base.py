"""The contract of a tokenizer: text to ids and back, for both sides of a language pair."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from recambio.errors import InputError
from recambio.files import replacing, write_text
from recambio.registry import TOKENIZER

if TYPE_CHECKING:
    from recambio.data.tokenizers.sampling import Sampler

Side = Literal["source", "target"]
SIDES: tuple[Side, Side] = ("source", "target")

DESCRIPTION = "tokenizer.json"
FORMAT = 1


@TOKENIZER.define
class Tokenizer(ABC):
    """Text to ids and back, for both sides of a language pair.

    One object knows both sides, which share one vocabulary if :attr:`is_joint`. Ids that no text gives are the same on both:
    ``pad_id``, ``unk_id``, ``sos_id``, ``eos_id``; ``sos_id`` may be ``pad_id``. :meth:`encode` adds none of them, and :meth:`decode`
    leaves them out.
    """

    pad_id: int = 0
    unk_id: int = 1
    sos_id: int = 2
    eos_id: int = 3

    regularization: ClassVar[str | None] = None
    """The option of ``data.regularization`` that its segmentations are drawn by; None if there is only one of a text."""

    def __init__(self) -> None:  # noqa: B027 - a signature without options for tokenizers that have none
        pass

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The constructor's options with their values, with which :func:`load_tokenizer` builds the object again."""

    @property
    @abstractmethod
    def is_joint(self) -> bool:
        """Whether both sides share one vocabulary, so that their embeddings can be tied."""

    @property
    @abstractmethod
    def source_vocabulary_size(self) -> int:
        """Number of source ids, the special ones included."""

    @property
    @abstractmethod
    def target_vocabulary_size(self) -> int:
        """Number of target ids, the special ones included: the classes that a model predicts."""

    @abstractmethod
    def train(self, source: Iterable[str], target: Iterable[str], count: int) -> None:
        """Learn the vocabulary from cleaned training text. The same text and options give the same vocabulary.

        Args:
            source: ``count`` sentences, iterated once.
            target: Their translations, in the same order, iterated once.
            count: Sentences on each side.

        Raises:
            InputError: The text can't give the vocabulary that is asked for.
        """

    @abstractmethod
    def encode(self, lines: Sequence[str], side: Side, threads: int = 1) -> list[list[int]]:
        """The ids of each line, without special ones. The result doesn't depend on ``threads``."""

    def sampler(self, side: Side, strength: float) -> Sampler:
        """What draws segmentations other than :meth:`encode`'s, for training; :meth:`decode` gives the same text back.

        Args:
            side: Whose vocabulary.
            strength: The value of the option that :attr:`regularization` names.
        """
        raise NotImplementedError(f"{type(self).__name__} names a `regularization` but has no sampler")

    @abstractmethod
    def decode(self, rows: Sequence[Sequence[int]], side: Side = "target") -> list[str]:
        """The text of each row of ids, special ones left out; always one line each.

        ``decode(encode(lines, side), side) == lines`` for any lines without a line break, if the vocabulary can spell them.
        """

    @abstractmethod
    def pieces(self, ids: Sequence[int], side: Side) -> list[str]:
        """How each id is written in the vocabulary, to be shown to people; ``▁`` marks the start of a word."""

    def surface(self, side: Side) -> list[bytes]:
        """The bytes that each id adds to a text, the space before a word included; nothing for an id that no text gives."""
        size = self.source_vocabulary_size if side == "source" else self.target_vocabulary_size
        silent = {self.pad_id, self.unk_id, self.sos_id, self.eos_id}
        pieces = self.pieces(range(size), side)
        return [b"" if i in silent else piece.replace("▁", " ").encode() for i, piece in enumerate(pieces)]

    @abstractmethod
    def models(self) -> dict[str, bytes]:
        """What was learnt, as the content of one or more files by name; empty before training."""

    @abstractmethod
    def restore(self, models: Mapping[str, bytes]) -> None:
        """Take over what :meth:`models` gave."""

    @property
    def is_trained(self) -> bool:
        """Whether there is a vocabulary."""
        return bool(self.models())

    @property
    def fingerprint(self) -> str:
        """Hash of what determines the ids of a text: the kind of tokenizer and all that it learnt."""
        digest = hashlib.blake2b(f"{FORMAT} {type(self).__qualname__}".encode(), digest_size=16)
        for name, content in sorted(self.models().items()):
            digest.update(f"\0{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and the learnt files into an existing folder, each in one step."""
        name = next(entry.name for entry in TOKENIZER.entries.values() if entry.cls is type(self))
        models = self.models()
        for file, content in models.items():
            with replacing(folder / file) as aside:
                aside.write_bytes(content)
        description = {
            "format": FORMAT,
            "name": name,
            "options": self.options,
            "files": sorted(models),
            "fingerprint": self.fingerprint,
            "joint": self.is_joint,
            "source_vocabulary_size": self.source_vocabulary_size,
            "target_vocabulary_size": self.target_vocabulary_size,
            "pad_id": self.pad_id,
            "unk_id": self.unk_id,
            "sos_id": self.sos_id,
            "eos_id": self.eos_id,
        }
        write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    @classmethod
    def _loaded(cls, folder: Path, description: Mapping[str, Any]) -> Self:
        tokenizer: Self = TOKENIZER.create({"name": description["name"], **description["options"]})
        tokenizer.restore({file: (folder / file).read_bytes() for file in description["files"]})
        return tokenizer


def regularization_problem(option: str, cls: type[Tokenizer]) -> str | None:
    """What speaks against an option of ``data.regularization`` for a kind of tokenizer; None if nothing does."""
    if option == cls.regularization:
        return None
    name = next((entry.name for entry in TOKENIZER.entries.values() if entry.cls is cls), cls.__name__)
    remedy = "leave it out" if cls.regularization is None else f"it has data.regularization.{cls.regularization}"
    return f"data.regularization.{option}: isn't for the tokenizer {name!r}; {remedy}"


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that was saved in a folder, such as a run's. Nothing is unpickled.

    Raises:
        InputError: There is none, it is of an unknown kind, or its files don't belong together.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text("utf-8"))
        if description["format"] != FORMAT:
            raise InputError(f"{path}: has format {description['format']}, but this version reads format {FORMAT}")
        if any(Path(file).name != file for file in description["files"]):
            raise InputError(f"{path}: names files outside its folder; restore it from the run it came from")
        tokenizer = Tokenizer._loaded(folder, description)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; a tokenizer is saved by training") from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: can't be read ({error}); restore it from the run it came from") from None
    if tokenizer.fingerprint != description["fingerprint"]:
        raise InputError(f"{path}: doesn't belong to the files beside it; restore them from the run they came from")
    return tokenizer
