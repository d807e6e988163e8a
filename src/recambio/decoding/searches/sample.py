"""Random translations, drawn from the model's distribution."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recambio.decoding.scorer import Scorer
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.registry import SEARCH, Card

_LEAVE_SHARE = 8
"""Finished rows leave once they are one in this many: leaving costs a copy of the caches."""

_NUCLEUS = 256
"""So many tokens nearly always hold what `top_p` asks for; sorting the whole vocabulary takes longer than the output projection."""


@SEARCH.register(
    "sample",
    card=Card(
        claim="Draws translations at random, each as often as the model expects it, or from its more probable tokens only.",
        formula="y_t ~ q, q(v) = p(v)^(1/T) / sum_u p(u)^(1/T) over the tokens v left by top_k, then top_p, then min_p",
        paper="Holtzman et al. 2020, The Curious Case of Neural Text Degeneration, https://arxiv.org/abs/1904.09751, section 3 (top_p); "
        "Fan et al. 2018, Hierarchical Neural Story Generation, https://arxiv.org/abs/1805.04833, section 5.3 (top_k); "
        "Nguyen et al. 2024, Turning Up the Heat: Min-p Sampling, https://arxiv.org/abs/2407.01082, section 3 (min_p)",
        departures="Tokens as probable as the last one that a limit lets in come in too, so that no order among equals matters.",
        fast_path="the samples of a source share its projected memory; all rows are drawn at once, from one random number each; "
        "finished rows leave",
    ),
)
class Sample(Search):
    """Ancestral sampling, with limits on how improbable a token may be.

    A sample depends on the seed, the tokens of its source and its number among the samples of that source, and on nothing else:
    the random numbers of each come from a counter-based generator of its own (Philox, Salmon et al. 2011), keyed by these three.
    So neither batch size nor order changes it, beyond what rounding does to the probabilities. Samples are ranked by their
    mean log-probability per token, EOS included; log-probabilities are the model's own, whatever temperature and limits were.

    Args:
        n: Samples of each source. Equal ones stay: their number is an estimate of their probability.
        temperature: T; below 1 sharpens the distribution, above 1 flattens it.
        top_k: Draw from the k most probable tokens; 0 for all.
        top_p: Draw from the fewest tokens that together have this much of the probability; 1 for all.
        min_p: Draw from the tokens at least this many times as probable as the most probable one; 0 for all.
        seed: Another seed gives other samples.
    """

    def __init__(
        self,
        n: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 1,
    ) -> None:
        if n < 1:
            raise ValueError(f"`n` must be at least 1, but is {n}")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be greater than 0, but is {temperature}; 'greedy' is its limit at 0")
        if top_k < 0:
            raise ValueError(f"`top_k` must not be negative, but is {top_k}; 0 is for all tokens")
        if not 0 < top_p <= 1:
            raise ValueError(f"`top_p` must be in (0, 1], but is {top_p}")
        if not 0 <= min_p <= 1:
            raise ValueError(f"`min_p` must be in [0, 1], but is {min_p}")
        self.width = n
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p
        self.seed = seed

    @torch.inference_mode()
    def __call__(
        self, scorer: Scorer[Any], sources: Sequence[Sequence[int]], max_lengths: Sequence[int]
    ) -> list[list[Hypothesis]]:
        """See :meth:`Search.__call__`."""
        n, device, longest = self.width, scorer.device, max(max_lengths)
        state = scorer.start(sources, longest)
        state = scorer.select(state, torch.arange(len(sources), device=device).repeat_interleave(n))
        draws = self._draws(sources, longest).to(device)
        limits = torch.tensor(max_lengths, device=device).repeat_interleave(n)
        # What became of every row, (M * n, ...); `rows` are those still in the batch, source by source, as many of each.
        words = torch.full((len(draws), longest), scorer.eos_id, device=device)
        sums = torch.zeros(len(draws), dtype=torch.float64, device=device)
        lengths = torch.zeros(len(draws), dtype=torch.long, device=device)
        is_done = torch.zeros(len(draws), dtype=torch.bool, device=device)
        is_finished = is_done.clone()
        rows, group = torch.arange(len(draws), device=device), n
        tokens = torch.full_like(rows, scorer.sos_id)
        for t in range(1, longest + 1):
            log_probabilities = scorer.step(state, tokens)
            tokens = self._draw(log_probabilities, draws[rows, t - 1])
            gained = log_probabilities.gather(1, tokens[:, None])[:, 0]
            was_done = is_done[rows]
            ends = tokens == scorer.eos_id
            sums[rows] += gained.masked_fill(was_done, 0.0)
            words[rows, t - 1] = tokens.masked_fill(was_done, scorer.eos_id)
            lengths[rows] += ~was_done & ~ends
            is_finished[rows] |= ends & ~was_done
            is_done[rows] |= ends | (limits[rows] <= t)
            state, tokens, rows, group = self._leave(scorer, state, tokens, rows, group, is_done)
            if len(rows) == 0:
                break
        columns = (x.tolist() for x in (words, lengths, sums, is_finished))
        found = [
            Hypothesis(row[:length], total, total / (length + finished), finished)
            for row, length, total, finished in zip(*columns, strict=True)
        ]
        return [sorted(found[i * n : (i + 1) * n], key=lambda h: -h.score) for i in range(len(sources))]

    def _draws(self, sources: Sequence[Sequence[int]], longest: int) -> Tensor:
        """Random numbers in [0, 1) for every sample and step: (M * n, longest), float64. A longer batch begins with the same."""
        numbers = np.empty((len(sources) * self.width, longest))
        for i, source in enumerate(sources):
            digest = hashlib.blake2b(np.array([self.seed, *source], dtype="<i8").tobytes(), digest_size=8).digest()
            for j in range(self.width):
                key = np.array([int.from_bytes(digest, "little"), j], dtype=np.uint64)
                numbers[i * self.width + j] = np.random.Generator(np.random.Philox(key=key)).random(longest)
        # A number next to 1 times the sum of all probabilities must not round to that sum: no token lies beyond it.
        return torch.from_numpy(numbers * (1 - 2.0**-52))

    def _draw(self, log_probabilities: Tensor, numbers: Tensor) -> Tensor:
        """One token a row, by inverting the distribution function: log_probabilities (R, V), numbers (R,). Returns: (R,)."""
        p = torch.softmax(log_probabilities.double() / self.temperature, dim=-1)
        if self.top_k and self.top_k < p.shape[-1]:
            p = p.masked_fill(p < p.topk(self.top_k, dim=-1).values[:, -1:], 0.0)
        if self.top_p < 1:
            wanted = self.top_p * p.sum(-1, keepdim=True)
            ranked = p.topk(min(_NUCLEUS, p.shape[-1]), dim=-1).values
            if bool((ranked.sum(-1, keepdim=True) < wanted).any()):
                ranked = p.sort(dim=-1, descending=True).values
            before = ranked.cumsum(-1) - ranked
            last = (before < wanted).sum(-1, keepdim=True) - 1
            p = p.masked_fill(p < ranked.gather(1, last), 0.0)
        if self.min_p:
            p = p.masked_fill(p < self.min_p * p.amax(-1, keepdim=True), 0.0)
        below = p.cumsum(-1)
        # The first token whose interval reaches beyond the number: tokens of probability 0 have empty intervals.
        return torch.searchsorted(below, numbers[:, None] * below[:, -1:], right=True)[:, 0]

    def _leave(
        self, scorer: Scorer[Any], state: Any, tokens: Tensor, rows: Tensor, group: int, is_done: Tensor
    ) -> tuple[Any, Tensor, Tensor, int]:
        """Drop finished rows if they are many. Sources keep equal numbers of rows, so that each goes on sharing its memory."""
        done = is_done[rows].view(-1, group)
        kept = int((~done).sum(1).max())
        staying = (~done).any(1).nonzero()[:, 0]
        if kept and len(staying) * kept * _LEAVE_SHARE > len(rows) * (_LEAVE_SHARE - 1):
            return state, tokens, rows, group
        # Unfinished rows first; a source with fewer than the others keeps finished ones to fill up.
        order = done[staying].to(torch.int8).argsort(dim=1, stable=True)[:, :kept]
        places = (staying[:, None] * group + order).reshape(-1)
        if len(places) == 0:
            return state, tokens, places, group
        return scorer.select(state, places), tokens[places], rows[places], kept
