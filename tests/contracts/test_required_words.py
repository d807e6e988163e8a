"""Required words keep what every search keeps (`recambio.testing.searches`): nothing but a source and its phrases decides."""

from __future__ import annotations

import pytest
import torch

from recambio.decoding import ModelScorer, generate
from recambio.decoding.required import Required, Spelling
from recambio.decoding.rescore import token_log_probabilities
from recambio.decoding.searches.beam import Beam
from recambio.decoding.searches.constrained_beam import ConstrainedBeam
from recambio.model import DecoderState
from recambio.testing.searches import EOS, PAD, SOS, V, small_scorer


@pytest.fixture(scope="module")
def scorer() -> ModelScorer:
    return small_scorer()


@pytest.fixture(scope="module")
def sources() -> list[list[int]]:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (20,), generator=g).tolist()
    return [[*torch.randint(4, V, (n,), generator=g).tolist(), EOS] for n in lengths]


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
