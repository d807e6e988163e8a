"""How often exported models translate as the run does: ``python -m benchmarks.interop RUN SOURCES``.

Translates the lines of SOURCES with the run, with CTranslate2 on its export in each precision, and with Hugging Face's `generate` on its
Marian export. Prints how many lines agree with the run, how much better or worse our model scores those that differ, and the time.
CTranslate2 is imported before torch.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from recambio.interop.ctranslate2_import import ctranslate2


def main(run: str, sources: str, threads: int = 1) -> None:
    """Measure and print.

    Args:
        run: The run folder.
        sources: A file, one sentence a line.
        threads: Of each engine.
    """
    ctranslate2()
    import torch

    from recambio.errors import InputError
    from recambio.experiment.translator import Translator, load
    from recambio.interop import export
    from recambio.interop.ctranslate2_engine import Engine

    torch.set_num_threads(threads)
    lines = Path(sources).read_text(encoding="utf-8").splitlines()
    ours: Translator = load(run, overrides=[f"trainer.threads={threads}"], device="cpu")
    start = time.perf_counter()
    best = _best(ours, lines)
    print(f"{'recambio':22} {time.perf_counter() - start:7.1f} s  {len(lines):,} lines")

    def report(name: str, rows: Sequence[Sequence[int]], seconds: float) -> None:
        differing = [i for i, row in enumerate(rows) if list(row) != best[i].tokens]
        text = f"{name:22} {seconds:7.1f} s  {len(rows) - len(differing):,} the same"
        if differing:
            gaps = [_score(ours, lines[i], rows[i]) - _score(ours, lines[i], best[i].tokens) for i in differing]
            cut = sum(not best[i].is_finished for i in differing)
            text += (
                f", {len(differing)} not ({cut} of them cut at the length limit); score of theirs minus ours by our model: "
                f"median {statistics.median(gaps):+.1e}, from {min(gaps):+.1e} to {max(gaps):+.1e}; "
                f"{sum(abs(g) < 1e-5 for g in gaps)} ties"
            )
        print(text, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for quantization in ("float32", "int8"):
            place = export.run(Path(run), "ctranslate2", Path(folder) / quantization, quantization=quantization)
            engine = Engine(Path(run), place, overrides=[f"trainer.threads={threads}"], device="cpu")
            found, seconds = _timed(lambda engine=engine: _best(engine, lines))  # type: ignore[misc]
            report(f"CTranslate2 {quantization}", [h.tokens for h in found], seconds)
        try:
            place = export.run(Path(run), "marian", Path(folder) / "marian")
        except InputError as error:
            print(f"Marian: {error}")
            return
        rows, seconds = _timed(lambda: _marian(ours, place, lines))
        report("HF Marian", rows, seconds)


def _best(translator: object, lines: Sequence[str]) -> list:  # type: ignore[type-arg]
    from recambio.experiment.translator import LineTranslator

    assert isinstance(translator, LineTranslator)
    # A line longer than training's would be split; the lines of a benchmark are sentences.
    return [parts[0].hypotheses[0] for parts in translator.parts(lines)]


def _timed(work: Callable[[], list]) -> tuple[list, float]:  # type: ignore[type-arg]
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def _marian(ours: object, place: Path, lines: Sequence[str]) -> list[list[int]]:
    """What `generate` writes, under the run's own limit of length, without special tokens."""
    import torch
    import transformers

    from recambio.decoding.generate import length_limit
    from recambio.experiment.translator import Translator

    assert isinstance(ours, Translator)
    transformers.logging.set_verbosity_error()
    model = transformers.MarianMTModel.from_pretrained(place).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    encoded = [tokenizer(line)["input_ids"] for line in lines]
    decoding, special = (
        ours.config.values.decoding,
        {ours.tokenizer.pad_id, ours.tokenizer.sos_id, ours.tokenizer.eos_id},
    )
    rows: list[list[int]] = [[] for _ in lines]
    by_length: dict[int, list[int]] = {}
    for i, ids in enumerate(encoded):
        by_length.setdefault(len(ids), []).append(i)
    for length, members in by_length.items():
        if length == 1:
            continue
        limit = length_limit(length, decoding.max_ratio, decoding.max_extra)
        for start in range(0, len(members), 32):
            chunk = members[start : start + 32]
            with torch.inference_mode():
                found = model.generate(torch.tensor([encoded[i] for i in chunk]), max_new_tokens=limit)
            for i, row in zip(chunk, found.tolist(), strict=True):
                rows[i] = [t for t in row if t not in special]
    return rows


def _score(ours: object, line: str, tokens: Sequence[int]) -> float:
    """Our model's mean log-probability a token, EOS counted."""
    import torch

    from recambio.experiment.translator import Translator

    assert isinstance(ours, Translator)
    tokenizer, model = ours.tokenizer, ours.model
    source = torch.tensor([[*tokenizer.encode([line], "source")[0], tokenizer.eos_id]])
    target = torch.tensor([[tokenizer.sos_id, *tokens, tokenizer.eos_id]])
    with torch.inference_mode():
        logits = model.logits(model(source, target[:, :-1])[0])
        logits[..., [tokenizer.sos_id, tokenizer.pad_id]] = float("-inf")
        found = logits.log_softmax(-1).gather(-1, target[:, 1:, None])
    return float(found.mean())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.interop RUN SOURCES")
    main(*sys.argv[1:])
