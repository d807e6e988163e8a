"""Every registered search, on a small random model in float64: nothing but a source decides about its translation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from recambio import registry
from recambio.decoding import ModelScorer, generate
from recambio.decoding.required import Required, Spelling
from recambio.decoding.rescore import token_log_probabilities
from recambio.decoding.searches.base import Hypothesis, Search
from recambio.decoding.searches.beam import Beam
from recambio.decoding.searches.constrained_beam import ConstrainedBeam
from recambio.model import DecoderState, ModelSpec, StackSpec, Transformer
from recambio.registry import SEARCH, Node
from recambio.testing.kit import name_of

PAD, SOS, EOS, V = 0, 2, 3, 23

registry.load_builtins()
_VARIANTS: list[Node] = [
    {"name": "beam", "width": 5, "stop": "exact", "normalize": "gnmt", "n_best": 3},
    {"name": "diverse_beam", "width": 6, "groups": 3, "n_best": 6},
    {"name": "diverse_beam", "width": 6, "groups": 2, "strength": 2.0, "stop": "exact", "n_best": 2},
    {"name": "mbr", "candidates": {"name": "sample", "n": 12}, "n_best": 4},
    {
        "name": "mbr",
        "candidates": {"name": "beam", "width": 4, "n_best": 4},
        "utility": "bleu",
        "weights": "probability",
    },
    {"name": "mbr", "references": {"name": "sample", "n": 5, "seed": 7}},
    {"name": "sample", "n": 9},
    {"name": "sample", "n": 3, "temperature": 0.6, "top_k": 9, "top_p": 0.95, "min_p": 0.01, "seed": 5},
]
NODES = [*(SEARCH.example(name) for name in SEARCH.names()), *_VARIANTS]
IDS = [f"{name_of(node)}{i}" for i, node in enumerate(NODES)]


@pytest.fixture(scope="module")
def scorer() -> ModelScorer:
    """Sharp enough to end sentences, and with some of them cut at the limit."""
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


@pytest.fixture(scope="module")
def sources() -> list[list[int]]:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (20,), generator=g).tolist()
    return [[*torch.randint(4, V, (n,), generator=g).tolist(), EOS] for n in lengths]


def build(node: Node) -> Search:
    return SEARCH.create(node, detokenize=lambda rows: [" ".join(map(str, row)) for row in rows])  # type: ignore[no-any-return]


@torch.no_grad()
def forced(model: Transformer, source: list[int], h: Hypothesis) -> float:
    """The log-probability of a hypothesis in one pass without any cache."""
    target = [SOS, *h.tokens] + ([EOS] if h.is_finished else [])
    memory, _ = model.encode(torch.tensor([source]))
    hidden, _ = model.decode(torch.tensor([target[:-1]]), memory)
    logits = model.logits(hidden)
    logits[..., [SOS, PAD]] = -math.inf
    return float(torch.log_softmax(logits, -1)[0].gather(1, torch.tensor(target[1:])[:, None]).sum())


@pytest.mark.parametrize("node", NODES, ids=IDS)
def test_batch_size_and_order_change_nothing(node: Node, scorer: ModelScorer, sources: list[list[int]]) -> None:
    search = build(node)
    wanted = [generate(scorer, search, [s], batch_tokens=1)[0] for s in sources]
    for rows in (7, 64):
        order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(rows)).tolist()
        found = generate(scorer, search, [sources[i] for i in order], batch_tokens=rows * 9 * search.width)
        for i, alone in ((i, wanted[i]) for i in range(len(sources))):
            together = found[order.index(i)]
            assert [(h.tokens, h.is_finished) for h in together] == [(h.tokens, h.is_finished) for h in alone]
            for a, b in zip(together, alone, strict=True):
                assert a.score == pytest.approx(b.score, abs=1e-5)
                assert a.log_probability == pytest.approx(b.log_probability, abs=1e-5)


@pytest.mark.parametrize("node", NODES, ids=IDS)
def test_what_is_found(node: Node, scorer: ModelScorer, sources: list[list[int]]) -> None:
    """Best first, within the limits, and with the log-probability that a pass over the whole sentence gives."""
    limits = [1 + i % 7 for i in range(len(sources))]
    for source, limit, found in zip(sources, limits, build(node)(scorer, sources, limits), strict=True):
        assert found
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        for h in found:
            assert len(h.tokens) + h.is_finished <= limit and not {PAD, SOS, EOS} & set(h.tokens)
            assert h.is_finished or len(h.tokens) == limit
            assert_close(h.log_probability, forced(scorer.model, source, h), rtol=0, atol=1e-5)


class Ending(ModelScorer):
    """Ends sentences more often than the model would."""

    def step(self, state: DecoderState, tokens: torch.Tensor) -> torch.Tensor:
        log_probabilities = super().step(state, tokens)
        log_probabilities[:, EOS] += 6.0
        return torch.log_softmax(log_probabilities, dim=-1)


def test_what_is_required_of_a_source_is_its_own_affair(scorer: ModelScorer, sources: list[list[int]]) -> None:
    """With phrases, too, batch size and order change nothing, and log-probabilities are those of the tokens."""
    ending = Ending(scorer.model, sos_id=SOS, eos_id=EOS, pad_id=PAD)
    spelling = Spelling([b""] * 4 + [f" {chr(93 + v)}".encode() for v in range(4, V)], 1, lambda lines: [[]])
    phrases = [[], ["c"], ["d e"], ["b", "q r"], ["a a b", "f"]]
    wanted = [Required(s, [spelling.phrase(p) for p in phrases[i % 5]]) for i, s in enumerate(sources)]
    search = ConstrainedBeam(Beam(width=4, n_best=3), spelling)
    alone = [generate(ending, search, [s], batch_tokens=1)[0] for s in wanted]
    for rows in (7, 64):
        order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(rows)).tolist()
        together = generate(ending, search, [wanted[i] for i in order], batch_tokens=rows * 9 * search.width)
        for i, found in zip(order, together, strict=True):
            assert [(h.tokens, h.is_finished) for h in found] == [(h.tokens, h.is_finished) for h in alone[i]]
    assert sum(found[0].is_finished for found in alone) > len(alone) / 2
    for i, found in enumerate(alone):
        targets = [[*h.tokens, EOS] if h.is_finished else h.tokens for h in found]
        rescored = token_log_probabilities(ending, [sources[i]] * len(found), targets)
        for h, values in zip(found, rescored, strict=True):
            assert h.log_probability == pytest.approx(sum(values), abs=1e-4)
            text = "".join(f" {chr(93 + t)}" for t in h.tokens) + " "
            assert not h.is_finished or all(f" {p} " in text for p in phrases[i % 5])


def test_a_name_is_its_file_and_its_card_is_complete() -> None:
    for name, entry in SEARCH.entries.items():
        assert Path(entry.source_file).stem == name
        card = entry.card
        assert card.claim.endswith(".") and card.formula and card.paper and card.fast_path, name
