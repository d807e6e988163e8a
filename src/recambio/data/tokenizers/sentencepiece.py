"""Subword vocabularies of SentencePiece: unigram language model and byte-pair encoding, with an exact way back.

Papers: Kudo 2018, "Subword Regularization", https://arxiv.org/abs/1804.10959 (unigram); Sennrich et al. 2016, "Neural Machine
Translation of Rare Words with Subword Units", https://arxiv.org/abs/1508.07909 (BPE); Kudo and Richardson 2018,
"SentencePiece", https://arxiv.org/abs/1808.06226 (the library).

SentencePiece normalises by default (NFKC, white space collapsed), so that text doesn't come back as it was. All of that is
off here: text is normalised once, by the cleaning.
"""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recambio.data.tokenizers.base import SIDES, Side, Tokenizer
from recambio.data.tokenizers.bpe_dropout import BPEDropout
from recambio.data.tokenizers.sampling import SPACE_MARK, Pieces, Rows, WordSampler
from recambio.data.tokenizers.unigram_sampling import UnigramSampler
from recambio.errors import InputError
from recambio.registry import TOKENIZER, Card

# The mark of a space would come back as a space where the text itself holds it. A private-use character introduces the two texts that can't
# stand for themselves; bytes or a piece of its own spell it.
_ESCAPE = "\U0010fffd"

# The sums of the unigram trainer are split over this many threads, and their rounding depends on the split: a constant, not
# the machine's number of cores, so that every machine learns the same vocabulary.
_TRAINING_THREADS = 4
_LONGEST_LINE_BYTES = 16_384
_QUIET = 2

_JOINT_FILE = "tokenizer.model"
_SIDE_FILES: dict[Side, str] = {"source": "tokenizer.source.model", "target": "tokenizer.target.model"}


class SentencePiece(Tokenizer):
    """A SentencePiece vocabulary, one for both sides or one each.

    Args:
        vocabulary_size: Ids of a vocabulary, the special ones and the 256 bytes included.
        joint: One vocabulary for both sides; otherwise each side has one of ``vocabulary_size``.
        byte_fallback: Spell characters outside the vocabulary as UTF-8 bytes, so that every text comes back exactly;
            otherwise they become the unknown id.
        character_coverage: Share of the characters of the training text that get an id of their own.
        max_train_sentences: At most this many sentences, over all sides of a vocabulary, are learnt from; of more, a sample. The library
            takes 20 bytes of memory for each of their characters, for a moment.
        sample_seed: Chooses the sample. Apart from the run's seed: runs that differ in their seed keep one vocabulary.
    """

    model_type: ClassVar[str]

    def __init__(
        self,
        vocabulary_size: int = 8_000,
        joint: bool = True,
        byte_fallback: bool = True,
        character_coverage: float = 1.0,
        max_train_sentences: int = 500_000,
        sample_seed: int = 1,
    ) -> None:
        problems = []
        if vocabulary_size < 8:
            problems.append(f"data.tokenizer.vocabulary_size: is {vocabulary_size}; 8 is the least, 8000 is usual")
        if not 0.9 <= character_coverage <= 1.0:
            problems.append(f"data.tokenizer.character_coverage: is {character_coverage}; must be from 0.9 to 1.0")
        if max_train_sentences < 2:
            problems.append(f"data.tokenizer.max_train_sentences: is {max_train_sentences}; must be at least 2")
        if problems:
            raise InputError(problems)
        self.requested_size = vocabulary_size
        self.joint = joint
        self.byte_fallback = byte_fallback
        self.character_coverage = character_coverage
        self.max_train_sentences = max_train_sentences
        self.sample_seed = sample_seed
        self._models: dict[str, bytes] = {}
        self._processors: dict[Side, Any] = {}

    @property
    def options(self) -> dict[str, Any]:
        return {
            "vocabulary_size": self.requested_size,
            "joint": self.joint,
            "byte_fallback": self.byte_fallback,
            "character_coverage": self.character_coverage,
            "max_train_sentences": self.max_train_sentences,
            "sample_seed": self.sample_seed,
        }

    @property
    def is_joint(self) -> bool:
        return self.joint

    @property
    def source_vocabulary_size(self) -> int:
        return int(self._processor("source").get_piece_size())

    @property
    def target_vocabulary_size(self) -> int:
        return int(self._processor("target").get_piece_size())

    def train(self, source: Iterable[str], target: Iterable[str], count: int) -> None:
        if count < 1:
            raise InputError("data.corpus: there is no sentence to learn a vocabulary from")
        if self.joint:
            chosen = self._sample(count, self.max_train_sentences // 2)
            pairs = zip(source, target, strict=True)
            lines = chain.from_iterable(compress(pairs, chosen) if chosen else pairs)
            models = {_JOINT_FILE: self._learn(lines)}
        else:
            models = {}
            for side, text in zip(SIDES, (source, target), strict=True):
                chosen = self._sample(count, self.max_train_sentences)
                models[_SIDE_FILES[side]] = self._learn(compress(text, chosen) if chosen else text)
        self.restore(models)

    def _sample(self, count: int, limit: int) -> bytes | None:
        """A flag a sentence that tells whether it is learnt from; None for all."""
        if count <= limit:
            return None
        flags = bytearray(count)
        for index in random.Random(self.sample_seed).sample(range(count), limit):
            flags[index] = 1
        return bytes(flags)

    def _learn(self, lines: Iterable[str]) -> bytes:
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_escaped(lines),
                model_writer=model,
                model_type=self.model_type,
                vocab_size=self.requested_size,
                # A small corpus has fewer subwords than asked for: unigram can give what there is.
                hard_vocab_limit=self.model_type != "unigram",
                byte_fallback=self.byte_fallback,
                character_coverage=self.character_coverage,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                add_dummy_prefix=True,
                pad_id=self.pad_id,
                unk_id=self.unk_id,
                bos_id=self.sos_id,
                eos_id=self.eos_id,
                num_threads=_TRAINING_THREADS,
                max_sentence_length=_LONGEST_LINE_BYTES,
                minloglevel=_QUIET,
            )
        except RuntimeError as error:
            raise _explained(error, self.requested_size) from error
        return model.getvalue()

    def encode(self, lines: Sequence[str], side: Side, threads: int = 1) -> list[list[int]]:
        rows: list[list[int]] = self._processor(side).encode(list(_escaped(lines)), num_threads=threads)
        return rows

    def decode(self, rows: Sequence[Sequence[int]], side: Side = "target") -> list[str]:
        special = (self.pad_id, self.sos_id, self.eos_id)
        decode = self._processor(side).decode
        # Row by row: a call for several rows starts threads, which takes thirty times as long as decoding one.
        return [_unescaped(decode([int(i) for i in row if i not in special])) for row in rows]

    def pieces(self, ids: Sequence[int], side: Side) -> list[str]:
        processor = self._processor(side)
        return [str(processor.id_to_piece(int(i))) for i in ids]

    def surface(self, side: Side) -> list[bytes]:
        processor, spelled = self._processor(side), super().surface(side)
        # A byte's piece is written <0xC3>.
        return [bytes([int(s[3:5], 16)]) if processor.is_byte(i) else s for i, s in enumerate(spelled)]

    def models(self) -> dict[str, bytes]:
        return dict(self._models)

    def restore(self, models: Mapping[str, bytes]) -> None:
        import sentencepiece

        names = {side: _JOINT_FILE if self.joint else _SIDE_FILES[side] for side in SIDES}
        if set(models) != set(names.values()):
            raise ValueError(
                f"a tokenizer with joint={self.joint} needs {sorted(set(names.values()))}, not {sorted(models)}"
            )
        built = {name: sentencepiece.SentencePieceProcessor(model_proto=content) for name, content in models.items()}
        for processor in built.values():
            found = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
            if found != (self.pad_id, self.unk_id, self.sos_id, self.eos_id):
                raise ValueError(f"its ids of padding, unknown, start and end are {found}, not (0, 1, 2, 3)")
        self._models = dict(models)
        self._processors = {side: built[name] for side, name in names.items()}

    def _processor(self, side: Side) -> Any:
        if side not in self._processors:
            raise RuntimeError("the tokenizer has no vocabulary yet; train or load it first")
        return self._processors[side]


@TOKENIZER.register(
    "unigram",
    card=Card(
        claim="Subwords of a unigram language model, pruned from many to the size asked for; every text comes back exactly.",
        formula="argmax over segmentations x of sum_i log p(x_i)",
        paper='Kudo 2018, "Subword Regularization", https://arxiv.org/abs/1804.10959, section 3.2',
    ),
)
class Unigram(SentencePiece):
    """Subwords of a unigram language model. A corpus too small for ``vocabulary_size`` gives a smaller vocabulary."""

    model_type = "unigram"
    regularization = "alpha"

    def sampler(self, side: Side, strength: float) -> _Escaping:
        return _Escaping(UnigramSampler(Pieces.of(self._processor(side)), strength))


@TOKENIZER.register(
    "bpe",
    card=Card(
        claim="Subwords merged pair by pair, the most frequent first; every text comes back exactly.",
        paper='Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", '
        "https://arxiv.org/abs/1508.07909, section 3.2",
        departures="merges run over text with spaces (SentencePiece), not over words split beforehand",
    ),
)
class BytePairEncoding(SentencePiece):
    """Byte-pair encoding. A corpus too small for ``vocabulary_size`` is an error that names the largest possible."""

    model_type = "bpe"
    regularization = "dropout"

    def sampler(self, side: Side, strength: float) -> _Escaping:
        return _Escaping(BPEDropout(Pieces.of(self._processor(side)), strength))


class _Escaping:
    """Draws segmentations of lines that may hold what stands for something else."""

    def __init__(self, sampler: WordSampler) -> None:
        self.sampler = sampler

    def sample(self, lines: Sequence[str], keys: NDArray[np.uint64]) -> Rows:
        return self.sampler.sample(list(_escaped(lines)), keys)


def _escaped(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if SPACE_MARK in line or _ESCAPE in line:
            line = line.replace(_ESCAPE, _ESCAPE + "0").replace(SPACE_MARK, _ESCAPE + "1")
        yield line


def _unescaped(text: str) -> str:
    if _ESCAPE in text:
        text = text.replace(_ESCAPE + "1", SPACE_MARK).replace(_ESCAPE + "0", _ESCAPE)
    # A model may spell the byte of a line break, which would shift every later line of a file of translations.
    return text.replace("\n", " ") if "\n" in text else text


def _explained(error: RuntimeError, requested: int) -> Exception:
    """What a refusal of the trainer means for the config."""
    text = str(error)
    if found := re.search(r"Vocabulary size too high .*value <= (\d+)", text):
        return InputError(
            f"data.tokenizer.vocabulary_size: {requested} is more than the corpus gives; at most {found[1]} is possible"
        )
    if found := re.search(r"Vocabulary size is smaller than required_chars\. \d+ vs (\d+)", text):
        return InputError(
            f"data.tokenizer.vocabulary_size: {requested} is too few for the characters of the corpus; "
            f"at least {found[1]} is needed, or a lower character_coverage"
        )
    return error
