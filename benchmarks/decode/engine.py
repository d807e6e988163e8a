"""CTranslate2, in a process that never imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.decode.worker import Decode, Job

WIDTH = 4


def load(job: Job) -> Decode:
    """The model that :mod:`benchmarks.decode.convert` has written."""
    import ctranslate2

    translator = ctranslate2.Translator(
        str(Path(job.folder) / "ctranslate2"),
        device="cpu",
        compute_type=job.precision,
        inter_threads=1,
        intra_threads=job.threads,
    )

    def decode(sources: Sequence[Sequence[int]], task: str, n_tokens: int) -> list[list[int]]:
        found = translator.translate_batch(
            [[str(t) for t in row] for row in sources],
            beam_size=WIDTH if task == "beam" else 1,
            max_decoding_length=n_tokens,
        )
        return [[int(t) for t in result.hypotheses[0]] for result in found]

    return decode
