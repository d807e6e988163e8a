"""JoeyNMT: its own searches, which run the whole prefix through the decoder at every step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from joeynmt import search

from benchmarks.decode.worker import Decode, Job
from benchmarks.peers.joey import Joey, copy_to_joey
from benchmarks.peers.ours import Ours
from benchmarks.peers.sizes import BEAM_WIDTH, EOS, PAD, SIZES, SOS, padded
from benchmarks.peers.weights import stir


def load(job: Job) -> Decode:
    """The same weights. PAD is forbidden in place of the unknown word, EOS by the least length."""
    torch.set_num_threads(job.threads)
    size = SIZES[job.size]
    ours, joey = Ours(size), Joey(size)
    stir(ours.model)
    copy_to_joey(ours, joey)
    model = joey.model.eval()
    model.bos_index, model.eos_index, model.pad_index, model.unk_index = SOS, EOS, PAD, PAD

    @torch.inference_mode()
    def decode(sources: Sequence[Sequence[int]], task: str, n_tokens: int) -> list[list[int]]:
        source = padded([list(row) for row in sources])
        mask = (source != PAD)[:, None]
        memory, hidden, _, _ = model(return_type="encode", src=source, src_mask=mask, src_length=mask[:, 0].sum(1))
        limits = {"max_output_length": n_tokens, "min_output_length": n_tokens, "generate_unk": False}
        if task == "greedy":
            tokens, _, _ = search.greedy(
                src_mask=mask, model=model, encoder_output=memory, encoder_hidden=hidden, **limits
            )
        else:
            tokens, _, _ = search.beam_search(
                model=model,
                beam_size=BEAM_WIDTH,
                encoder_output=memory,
                encoder_hidden=hidden,
                src_mask=mask,
                alpha=1.0,
                **limits,
            )
        return [row[:n_tokens] for row in tokens.tolist()]

    return decode
