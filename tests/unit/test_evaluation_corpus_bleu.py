"""BLEU of a corpus in parts: the concatenation's score for any partition, order and number of processes."""

from __future__ import annotations

import ast
import itertools
import json
import pickle
import random
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU as LibraryBLEU

import recambio
from recambio.errors import InputError
from recambio.evaluation.corpus_bleu import CorpusBLEU

WORDS = ["el", "la", "gato", "casa", "come", "es", "muy", "grande", ",", ".", "¿", "?"]


def toy(n: int, seed: int) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    references = [" ".join(draw.choices(WORDS, k=draw.randrange(1, 12))) for _ in range(n)]
    hypotheses = [" ".join(w for w in r.split() if draw.random() < 0.8) for r in references]
    return hypotheses, references


@settings(max_examples=60)
@given(
    n=st.integers(0, 40), seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 40), max_size=8), data=st.randoms()
)
def test_any_partition_and_order_gives_the_score_of_the_whole(n, seed, cuts, data):
    hypotheses, references = toy(n, seed)
    expected = LibraryBLEU().corpus_score(hypotheses, [references]).score if n else 0.0
    order = list(range(n))
    data.shuffle(order)
    edges = [0, *sorted(min(c, n) for c in cuts), n]
    metric = CorpusBLEU()
    for start, end in itertools.pairwise(edges):
        part = order[start:end]
        metric.update([hypotheses[i] for i in part], [references[i] for i in part])
    assert metric.compute().item() == expected


def test_equals_torchmetrics_own_sacrebleu():
    from torchmetrics.text import SacreBLEUScore

    hypotheses, references = toy(30, seed=4)
    mine, theirs = CorpusBLEU(), SacreBLEUScore(n_gram=4, tokenize="13a")
    for i in range(0, 30, 7):
        mine.update(hypotheses[i : i + 7], references[i : i + 7])
        theirs.update(hypotheses[i : i + 7], [[r] for r in references[i : i + 7]])
    assert mine.compute().item() == pytest.approx(100 * theirs.compute().item(), abs=1e-4)


def test_several_references_of_a_sentence():
    hypotheses, first = toy(20, seed=1)
    _, second = toy(20, seed=2)
    metric = CorpusBLEU()
    metric.update(hypotheses, [list(pair) for pair in zip(first, second, strict=True)])
    assert metric.compute().item() == LibraryBLEU().corpus_score(hypotheses, [first, second]).score


def test_reset_forgets_scores_and_keeps_references():
    hypotheses, references = toy(20, seed=1)
    metric = CorpusBLEU()
    metric.update(hypotheses, references)
    first = metric.compute().item()
    metric.reset()
    assert metric.counts.sum() == 0 and len(metric._references) == len(set(references))
    metric.update(hypotheses, references)
    assert metric.compute().item() == first
    copy = pickle.loads(pickle.dumps(metric))
    assert copy._references == {} and copy.compute().item() == first


def test_counts_that_differ_are_refused():
    with pytest.raises(InputError, match="2 hypotheses for 1 references"):
        CorpusBLEU().update(["a", "b"], ["a"])


def test_references_are_counted_once():
    """Validating again on the same set tokenises and counts no reference."""
    hypotheses, references = toy(50, seed=6)
    metric = CorpusBLEU()
    calls = []
    count = metric._bleu._extract_reference_info
    metric._bleu._extract_reference_info = lambda refs: calls.append(refs) or count(refs)
    for _ in range(3):
        metric.reset()
        metric.update(hypotheses, references)
    assert len(calls) == len(set(references))


SHARES = ((17, 5), (0, 11))


def _rank(rank: int, store: str, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    scores = []
    for sizes in SHARES:
        hypotheses, references = toy(sum(sizes), seed=9)
        start, end = sum(sizes[:rank]), sum(sizes[: rank + 1])
        metric = CorpusBLEU()
        for i in range(start, max(end, start + 1), 3):  # an empty share updates with nothing
            metric.update(hypotheses[i : min(i + 3, end)], references[i : min(i + 3, end)])
        scores.append(metric.compute().item())
    Path(f"{folder}/{rank}.json").write_text(json.dumps(scores))
    torch.distributed.destroy_process_group()


def test_two_processes_with_uneven_and_empty_shares(tmp_path):
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    expected = []
    for sizes in SHARES:
        hypotheses, references = toy(sum(sizes), seed=9)
        expected.append(LibraryBLEU().corpus_score(hypotheses, [references]).score)
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected


def test_no_metric_is_averaged_over_ranks() -> None:
    """`sync_dist` takes the mean of what ranks log, which is wrong of BLEU and of every ratio."""
    package = Path(recambio.__file__).parent
    calls = [
        f"{file.name}:{call.lineno}"
        for file in package.rglob("*.py")
        if "sync_dist" in (text := file.read_text(encoding="utf-8"))
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call) and any(keyword.arg == "sync_dist" for keyword in call.keywords)
    ]
    assert calls == []
