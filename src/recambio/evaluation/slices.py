"""Where translations go wrong: scores of parts of a set, and errors that can be seen in the text.

Nothing here needs a model. Each error is defined so that a reference would not have it, for what a reference does is no error; the
counts are of sentences. They find what is plain to see, not everything that is wrong, and compare runs on one set, not sets.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recambio.evaluation.base import Metric
from recambio.evaluation.phenomena import LENGTHS

_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f]\d+)*")
_THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}\b)")
_FINAL = re.compile(r"""[.!?…:;][)\]"'”’»]*$""")
_PAIRS = ("¿?", "¡!", "«»")
_RARE = (0, 1, 2)
_MIN_SHARED = 3


@dataclass(frozen=True)
class Example:
    """A sentence with an error.

    Attributes:
        index: Line of the set, from 0.
        detail: What is wrong.
        source: The sentence.
        reference: Its first reference.
        hypothesis: The translation.
    """

    index: int
    detail: str
    source: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class ErrorCount:
    """How often an error was made.

    Attributes:
        n: Sentences with it.
        of: Sentences that could have it.
        examples: Some of them.
    """

    n: int
    of: int
    examples: tuple[Example, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"n": self.n, "of": self.of, "examples": [asdict(e) for e in self.examples]}


def copied_source(source: str, hypothesis: str, references: Sequence[str]) -> str | None:
    """The translation is the source, case and outer blanks aside, of three words or more, and no reference is.

    Returns:
        What is wrong; empty if nothing is; None where the error can't be made. So do the other errors.
    """
    plain = _plain(source)
    if len(_WORD.findall(source)) < 3 or any(_plain(r) == plain for r in references):
        return None
    return "the source sentence" if _plain(hypothesis) == plain else ""


def unfinished(source: str, hypothesis: str, references: Sequence[str]) -> str | None:
    """The translation is empty, has less than half the words of the shortest reference, or lacks the closing mark that all have."""
    if not all(_WORD.search(r) for r in references):
        return None
    if not hypothesis.strip():
        return "empty"
    n_words, n_wanted = len(_WORD.findall(hypothesis)), min(len(_WORD.findall(r)) for r in references)
    if 2 * n_words < n_wanted:
        return f"{n_words} words of {n_wanted}"
    if all(_FINAL.search(side.rstrip()) for side in (source, *references)) and not _FINAL.search(hypothesis.rstrip()):
        return "no closing mark"
    return ""


def repeated(source: str, hypothesis: str, references: Sequence[str]) -> str | None:
    """A word stands three times in a row, or two to four words twice, which no reference has of that length."""
    del source
    for length in range(1, 5):
        found = _loop(hypothesis, length)
        if found and not any(_loop(r, length) for r in references):
            return found
    return ""


def hallucination(source: str, hypothesis: str, references: Sequence[str]) -> str | None:
    """The translation has three content words or more, and shares none with any reference.

    Content words are those of four letters or more, compared without case and accents by their first four letters, and
    numbers. A free translation can be counted here, and a fluent one of something else that shares a word isn't.
    """
    wanted = set().union(*(_content(r) for r in references))
    if len(wanted) < _MIN_SHARED:
        return None
    came = _content(hypothesis)
    if len(came) < _MIN_SHARED or _plain(hypothesis) == _plain(source):
        return ""
    return "" if came & wanted else "no content word of a reference"


def numbers(source: str, hypothesis: str, references: Sequence[str]) -> str | None:
    """A number of the source that a reference has too is missing; ``3.50``, ``3,50`` and ``10 000``, ``10,000`` are the same."""
    came = _numbers(hypothesis) | _numbers(_THOUSANDS.sub("", hypothesis))
    return _lost(_numbers(source), came, [_numbers(r) | _numbers(_THOUSANDS.sub("", r)) for r in references])


def names(source: str, hypothesis: str, references: Sequence[str]) -> str | None:
    """A capitalised word of three letters or more that source and reference share is missing, in this spelling."""
    return _lost(_names(source), Counter(_WORD.findall(hypothesis)), [_names(r) for r in references])


def punctuation(source: str, hypothesis: str, references: Sequence[str]) -> str | None:
    """``¿ ?``, ``¡ !`` or ``« »`` don't come in equal numbers, in translations whose references keep them equal."""
    del source
    checked = [pair for pair in _PAIRS if all(_is_even(r, pair) for r in references)]
    if not any(mark in text for text in (hypothesis, *references) for pair in checked for mark in pair):
        return None
    odd = next((pair for pair in checked if not _is_even(hypothesis, pair)), None)
    return f"{hypothesis.count(odd[0])} {odd[0]} for {hypothesis.count(odd[1])} {odd[1]}" if odd else ""


ERRORS: dict[str, Callable[[str, str, Sequence[str]], str | None]] = {
    "copied source": copied_source,
    "unfinished": unfinished,
    "repeated": repeated,
    "hallucination": hallucination,
    "numbers lost": numbers,
    "names lost": names,
    "punctuation pairs": punctuation,
}
"""What is looked for, by the name that tables show."""


def count_errors(
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    n_examples: int = 3,
    seed: int = 0,
) -> dict[str, ErrorCount]:
    """Every error of a set.

    Args:
        sources: N sentences.
        hypotheses: N translations.
        references: One list of N sentences for each reference set.
        n_examples: Sentences shown of each error at most, drawn at random.
        seed: Of the draw.

    Returns:
        By the error's name.
    """
    of_sentence = list(zip(*references, strict=True))
    found = {}
    for name, error in ERRORS.items():
        details = [error(s, h, r) for s, h, r in zip(sources, hypotheses, of_sentence, strict=True)]
        wrong = [i for i, detail in enumerate(details) if detail]
        chosen = sorted(random.Random(seed).sample(wrong, min(n_examples, len(wrong))))
        examples = tuple(Example(i, str(details[i]), sources[i], of_sentence[i][0], hypotheses[i]) for i in chosen)
        found[name] = ErrorCount(len(wrong), sum(d is not None for d in details), examples)
    return found


def score_slices(
    sources: Sequence[str], metrics: Mapping[str, Metric], rows: Mapping[str, NDArray[np.float64]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Corpus scores of parts of a set: by source words, and by how many source words the set has nowhere else.

    The training frequency of a word is not in a run folder: a word that the set holds once stands for a rare one.

    Args:
        sources: N sentences.
        metrics: By key.
        rows: (N, K) statistics of the sentences by the same keys.

    Returns:
        By slice, then by bucket, without empty buckets: ``n`` sentences and the score by each metric.
    """
    buckets = {"source words": [length_bucket(s) for s in sources], "rare source words": rare_buckets(sources)}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, of_sentence in buckets.items():
        table = found.setdefault(name, {})
        for bucket in sorted(set(of_sentence), key=lambda b: int(re.split(r"[-+]", b)[0])):
            chosen = np.array([b == bucket for b in of_sentence])
            scores = {key: metric.from_statistics(rows[key][chosen].sum(0)) for key, metric in metrics.items()}
            table[bucket] = {"n": int(chosen.sum()), **scores}
    return found


def length_bucket(source: str) -> str:
    """``1-4``, ``5-8``... ``25+`` words."""
    n_words = max(1, len(source.split()))
    low, high = next((a, b) for a, b in LENGTHS if b is None or n_words <= b)
    return f"{low}-{high}" if high else f"{low}+"


def rare_buckets(sources: Sequence[str]) -> list[str]:
    """``0``, ``1``, ``2`` or ``3+``: the words of each sentence that stand once in the set, case aside."""
    words = [[w.casefold() for w in _WORD.findall(s)] for s in sources]
    counts = Counter(w for of_sentence in words for w in of_sentence)
    n_rare = [sum(counts[w] == 1 for w in of_sentence) for of_sentence in words]
    return [str(n) if n in _RARE else f"{len(_RARE)}+" for n in n_rare]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _loop(text: str, length: int) -> str:
    """The first n-gram of this length that repeats itself at once: three times for a single word, else twice."""
    words = [w.casefold() for w in text.split()]
    times = 3 if length == 1 else 2
    for i in range(len(words) - times * length + 1):
        gram = words[i : i + length]
        if words[i : i + times * length] == gram * times and (length == 1 or len(set(gram)) > 1):
            return " ".join(gram * times)
    return ""


def _content(text: str) -> set[str]:
    plain = "".join(c for c in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(c))
    return {w[:4] if w.isalpha() else w for w in _WORD.findall(plain) if len(w) > 3 or w.isdigit()}


def _numbers(text: str) -> Counter[str]:
    return Counter(re.sub(r"\D", "", number) for number in _NUMBER.findall(text))


def _names(text: str) -> Counter[str]:
    return Counter(w for w in _WORD.findall(text) if len(w) > 2 and w[0].isupper() and w.isalpha())


def _lost(wanted: Counter[str], came: Counter[str], references: Sequence[Counter[str]]) -> str | None:
    """What source and some reference share and the translation has less often; None if they share nothing."""
    shared = [wanted & of_reference for of_reference in references]
    if not any(shared):
        return None
    # the reference of which least is missing counts, also one that has none of it
    missing = min((s - came for s in shared), key=lambda m: m.total())
    return ", ".join(missing)


def _is_even(text: str, pair: str) -> bool:
    return text.count(pair[0]) == text.count(pair[1])
