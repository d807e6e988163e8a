"""What required words do to translations: how many hold them, and what that costs. Words are taken from the reference at random. Run

    python benchmarks/required_words.py RUN ../shared/data/tatoeba/test.en ../shared/data/tatoeba/test.es

The table of docs/decoding.md is what it prints.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import recambio
from recambio.data.pairs import read_lines
from recambio.decoding.required import holds
from recambio.experiment.translator import Translator

_WORD = re.compile(r"[^\W_]+")
_RUN = re.compile(r"(?=(?<![^\W_])([^\W_]+ [^\W_]+ [^\W_]+)(?![^\W_]))")


def some_words(count: int) -> Callable[[str, random.Random], list[str]]:
    """Chooses words of a reference; all that it has, if they are fewer."""

    def choose(reference: str, draw: random.Random) -> list[str]:
        words = sorted(set(_WORD.findall(reference)))
        return draw.sample(words, min(count, len(words)))

    return choose


def three_in_a_row(reference: str, draw: random.Random) -> list[str]:
    """Chooses three words that follow each other; none if there are none."""
    found = _RUN.findall(reference)
    return [draw.choice(found)] if found else []


KINDS: dict[str, Callable[[str, random.Random], list[str]]] = {
    "one word": some_words(1),
    "two words": some_words(2),
    "three words": some_words(3),
    "three words in a row": three_in_a_row,
}


def measure(
    translator: Translator,
    sources: Sequence[str],
    references: Sequence[str],
    phrases: Sequence[list[str]],
    names: Sequence[str],
) -> None:
    """Translate without and with the phrases, and print a row for each."""
    from sacrebleu import BLEU

    for is_required in (False, True):
        start = time.perf_counter()
        parts = translator.parts(sources, required=phrases if is_required else None)
        seconds = time.perf_counter() - start
        texts = [translator.text(p) for p in parts]
        ended = [all(part.hypotheses[0].is_finished for part in p) for p in parts]
        holding = [all(holds(text, phrase) for phrase in each) for text, each in zip(texts, phrases, strict=True)]
        among = [h for h, is_ended in zip(holding, ended, strict=True) if is_ended]
        bleu = BLEU().corpus_score(texts, [list(references)]).score
        cells = [
            *names,
            "yes" if is_required else "no",
            f"{100 * sum(holding) / len(holding):.1f} %",
            f"{100 * sum(among) / len(among):.1f} %",
            len(parts) - sum(ended),
            f"{bleu:.1f}",
            f"{seconds:.1f}",
        ]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("source", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--sentences", type=int, default=500)
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 12])
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    logging.getLogger("recambio").setLevel(logging.ERROR)
    sources, references = (
        list(islice(read_lines(path), arguments.sentences)) for path in (arguments.source, arguments.reference)
    )
    print("| beam | words of the reference | required | hold them | of the finished | unfinished | BLEU | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for width in arguments.widths:
        translator = recambio.load(arguments.run, overrides=[f"decoding.search={{name: beam, width: {width}}}"])
        translator.translate(sources[:8])  # warm
        for name, choose in KINDS.items():
            draw = random.Random(arguments.seed)
            phrases = [choose(reference, draw) for reference in references]
            measure(translator, sources, references, phrases, (str(width), name))


if __name__ == "__main__":
    main()
