"""Several positional encodings at once."""

from __future__ import annotations

from torch import Tensor, nn

from recambio.components.positions.base import PositionalEncoding
from recambio.registry import POSITIONS, Card


@POSITIONS.register(
    "chain",
    Card(
        claim="Applies several schemes, in order; biases add up.",
        formula="x = s_n(... s_1(x)), for queries and keys likewise; bias = bias_1 + ... + bias_n",
        parameters="sum(schemes)",
        flops="0; the schemes' own",
        fast_path="The schemes' own.",
        example={"schemes": ["sinusoidal", "t5"]},
    ),
)
class Chain(PositionalEncoding):
    """Applies several schemes, in order; biases add up.

    Args:
        schemes: The encodings, at least one.
    """

    def __init__(self, schemes: list[PositionalEncoding]) -> None:
        super().__init__()
        if not schemes:
            raise ValueError("`schemes` must name one positional encoding at least, but is empty")
        self.schemes = nn.ModuleList(schemes)
        self.rotation_depends_on_length = any(scheme.rotation_depends_on_length for scheme in schemes)

    def add_to_embeddings(self, x: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.add_to_embeddings`."""
        for scheme in self._all():
            x = scheme.add_to_embeddings(x, positions)
        return x

    def rotate_queries(self, q: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.rotate_queries`."""
        for scheme in self._all():
            q = scheme.rotate_queries(q, positions)
        return q

    def rotate_keys(self, k: Tensor, positions: Tensor) -> Tensor:
        """See :meth:`PositionalEncoding.rotate_keys`."""
        for scheme in self._all():
            k = scheme.rotate_keys(k, positions)
        return k

    def attention_bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """See :meth:`PositionalEncoding.attention_bias`."""
        total: Tensor | None = None
        for scheme in self._all():
            bias = scheme.attention_bias(query_positions, key_positions)
            if bias is not None:
                total = bias if total is None else total + bias
        return total

    def _all(self) -> list[PositionalEncoding]:
        return list(self.schemes)  # type: ignore[arg-type]
