"""Token stores of the training pairs in other segmentations, one for each epoch.

Sentences, their order, places and parts are those of the plain store; the ids of a pair follow from (seed, epoch, its number in the cleaned
text, option) and from nothing else. So an epoch's store can be removed once it is passed, and made again for a resume, to the byte.
"""

from __future__ import annotations

import base64
import importlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from recambio.data import store as store_module
from recambio.data.cache import discard, discard_stale, leased, published, stable_hash
from recambio.data.pairs import read_lines
from recambio.data.store import StoreWriter, TokenStore
from recambio.data.tokenizers.base import SIDES, Side, Tokenizer
from recambio.data.tokenizers.sampling import Rows, Sampler, runs, sentence_keys

FORMAT = 1
"""Changes whenever the same options draw other segmentations; part of every key."""

FOLDER = "sampled"
PLACES = "places"
"""Of the folder of the cleaned text: where each of its pairs stood in the corpus as read, 64 bits each."""

_CHUNK = 20_000
# Fewer pairs are done before another process has started.
_WORTH_A_PROCESS = 20_000


@dataclass(frozen=True)
class Sampling:
    """How segmentations are sampled.

    Attributes:
        option: The tokenizer's ``regularization``.
        strength: Its value.
        seed: The run's.
        limit: Most tokens of a side, EOS included. Pairs that would have more are left in the plain segmentation.
    """

    option: str
    strength: float
    seed: int
    limit: int


class SampledStores:
    """The token stores of the epochs of a run. Several runs, and all ranks of one, may share the folder they lie in.

    Args:
        sampling: How they are sampled.
        tokenizer: Trained.
        plain: The training pairs as the tokenizer encodes them.
        text: Folder of the cleaned training pairs.
        cache: The cache folder.
    """

    def __init__(self, sampling: Sampling, tokenizer: Tokenizer, plain: TokenStore, text: Path, cache: Path) -> None:
        self.sampling = sampling
        self.tokenizer = tokenizer
        self.plain = plain
        self.text = text
        self.cache = cache
        self._stores: dict[int, TokenStore] = {}
        self._leases: dict[int, TextIO] = {}
        self._helper: subprocess.Popen[bytes] | None = None

    def __reduce__(self) -> tuple[type[SampledStores], tuple[Any, ...]]:
        return type(self), (self.sampling, self.tokenizer, self.plain, self.text, self.cache)

    def folder(self, epoch: int) -> Path:
        """Where an epoch's store is or will be."""
        # The plain store's name stands for the text, the vocabulary and the longest sentence.
        made_of = [FORMAT, store_module.FORMAT, self.plain.folder.name, asdict(self.sampling), epoch]
        return self.cache / FOLDER / stable_hash(made_of)

    def store(self, epoch: int, progress: Callable[[int, int], None] | None = None) -> TokenStore:
        """An epoch's store, from 0; made now, or waited for, if it isn't there.

        Args:
            epoch: Which.
            progress: Told how many pairs are done, and of how many.
        """
        if epoch not in self._stores:
            folder = self._leased(epoch)
            if published(folder, lambda aside: self._build(aside, epoch, progress), TokenStore.is_complete):
                discard_stale(folder.parent)
            with suppress(OSError):
                os.utime(folder)
            self._stores[epoch] = TokenStore(folder)
        return self._stores[epoch]

    def ahead(self, epoch: int) -> None:
        """Have another process make an epoch's store meanwhile. If that fails, :meth:`store` makes it."""
        is_busy = self._helper is not None and self._helper.poll() is None
        if is_busy or len(self.plain) < _WORTH_A_PROCESS or TokenStore.is_complete(self._leased(epoch)):
            return
        vocabulary = {file: base64.b64encode(content).decode() for file, content in self.tokenizer.models().items()}
        job = {
            "sampling": asdict(self.sampling),
            "tokenizer": [type(self.tokenizer).__module__, type(self.tokenizer).__qualname__, self.tokenizer.options],
            "vocabulary": vocabulary,
            "folders": [str(path.resolve()) for path in (self.plain.folder, self.text, self.cache)],
            "epoch": epoch,
            "parent": os.getpid(),
        }
        self._helper = subprocess.Popen(
            [sys.executable, "-m", "recambio.data.ahead"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._helper.stdin is not None
        with suppress(BrokenPipeError), self._helper.stdin as stream:
            stream.write(json.dumps(job).encode())

    @classmethod
    def of_job(cls, job: dict[str, Any]) -> SampledStores:
        """What :meth:`ahead` hands to the other process."""
        module, name, options = job["tokenizer"]
        tokenizer: Tokenizer = getattr(importlib.import_module(module), name)(**options)
        tokenizer.restore({file: base64.b64decode(content) for file, content in job["vocabulary"].items()})
        plain, text, cache = map(Path, job["folders"])
        return cls(Sampling(**job["sampling"]), tokenizer, TokenStore(plain), text, cache)

    def release(self, before: int) -> None:
        """Be done with the epochs before one, and remove their stores unless another run reads them.

        The first epoch's stays: it tells how long the epochs are, and other runs with this seed start with it.
        """
        for epoch in [e for e in self._leases if 0 < e < before]:
            self._stores.pop(epoch, None)
            self._leases.pop(epoch).close()
            discard(self.folder(epoch))

    def close(self, is_done: bool = False) -> None:
        """Stop the other process and let go of everything.

        Args:
            is_done: Whether no run goes on from here: the stores are removed as by :meth:`release`.
        """
        if self._helper is not None:
            self._helper.terminate()
            self._helper.wait()
            self._helper = None
        if is_done:
            self.release(max(self._leases, default=0) + 1)
        for lease in self._leases.values():
            lease.close()
        self._leases.clear()
        self._stores.clear()

    def _leased(self, epoch: int) -> Path:
        """The folder of an epoch's store, which no other run removes from here on."""
        folder = self.folder(epoch)
        if epoch not in self._leases:
            self._leases[epoch] = leased(folder)
        return folder

    def _build(self, aside: Path, epoch: int, progress: Callable[[int, int], None] | None) -> None:
        places: NDArray[np.int64] = np.memmap(self.text / PLACES, np.int64, mode="r")
        is_kept = np.zeros(len(places), bool)
        plain_places = self.plain.places
        is_kept[np.searchsorted(places, plain_places)] = True  # both ascend
        samplers = self._samplers()
        size = max(self.tokenizer.source_vocabulary_size, self.tokenizer.target_vocabulary_size)
        files = {side: read_lines(self.text / f"{side}.txt") for side in SIDES}
        too_long = 0
        with StoreWriter(aside, size, has_text=False) as writer:
            for start in range(0, len(places), _CHUNK):
                kept = is_kept[start : start + _CHUNK]
                first = writer.sentences
                rows: dict[Side, Rows] = {}
                for side in SIDES:
                    lines = list(itertools.compress(itertools.islice(files[side], len(kept)), kept.tolist()))
                    keys = sentence_keys(self.sampling.seed, epoch, side, start, len(kept))[kept]
                    rows[side] = samplers[side].sample(lines, keys)
                fits = np.maximum(rows["source"].lengths, rows["target"].lengths) < self.sampling.limit
                too_long += int(np.count_nonzero(~fits))
                if not fits.all():
                    plain = self.plain.read(np.arange(first, first + len(fits)))
                    rows = {side: _either(fits, rows[side], plain[side]) for side in SIDES}
                writer.add_rows(rows["source"], rows["target"], plain_places[first : first + len(fits)])
                if progress is not None:
                    progress(start + len(kept), len(places))
            writer.finish({"epoch": epoch, "too_long": too_long})

    def _samplers(self) -> dict[Side, Sampler]:
        strength = self.sampling.strength
        if self.tokenizer.is_joint:
            return dict.fromkeys(SIDES, self.tokenizer.sampler("source", strength))
        return {side: self.tokenizer.sampler(side, strength) for side in SIDES}


def _either(is_first: NDArray[np.bool_], first: Rows, second: Rows) -> Rows:
    """Each sentence out of one of two segmentations."""
    starts = np.cumsum(first.lengths) - first.lengths
    second_starts = len(first.tokens) + np.cumsum(second.lengths) - second.lengths
    lengths = np.where(is_first, first.lengths, second.lengths)
    tokens = np.concatenate([first.tokens, second.tokens])
    return Rows(tokens[runs(np.where(is_first, starts, second_starts), lengths)], lengths)
