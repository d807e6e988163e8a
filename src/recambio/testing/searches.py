"""What a search must keep, on a small random model in float64."""

from __future__ import annotations

import functools
import math

import torch

from recambio.decoding import ModelScorer, generate
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.model import ModelSpec, StackSpec, Transformer
from recambio.registry import SEARCH, Node
from recambio.testing.kit import applies_to

PAD, SOS, EOS, V = 0, 2, 3, 23
_TOLERANCE = 1e-5
"""Of scores, which are sums of float32 log-probabilities."""


@functools.cache
def small_scorer() -> ModelScorer:
    """A random model of V tokens in float64, sharp enough to end sentences, and with some of them cut at the limit."""
    spec = ModelSpec(
        encoder=StackSpec.uniform(1, positions="rope"),
        decoder=StackSpec.uniform(2, positions="rope", cross_attention="multi_head"),
        source_vocabulary=V,
        target_vocabulary=V,
        d_model=32,
        n_heads=4,
        d_ff=64,
    )
    model = Transformer(spec).double().eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=g, dtype=p.dtype) * 0.4)
    return ModelScorer(model, sos_id=SOS, eos_id=EOS, pad_id=PAD)


@functools.cache
def _sources() -> list[list[int]]:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (20,), generator=g).tolist()
    return [[*torch.randint(4, V, (n,), generator=g).tolist(), EOS] for n in lengths]


def _search(node: Node) -> Search:
    return SEARCH.create(node, detokenize=lambda rows: [" ".join(map(str, row)) for row in rows])  # type: ignore[no-any-return]


@torch.no_grad()
def _forced(model: Transformer, source: list[int], h: Hypothesis) -> float:
    """The log-probability of a hypothesis in one pass without any cache."""
    target = [SOS, *h.tokens] + ([EOS] if h.is_finished else [])
    memory, _ = model.encode(torch.tensor([source]))
    hidden, _ = model.decode(torch.tensor([target[:-1]]), memory)
    logits = model.logits(hidden)
    logits[..., [SOS, PAD]] = -math.inf
    return float(torch.log_softmax(logits, -1)[0].gather(1, torch.tensor(target[1:])[:, None]).sum())


@applies_to("search")
def alone_or_together(kind: str, node: Node, site: str) -> None:
    """A source's translations are the same in batches of 1, 7 and 64 sources, in any order."""
    search, scorer, sources = _search(node), small_scorer(), _sources()
    wanted = [generate(scorer, search, [s], batch_tokens=1)[0] for s in sources]
    for rows in (7, 64):
        order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(rows)).tolist()
        found = generate(scorer, search, [sources[i] for i in order], batch_tokens=rows * 9 * search.width)
        for place, i in enumerate(order):
            here, alone = found[place], wanted[i]
            said = [[(h.tokens, h.is_finished) for h in hypotheses] for hypotheses in (here, alone)]
            assert said[0] == said[1], f"source {i} in a batch of {rows}: {said[0]}, alone {said[1]}"
            for a, b in zip(here, alone, strict=True):
                for what in ("score", "log_probability"):
                    difference = abs(getattr(a, what) - getattr(b, what))
                    assert difference <= _TOLERANCE, f"source {i} in a batch of {rows}: {what} differs by {difference}"


@applies_to("search")
def true_scores(kind: str, node: Node, site: str) -> None:
    """Hypotheses come best first, within the limits, each with the log-probability that one pass over it gives."""
    scorer, sources = small_scorer(), _sources()
    limits = [1 + i % 7 for i in range(len(sources))]
    for i, found in enumerate(_search(node)(scorer, sources, limits)):
        assert found, f"source {i}: no hypothesis"
        scores = [h.score for h in found]
        assert scores == sorted(scores, reverse=True), f"source {i}: scores {scores} aren't best first"
        for h in found:
            assert not {PAD, SOS, EOS} & set(h.tokens), f"source {i}: special tokens in {h.tokens}"
            length = len(h.tokens) + h.is_finished
            assert length <= limits[i], f"source {i}: {length} tokens with EOS, more than {limits[i]}"
            assert h.is_finished or length == limits[i], f"source {i}: {h.tokens} neither ends nor reaches {limits[i]}"
            difference = abs(h.log_probability - _forced(scorer.model, sources[i], h))
            assert difference <= _TOLERANCE, f"source {i}: the log-probability of {h.tokens} is off by {difference}"
