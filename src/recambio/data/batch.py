"""Batches: sentences of a token store as padded tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recambio.data.parts import Ints
from recambio.data.plan import PlannedBatch
from recambio.data.tokenizers.base import Side
from recambio.data.tokenizers.sampling import Rows


@dataclass
class Batch:
    """Sentence pairs that pass through the model together.

    What is padded is known on the host, so that no step has to ask the device: where nothing is, the masks are ``None``.

    Attributes:
        ids: Index of each pair in its token store; (B,).
        source: x1..xn EOS, padded on the right; (B, S), int64.
        target: SOS y1..yn EOS, padded on the right; (B, T + 1), int64.
        source_mask: True where ``source`` holds a token; (B, S). None if nothing is padded.
        target_positions: Indices into the flattened (B * T) positions at which there is a next token to predict; (N,). None if
            that is so at all of them.
        source_tokens: How many tokens ``source`` holds, EOS included.
        target_tokens: N, the number of tokens to predict, EOS included.
        weight: 1.0, or 0.0 for a filler, whose loss and result count for nothing.
    """

    ids: Tensor
    source: Tensor
    target: Tensor
    source_mask: Tensor | None
    target_positions: Tensor | None
    source_tokens: int
    target_tokens: int
    weight: float = 1.0

    @property
    def decoder_input(self) -> Tensor:
        """SOS y1..yn, padded; (B, T)."""
        return self.target[:, :-1]

    @property
    def labels(self) -> Tensor:
        """The next token at each position of :attr:`target_positions`; (N,)."""
        following = self.target[:, 1:].reshape(-1)
        return following if self.target_positions is None else following[self.target_positions]

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """The batch on a device; from pinned memory the copy runs beside the computation."""
        return self._mapped(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in pinned memory."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, function: Any) -> Batch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{k: function(v) if isinstance(v, Tensor) else v for k, v in values.items()})


def collate(
    rows: Mapping[Side, Rows],
    planned: PlannedBatch | Ints,
    *,
    pad_id: int,
    sos_id: int,
    eos_id: int,
) -> Batch:
    """Sentences of a store as a batch.

    Args:
        rows: What :meth:`~recambio.data.store.TokenStore.read` gave for them.
        planned: Which sentences: a batch of a plan, or plain indices; at least one.
        pad_id: Fills rows on the right.
        sos_id: Starts each target.
        eos_id: Ends each source and target.
    """
    if isinstance(planned, PlannedBatch):
        indices, weight = planned.indices, planned.weight
    else:
        indices, weight = planned, 1.0
    source, source_real = _padded(rows["source"], 0, pad_id, eos_id)
    target, target_real = _padded(rows["target"], 1, pad_id, eos_id)
    target[:, 0] = sos_id
    tokens = int(np.count_nonzero(target_real))
    return Batch(
        ids=torch.from_numpy(np.array(indices, np.int64)),
        source=torch.from_numpy(source),
        target=torch.from_numpy(target),
        source_mask=None if source_real.all() else torch.from_numpy(source_real),
        target_positions=None if tokens == target_real.size else torch.from_numpy(np.flatnonzero(target_real)),
        source_tokens=int(np.count_nonzero(source_real)),
        target_tokens=tokens,
        weight=weight,
    )


def _padded(found: Rows, shift: int, pad_id: int, eos_id: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of ids that end with EOS, from column ``shift`` on, and where they are real, that column being the first."""
    lengths = found.lengths
    columns = np.arange(int(lengths.max()) + 1)
    real = columns <= lengths[:, None]
    is_token = columns < lengths[:, None]
    rows = np.full((len(lengths), len(columns) + shift), pad_id, np.int64)
    body = rows[:, shift:]
    body[is_token] = found.tokens
    body[np.arange(len(lengths)), lengths] = eos_id
    return rows, real
