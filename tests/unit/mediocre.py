"""Hypotheses as a mediocre system would write them, made of references."""

from __future__ import annotations

import random
from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """The lines of a file, cut at line feeds alone."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def perturb(lines: list[str], rate: float = 0.3, seed: int = 1) -> list[str]:
    """Drop, replace and move words at a rate, as a mediocre translation would."""
    draw = random.Random(seed)
    vocabulary = [word for line in lines for word in line.split()]
    out = []
    for line in lines:
        words: list[str] = []
        for word in line.split():
            x = draw.random() / rate * 3
            if x < 1:
                continue
            if x < 2:
                words.append(draw.choice(vocabulary))
            elif x < 3:
                words.insert(draw.randrange(len(words) + 1), word)
            else:
                words.append(word)
        out.append(" ".join(words))
    return out
