"""The encoder-decoder Transformer.

Paper: Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from recambio.components.attention.cache import moves
from recambio.components.block.base import Block
from recambio.components.context import Cache, TokenContext, positions_of
from recambio.components.embedding.base import TokenEmbedding
from recambio.components.normalization.base import Normalization
from recambio.model.initialise import initialise, seeded
from recambio.model.masks import arange_positions, cross_context, self_context
from recambio.model.spec import ModelSpec
from recambio.model.stack import LayerCaches, Losses, Stack, add_losses
from recambio.registry import EMBEDDING


@dataclass
class DecoderState:
    """What decoding keeps between steps.

    R decoder rows stand source by source: rows m * g to m * g + g - 1 belong to source m, and share its one row of
    projected memory, so a beam neither copies nor reorders the encoder's side.

    Attributes:
        caches: One entry per decoder layer.
        lengths: (R,) tokens each row has consumed.
        common_length: The number, where all rows have consumed equally many (known without asking the device).
        n_sources: M.
        memory_tokens: (M, S) bool, True = a real source token; None if all are.
        memory_length: S.
        n_keys: Keys that the caches of self-attention hand out, where that isn't the longest row's number of tokens: in a step that is
            recorded.
    """

    caches: list[LayerCaches]
    lengths: Tensor
    common_length: int | None
    n_sources: int
    memory_length: int
    memory_tokens: Tensor | None = None
    n_keys: int | None = None

    @property
    def n_rows(self) -> int:
        """R."""
        return len(self.lengths)

    def select(self, rows: Tensor) -> DecoderState:
        """The state of these rows, in this order, repeats allowed. The receiver must not be used afterwards.

        Beams expanding, reordering within a source, and sources leaving keep one row of memory per source.
        """
        group = self.n_rows // max(1, self.n_sources)
        found = moves(rows, self.n_rows)
        if found is not None and found.within(group):
            return self._rearranged(rows)
        owners, counts = torch.unique_consecutive(rows // max(1, group), return_counts=True)
        sizes = counts.tolist()
        if len(set(sizes)) > 1 or len(set(owners.tolist())) < len(owners):
            owners = rows // group
        lengths, common = self.lengths[rows], self.common_length
        if common is None and len(rows) < self.n_rows:
            shortest, longest = (int(x) for x in lengths.aminmax()) if len(rows) else (0, 0)
            common = longest if shortest == longest else None
        caches = [
            LayerCaches(
                c.self_attention.select(rows),
                c.cross_attention.select(owners),
                c.feed_forward.select(rows) if c.feed_forward is not None else None,
            )
            for c in self.caches
        ]
        tokens = self.memory_tokens[owners] if self.memory_tokens is not None else None
        return replace(
            self, caches=caches, lengths=lengths, common_length=common, n_sources=len(owners), memory_tokens=tokens
        )

    def _rearranged(self, rows: Tensor) -> DecoderState:
        """As many rows of every source as there were."""
        caches = [
            replace(
                c,
                self_attention=c.self_attention.select(rows),
                feed_forward=c.feed_forward.select(rows) if c.feed_forward is not None else None,
            )
            for c in self.caches
        ]
        lengths = self.lengths if self.common_length is not None else self.lengths[rows]
        return replace(self, caches=caches, lengths=lengths)

    def join(self, other: DecoderState) -> DecoderState:
        """These rows followed by the other's, whose lengths and source lengths may differ."""
        mine, theirs = self._shortened(), other
        if mine.n_rows // max(1, mine.n_sources) != theirs.n_rows // max(1, theirs.n_sources):
            mine, theirs = mine._ungrouped(), theirs._ungrouped()
        longest = max(mine.memory_length, theirs.memory_length)
        tokens = None
        if (
            mine.memory_tokens is not None
            or theirs.memory_tokens is not None
            or mine.memory_length != theirs.memory_length
        ):
            tokens = torch.cat([mine._tokens(longest), theirs._tokens(longest)])
        caches = [
            LayerCaches(
                a.self_attention.join(b.self_attention),
                a.cross_attention.join(b.cross_attention),
                a.feed_forward.join(b.feed_forward)
                if a.feed_forward is not None and b.feed_forward is not None
                else None,
            )
            for a, b in zip(mine.caches, theirs.caches, strict=True)
        ]
        same = mine.common_length is not None and mine.common_length == theirs.common_length
        return DecoderState(
            caches,
            torch.cat([mine.lengths, theirs.lengths]),
            mine.common_length if same else None,
            mine.n_sources + theirs.n_sources,
            longest,
            tokens,
        )

    def pad(self, memory_length: int) -> bool:
        """Pad the source's side to a length, in place. Returns: whether all caches can."""
        longer = [layer.cross_attention.lengthened(memory_length) for layer in self.caches]
        caches = [replace(a, cross_attention=b) for a, b in zip(self.caches, longer, strict=True) if b is not None]
        if len(caches) < len(longer):
            return False
        self.memory_tokens = self._tokens(memory_length)
        self.caches, self.memory_length = caches, memory_length
        return True

    def cache_tensors(self, n_slots: int) -> list[tuple[Tensor, ...]] | None:
        """What each cache holds, see :meth:`Cache.tensors`; None if one can't tell."""
        found = []
        for cache in self._all_caches():
            if (tensors := cache.tensors(n_slots)) is None:
                return None
            found.append(tensors)
        return found

    def standing_in(
        self, lengths: Tensor, memory_tokens: Tensor, tensors: Sequence[Sequence[Tensor]], n_slots: int
    ) -> DecoderState:
        """A state of these tensors for a step that is recorded, which depends on nothing else.

        Args:
            lengths: (R,).
            memory_tokens: (M, S).
            tensors: As :meth:`cache_tensors` has them.
            n_slots: As it was told.
        """
        caches = [c.standing_in(x, lengths) for c, x in zip(self._all_caches(), tensors, strict=True)]
        return DecoderState(
            self._with_caches(caches), lengths, None, self.n_sources, self.memory_length, memory_tokens, n_slots
        )

    def take(self, tensors: Sequence[Sequence[Tensor]]) -> None:
        """Go on from what a recorded step has made of :meth:`cache_tensors`."""
        self.lengths = self.lengths + 1
        if self.common_length is not None:
            self.common_length += 1
        for cache, own in zip(self._all_caches(), tensors, strict=True):
            cache.take(own, self.lengths)

    def _all_caches(self) -> list[Cache]:
        found = []
        for layer in self.caches:
            found += [layer.self_attention, layer.cross_attention]
            if layer.feed_forward is not None:
                found.append(layer.feed_forward)
        return found

    def _with_caches(self, caches: Iterable[Cache]) -> list[LayerCaches]:
        """The layers with others in place of :meth:`_all_caches`."""
        rest = iter(caches)
        return [
            LayerCaches(next(rest), next(rest), None if layer.feed_forward is None else next(rest))
            for layer in self.caches
        ]

    def _shortened(self) -> DecoderState:
        """Without the padding of sources that have left."""
        if self.memory_tokens is None:
            return self
        longest = int(self.memory_tokens.sum(1).max()) if self.n_sources else 0
        if longest in (0, self.memory_length):
            return self
        shorter = [c.cross_attention.shortened(longest) for c in self.caches]
        caches = [replace(c, cross_attention=s) for c, s in zip(self.caches, shorter, strict=True) if s is not None]
        if len(caches) < len(self.caches):
            return self
        return replace(self, caches=caches, memory_length=longest, memory_tokens=self.memory_tokens[:, :longest])

    def _ungrouped(self) -> DecoderState:
        """One row of memory per decoder row."""
        group = self.n_rows // max(1, self.n_sources)
        if group == 1:
            return self
        owners = torch.arange(self.n_sources, device=self.lengths.device).repeat_interleave(group)
        caches = [replace(c, cross_attention=c.cross_attention.select(owners)) for c in self.caches]
        tokens = self.memory_tokens[owners] if self.memory_tokens is not None else None
        return replace(self, caches=caches, n_sources=self.n_rows, memory_tokens=tokens)

    def _tokens(self, length: int) -> Tensor:
        """(M, length) bool: real source tokens, padded on the right."""
        tokens = self.memory_tokens
        if tokens is None:
            tokens = torch.ones(self.n_sources, self.memory_length, dtype=torch.bool, device=self.lengths.device)
        return nn.functional.pad(tokens, (0, length - self.memory_length))


class Transformer(nn.Module):
    """Encoder, decoder and embedding, built from a spec of parts.

    Raises:
        ValueError: A part refuses its place or its dimensions; the text names both.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        with seeded(spec.seed, "embedding"):
            self.embedding: TokenEmbedding = EMBEDDING.create(
                spec.embedding,
                d_model=spec.d_model,
                source_vocabulary=spec.source_vocabulary,
                target_vocabulary=spec.target_vocabulary,
                is_joint=spec.is_joint,
            )
        self.encoder = Stack("encoder", spec.encoder, spec)
        self.decoder = Stack("decoder", spec.decoder, spec)
        gains = {"encoder": self.encoder.block.init_gain, "decoder": self.decoder.block.init_gain}
        if next(self.parameters()).device.type != "meta":
            initialise(self, spec.seed, gains)

    def encode(self, source: Tensor, source_tokens: Tensor | None = None) -> tuple[Tensor, Losses]:
        """Run the encoder.

        Args:
            source: (B, S) token ids, right-padded.
            source_tokens: (B, S) bool, True = a real token; None if nothing is padded.

        Returns:
            Memory (B, S, D) and auxiliary losses.
        """
        positions = arange_positions(source.shape[1], source.device)
        x = self.encoder.embed(self.embedding.embed_source(source), positions)
        context = self_context(
            self.encoder.positions,
            positions,
            positions,
            is_causal=False,
            key_tokens=source_tokens,
            query_tokens=source_tokens,
        )
        return self.encoder(x, context, TokenContext(positions, source_tokens))  # type: ignore[no-any-return]

    def decode(
        self,
        target: Tensor,
        memory: Tensor,
        source_tokens: Tensor | None = None,
        target_tokens: Tensor | None = None,
    ) -> tuple[Tensor, Losses]:
        """Run the decoder over whole target sentences (teacher forcing).

        Args:
            target: (B, T) token ids from SOS on, right-padded.
            memory: (B, S, D) from :meth:`encode`.
            source_tokens: (B, S) bool, or None if nothing is padded.
            target_tokens: (B, T) bool, likewise.

        Returns:
            Hidden vectors (B, T, D), to be projected where a target is, and auxiliary losses.
        """
        positions = arange_positions(target.shape[1], target.device)
        x = self.decoder.embed(self.embedding.embed_target(target), positions)
        context = self_context(
            self.decoder.positions,
            positions,
            positions,
            is_causal=True,
            key_tokens=target_tokens,
            query_tokens=target_tokens,
        )
        memory_positions = arange_positions(memory.shape[1], memory.device)
        across = cross_context(positions, memory_positions, source_tokens)
        return self.decoder(x, context, TokenContext(positions, target_tokens), memory, across)  # type: ignore[no-any-return]

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_tokens: Tensor | None = None,
        target_tokens: Tensor | None = None,
    ) -> tuple[Tensor, Losses]:
        """Encode and decode: source (B, S), target (B, T) from SOS on. Returns: hidden vectors (B, T, D), auxiliary losses."""
        memory, losses = self.encode(source, source_tokens)
        hidden, more = self.decode(target, memory, source_tokens, target_tokens)
        add_losses(losses, more)
        return hidden, losses

    def calibrate(self, run: Callable[[], None], stacks: Sequence[str] = ("encoder", "decoder")) -> bool:
        """Let blocks that want it set parameters from a batch, encoder first. Returns: whether any did.

        Args:
            run: Passes a batch through this model.
            stacks: Those whose block may; one with trained weights must not.
        """
        blocks = [stack.block for stack in (self.encoder, self.decoder) if stack.name in stacks]
        wanting = [block for block in blocks if type(block).calibrate is not Block.calibrate]
        was_training = self.training
        self.eval()
        with torch.no_grad():
            for block in wanting:
                block.calibrate(run)
        self.train(was_training)
        return bool(wanting)

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: (..., D). Returns: (..., V)."""
        return self.embedding.project(hidden)

    def start(self, source: Tensor, source_tokens: Tensor | None = None, max_length: int = 64) -> DecoderState:
        """Encode the sources and make empty caches, one decoder row per source.

        Args:
            source: (M, S).
            source_tokens: (M, S) bool, or None if nothing is padded.
            max_length: Target tokens to expect; a hint for allocation.
        """
        memory, _ = self.encode(source, source_tokens)
        return DecoderState(
            caches=self.decoder.new_caches(max_length, memory),
            lengths=torch.zeros(len(source), dtype=torch.long, device=source.device),
            common_length=0,
            n_sources=len(source),
            memory_length=source.shape[1],
            memory_tokens=source_tokens,
        )

    def step(self, state: DecoderState, tokens: Tensor) -> Tensor:
        """Consume the next T tokens of every row.

        Args:
            state: Advanced in place.
            tokens: (R, T).

        Returns:
            Hidden vectors (R, T, D).
        """
        n_new, device = tokens.shape[1], tokens.device
        before = state.common_length
        if before is not None:
            positions = arange_positions(n_new, device, before)
            longest = before + n_new
            keys = arange_positions(longest, device)
        else:
            positions = positions_of(state.lengths, n_new)
            longest = state.n_keys or int(state.lengths.max()) + n_new
            keys = arange_positions(longest, device)
        x = self.decoder.embed(self.embedding.embed_target(tokens), positions)
        # One new token in rows of equal length may see all that is cached: nothing to mask.
        is_causal = n_new > 1 or before is None
        context = self_context(self.decoder.positions, positions, keys, is_causal=is_causal)
        memory_positions = arange_positions(state.memory_length, device)
        across = cross_context(positions[:1], memory_positions, state.memory_tokens)
        hidden, _ = self.decoder(x, context, TokenContext(positions), None, across, state.caches)
        state.lengths = state.lengths + n_new
        state.common_length = None if before is None else longest
        return hidden  # type: ignore[no-any-return]


def no_decay_names(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay must leave alone.

    Biases, gains and other vectors and scalars, everything in a normalization, and what a part's ``no_weight_decay()`` names.
    """
    names = {name for name, p in model.named_parameters() if p.ndim < 2}
    for path, module in model.named_modules():
        own = {f"{path}.{n}" if path else n for n, _ in module.named_parameters()}
        if isinstance(module, Normalization):
            names |= own
        elif callable(declared := getattr(module, "no_weight_decay", None)):
            names |= {f"{path}.{n}" if path else n for n in declared()} & own
    return names
