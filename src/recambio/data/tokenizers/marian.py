"""The vocabulary of a Marian checkpoint: two SentencePiece models that cut, and a table that numbers the pieces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recambio.data.tokenizers.base import SIDES, Side, Tokenizer
from recambio.errors import InputError
from recambio.registry import TOKENIZER, Card

SPM_FILES: dict[Side, str] = {"source": "source.spm", "target": "target.spm"}
TABLE_FILE = "vocab.json"
TARGET_TABLE_FILE = "target_vocab.json"
IDS_FILE = "marian.json"
"""Sizes of the vocabularies and the special ids."""

_SPECIAL = ("pad_id", "unk_id", "sos_id", "eos_id")


@TOKENIZER.register(
    "marian",
    card=Card(
        claim="The subwords of a Marian checkpoint (OPUS-MT): a SentencePiece model a side, and a table that gives each piece its "
        "id. It comes with `recambio import marian` and is not learnt from text.",
        paper='Tiedemann & Thottingal 2020, "OPUS-MT: Building open translation services for the World", '
        "https://aclanthology.org/2020.eamt-1.61/",
        departures="As Hugging Face's MarianTokenizer, but for the way back: a target is spelt by the target's model",
    ),
)
class Marian(Tokenizer):
    """The subwords of a Marian checkpoint.

    The special ids are the checkpoint's. Its decoder starts with the padding id, so `sos_id` may equal `pad_id`. A source may start with a
    language code of the table, as ``>>spa<<``.

    Args:
        joint: Whether one table numbers the pieces of both sides.
    """

    def __init__(self, joint: bool = True) -> None:
        self.joint = joint
        self._models: dict[str, bytes] = {}
        self._processors: dict[Side, Any] = {}
        self._ids: dict[Side, dict[str, int]] = {}
        self._pieces: dict[Side, list[str]] = {}

    @property
    def options(self) -> dict[str, Any]:
        return {"joint": self.joint}

    @property
    def is_joint(self) -> bool:
        return self.joint

    @property
    def source_vocabulary_size(self) -> int:
        return len(self._known("source"))

    @property
    def target_vocabulary_size(self) -> int:
        return len(self._known("target"))

    def train(self, source: Iterable[str], target: Iterable[str], count: int) -> None:
        raise InputError(
            "data.tokenizer: 'marian' is not learnt from text; set training.init_from to a run that `recambio import marian` "
            "made, or name 'unigram'"
        )

    def encode(self, lines: Sequence[str], side: Side, threads: int = 1) -> list[list[int]]:
        self._known(side)
        ids = self._ids[side]
        codes = [_code(line) if side == "source" else "" for line in lines]
        texts = [line[len(code) :] for line, code in zip(lines, codes, strict=True)]
        pieces = self._processors[side].encode(texts, out_type=str, num_threads=threads)
        return [
            [ids.get(piece, self.unk_id) for piece in ([code, *row] if code else row)]
            for code, row in zip(codes, pieces, strict=True)
        ]

    def decode(self, rows: Sequence[Sequence[int]], side: Side = "target") -> list[str]:
        if not rows:
            return []
        known, special = self._known(side), (self.pad_id, self.sos_id, self.eos_id)
        texts = self._processors[side].decode_pieces([[known[i] for i in row if i not in special] for row in rows])
        # A model may spell the byte of a line break, which would shift every later line of a file of translations.
        return [text.replace("▁", " ").replace("\n", " ").strip() for text in texts]

    def pieces(self, ids: Sequence[int], side: Side) -> list[str]:
        known = self._known(side)
        return [known[int(i)] for i in ids]

    def models(self) -> dict[str, bytes]:
        return dict(self._models)

    def restore(self, models: Mapping[str, bytes]) -> None:
        import sentencepiece

        tables = {side: TABLE_FILE if self.joint or side == "source" else TARGET_TABLE_FILE for side in SIDES}
        wanted = {*SPM_FILES.values(), *tables.values(), IDS_FILE}
        if set(models) != wanted:
            raise ValueError(f"a Marian tokenizer with joint={self.joint} needs {sorted(wanted)}, not {sorted(models)}")
        self._processors = {
            side: sentencepiece.SentencePieceProcessor(model_proto=models[SPM_FILES[side]]) for side in SIDES
        }
        description = json.loads(models[IDS_FILE])
        self.pad_id, self.unk_id, self.sos_id, self.eos_id = (int(description[name]) for name in _SPECIAL)
        for side in SIDES:
            self._ids[side] = json.loads(models[tables[side]])
            self._pieces[side] = _written(self._ids[side], int(description[f"{side}_size"]))
        self._models = dict(models)

    def _known(self, side: Side) -> list[str]:
        """The piece of each id."""
        if side not in self._pieces:
            raise RuntimeError("the tokenizer has no vocabulary yet; it comes with an imported checkpoint")
        return self._pieces[side]


def description(source_size: int, target_size: int, *, pad_id: int, unk_id: int, sos_id: int, eos_id: int) -> bytes:
    """The content of the file that holds what the tables don't say."""
    values = {"source_size": source_size, "target_size": target_size, "pad_id": pad_id, "unk_id": unk_id}
    return json.dumps({**values, "sos_id": sos_id, "eos_id": eos_id}, indent=2).encode()


def _written(table: Mapping[str, int], size: int) -> list[str]:
    """Pieces by id; a model may have more rows than its table has pieces."""
    pieces = [f"<unused{i}>" for i in range(size)]
    for piece, number in table.items():
        if not 0 <= number < size:
            raise ValueError(f"the piece {piece!r} has id {number}, beyond a vocabulary of {size}")
        pieces[number] = piece
    return pieces


def _code(line: str) -> str:
    """The language code that a line starts with, or nothing."""
    end = line.find("<<")
    return line[: end + 2] if line.startswith(">>") and end != -1 else ""
