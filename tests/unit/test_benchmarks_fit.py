"""Training end to end beside the peers: the clock, the work, the tables; one real round of a tiny size."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("transformers", reason="bench: transformers is not installed")
pytest.importorskip("accelerate", reason="bench: accelerate is not installed")

from benchmarks import __main__ as command
from benchmarks import gpu
from benchmarks.fit import work
from benchmarks.fit.clock import Clock, Lap, Running
from benchmarks.fit.contender import OURS
from benchmarks.fit.measure import Fitted
from benchmarks.fit.report import as_json, as_markdown
from benchmarks.padding import Lengths, padding, planned, synthetic_lengths, unsorted
from benchmarks.padding import main as padding_command
from benchmarks.peers import flops
from benchmarks.peers.marian import Marian
from benchmarks.peers.sizes import SIZES, padded

TINY = SIZES["tiny"]
ENVIRONMENT = {"command": "bench", "versions": {}, "cpu": "cpu", "cpu_flags": [], "threads": 1}


class _Left(Exception):
    """The process would have ended."""


def test_the_clock_counts_neither_warm_up_nor_the_time_between_turns() -> None:
    now, orders, reports = 0.0, io.StringIO("25\n10\n"), io.StringIO()

    def leave() -> None:
        raise _Left

    clock = Clock(2, orders, reports, now=lambda: now, leave=leave)
    with pytest.raises(_Left):
        for seconds, tokens in ((100, 1000), (50, 1000), (1, 10), (2, 10), (4, 10), (8, 10), (16, 10)):
            now += seconds
            clock.step(tokens, waited=seconds / 10)
    ready, first, second = map(json.loads, reports.getvalue().splitlines())
    assert ready == {}
    # Of two steps to warm up nothing counts; then 10 + 10 + 10 >= 25, then 10 >= 10, and no third order.
    assert first == {"tokens": 30, "steps": 3, "seconds": 7.0, "waited": pytest.approx(0.7)}
    assert second == {"tokens": 10, "steps": 1, "seconds": 8.0, "waited": pytest.approx(0.8)}


def test_work_of_a_token_is_what_torch_counts_over_unpadded_sentences() -> None:
    marian = Marian(TINY, attention="eager")
    marian.model.eval()
    lengths, total = ((5, 7), (8, 3), (2, 2)), 0
    for source, target in lengths:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            marian.model(input_ids=padded([[4] * source]), decoder_input_ids=padded([[4] * target]), use_cache=False)
        total += counter.get_total_flops()
    counted = work.flops_per_token(TINY, [s for s, _ in lengths], [t for _, t in lengths])
    assert counted == pytest.approx(3 * total / (7 + 3 + 2))


def test_a_training_step_by_hand_and_its_share_of_a_peak() -> None:
    """d 32, ffn 64, 2 + 2 layers, vocabulary 120; 6 rows of 8 and 8 positions, 40 of them scored."""
    positions = 6 * 8
    projections = 2 * 32 * 32
    feed_forward = 2 * 2 * 32 * 64
    scores = 2 * 2 * 8 * 32
    encoder = positions * (4 * projections + feed_forward + scores)
    decoder = positions * (8 * projections + feed_forward + 2 * scores)
    by_hand = 3 * (2 * (encoder + decoder) + 40 * 2 * 32 * 120)
    assert flops.training_step(TINY, 40) == by_hand
    assert flops.mfu(by_hand, seconds=2.0, peak=by_hand) == 0.5


def test_unsorted_batches_take_the_positions_of_their_longest_sentence() -> None:
    class Store:
        def lengths(self, side: str) -> np.ndarray:
            return np.array([1, 2, 9] * 50) if side == "source" else np.array([4] * 150)

    store = Store()
    assert work.sentences_for(store, 100) == 20  # type: ignore[arg-type]
    # Every twenty hold a source of nine tokens and EOS, but once in three thousand.
    assert work.unsorted_positions(store, 20) == pytest.approx(20 * 10, abs=1)  # type: ignore[arg-type]
    assert work.unsorted_positions(store, 1) == pytest.approx((5 + 5 + 10) / 3, abs=1)  # type: ignore[arg-type]


@pytest.fixture
def found() -> Fitted:
    """Two rounds; the machine is half as fast in the second."""
    return Fitted(
        TINY,
        "corpus",
        100,
        flops_per_token=10.0,
        laps={
            (OURS, "fp32"): [Lap(100, 2, 1.0, 0.01), Lap(100, 2, 2.0, 0.02)],
            ("trainer", "fp32"): [Lap(150, 1, 3.0), Lap(150, 1, 6.0)],
            ("joeynmt", "fp32"): [Lap(100, 1, 4.0), Lap(100, 1, 8.0)],
            (OURS, "bf16"): [Lap(100, 2, 0.5, 0.0), Lap(100, 2, 1.0, 0.0)],
        },
        product_rates={"fp32": [2000.0, 1000.0], "bf16": [4000.0, 2000.0]},
    )


def test_ratios_are_of_the_same_round(found: Fitted) -> None:
    assert found.ratio((OURS, "fp32"), ("trainer", "fp32")).low == pytest.approx(2.0)
    assert found.ratio((OURS, "fp32"), ("trainer", "fp32")).high == pytest.approx(2.0)
    assert found.ratio((OURS, "bf16"), (OURS, "fp32")).median == 2.0
    assert found.best_peer("fp32") == ("trainer", "fp32") and found.best_peer("bf16") is None
    assert found.share_of_peak((OURS, "fp32")) == 75.0 * 10 / 1500
    assert found.waited((OURS, "fp32")) == pytest.approx(0.01) and found.waited(("trainer", "fp32")) is None
    assert found.tokens_per_step((OURS, "fp32")) == 50


def test_the_tables_say_who_is_best_and_how_far(found: Fitted) -> None:
    printed = as_markdown(found, ENVIRONMENT)
    assert "| recambio train, fp32 | 75 (62.5-87.5) | 50% | 50 | 1.00% |" in printed
    assert "| fp32: recambio / HF Seq2SeqTrainer (the best peer) | **2.00** (2.00-2.00) |" in printed
    assert "| fp32: recambio / JoeyNMT train | **4.00** (4.00-4.00) |" in printed
    assert "| recambio: bf16 / fp32 | **2.00** (2.00-2.00) |" in printed
    stored = as_json(found, ENVIRONMENT)
    assert stored["rows"][1]["laps"] == [{"tokens": 150, "steps": 1, "seconds": s, "waited": None} for s in (3.0, 6.0)]


@pytest.mark.slow  # a process for each trainer; nothing users run depends on them
def test_a_round_of_each_trainer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`recambio train` and `Seq2SeqTrainer` in processes of their own, a few steps each."""
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "fit.json"
    arguments = ["fit", "--quick", "--threads", "1", "--json", str(path)]
    assert command.main([*arguments, "--only", "r, bf16"]) == 0  # only the trainer
    (peer,) = json.loads(path.read_text())["rows"]
    assert command.main([*arguments, "--only", "o, fp32"]) == 0  # only ours
    (ours,) = json.loads(path.read_text())["rows"]
    assert (peer["contender"], ours["contender"]) == ("trainer", OURS)
    for row in (peer, ours):
        (lap,) = row["laps"]
        assert lap["tokens"] >= 300 and lap["steps"] >= 1 and lap["seconds"] > 0
        # As many tokens a step as planned, within what so small a corpus scatters.
        assert row["tokens_per_step"] == pytest.approx(218, rel=0.5)
        assert 0 < row["share_of_peak"] < 1
    assert peer["waited"] is None and 0 <= ours["waited"] < 1
    assert "recambio train, fp32" in capsys.readouterr().out


def test_a_turn_of_joeynmt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("joeynmt", reason="bench: joeynmt is not installed")
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "fit.json"
    assert command.main(["fit", "--quick", "--threads", "1", "--json", str(path), "--only", "joeynmt, bf16"]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["laps"][0]["tokens"] >= 300 and row["tokens_per_step"] == pytest.approx(218, rel=0.5)


def test_the_trainer_is_fed_our_ids_and_counts_what_it_is_fed() -> None:
    from benchmarks.fit.huggingface import Counted, Pairs

    class Store:
        def source(self, index: int) -> np.ndarray:
            return np.array([10, 11][: index + 1])

        def target(self, index: int) -> np.ndarray:
            return np.array([20, 21, 22][index:])

    pairs = Pairs(Store(), eos_id=3)  # type: ignore[arg-type]
    assert pairs[0] == {"input_ids": [10, 3], "labels": [20, 21, 22, 3]}
    collator = Counted(lambda features: features)  # type: ignore[arg-type]
    assert collator([pairs[0], pairs[1]]) == [pairs[0], {"input_ids": [10, 11, 3], "labels": [21, 22, 3]}]
    collator([pairs[1]])
    assert list(collator.tokens) == [4 + 3, 3]


def test_a_failing_contender_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)nobody, fp32: exit 1 while training: .*KeyError: 'nobody'"):
        Running(work.Job("nobody", "fp32", "tiny", 1, str(tmp_path), 1, 1, has_files=False))


def test_the_gpu_script_on_a_tiny_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    arguments = ["--quick", "--no-compile", "--peak", "0.001", "--json", str(path), "--profile", str(tmp_path / "seen")]
    assert gpu.main(arguments) == 0
    printed = capsys.readouterr().out
    stored = json.loads(path.read_text())
    plain, padded_rows = ([r for r in stored["rows"] if (r["padding"] is None) == wanted] for wanted in (True, False))
    for row, positions in zip(plain, gpu.POSITIONS, strict=True):
        assert row["name"] == f"{positions}, eager" and f"| {positions}, eager |" in printed
        share = row["work"] / (row["seconds"][0] * 1e9)
        assert f"| {share:.1%} |" in printed
    assert plain[0]["tokens"] == pytest.approx(60, rel=0.3)
    chance, plan, whole = (row["padding"] for row in padded_rows)
    assert chance["positions"] > plan["positions"] > whole["positions"] == 0
    assert chance["products"] > plan["products"] > whole["products"] == pytest.approx(0, abs=1e-9)
    for row in padded_rows:
        assert f"| {row['name']} | {row['padding']['positions']:.1%} |" in printed and row["tokens"] > 0
    text = (tmp_path / "seen" / "profile-eager.txt").read_text()
    head = text.partition("\noperators by")[0]
    assert head in printed and text.startswith("sinusoidal, eager, profiled: ") and "aten::mm" in text
    shares = dict(re.findall(r"^  (\S.*?) +([\d.]+)%$", head, re.M))
    assert all(float(shares[k]) > 0 for k in ("forward pass", "loss", "backward pass", "matrix products"))


@pytest.mark.slow
def test_the_gpu_script_compiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--quick", "--profile", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    made = ("random order, padded", gpu.PLAN, "one length, no padding")
    assert all(f"| {row}, {mode} |" in printed for row in (*gpu.POSITIONS, *made) for mode in ("eager", "compiled"))
    assert "Compiled" in (tmp_path / "profile-compiled.txt").read_text()


def test_a_row_is_compared_by_its_tokens() -> None:
    ours, other = gpu.Measured("a", 30, 1, [1.0, 2.0]), gpu.Measured("b", 10, 1, [1.0, 1.0])
    # 30 and 15 tokens a second against 10.
    assert ours.rate_against(other).median == pytest.approx((3 + 1.5) / 2)


def test_what_batches_pad() -> None:
    lengths = Lengths(np.array([2, 4, 4]), np.array([3, 3, 5]))
    batches = [np.array([0, 1]), np.array([2])]
    found = padding(lengths, batches, TINY)
    # 2 x (4 + 3) + 1 x (4 + 5) positions for 21 tokens.
    assert found.tokens == pytest.approx(11 / 2) and found.positions == pytest.approx(1 - 21 / 23)
    work = flops.training_forward(TINY, 2, 4, 3, 6) + flops.training_forward(TINY, 1, 4, 5, 5)
    useful = sum(flops.training_forward(TINY, 1, s, t, t) for s, t in ((2, 3), (4, 3), (4, 5)))
    assert found.products == pytest.approx(1 - useful / work)
    assert padding(lengths, [np.array([i]) for i in range(3)], TINY).products == pytest.approx(0, abs=1e-9)


def test_batches_of_a_plan_and_of_chance_hold_each_sentence_once_and_as_many_tokens() -> None:
    lengths = synthetic_lengths(20_000)
    assert lengths.source.min() >= 2 and lengths.source.max() <= 64
    assert np.array_equal(lengths.source, synthetic_lengths(20_000).source)
    # As Tatoeba: 9.7 and 9.5 tokens a sentence.
    assert lengths.source.mean() == pytest.approx(9.7, rel=0.03) and lengths.target.mean() == pytest.approx(
        9.5, rel=0.03
    )
    for batches in (planned(lengths, 2_500), unsorted(lengths, 2_500)):
        assert sorted(np.concatenate(batches).tolist()) == list(range(20_000))
        assert np.mean([lengths.target[b].sum() for b in batches]) == pytest.approx(2_500, rel=0.05)


@pytest.mark.slow
def test_the_padding_of_a_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECAMBIO_CACHE", str(tmp_path / "cache"))
    sizes = ["data.corpus.train_size=300", "data.corpus.dev_size=5", "data.corpus.test_size=5"]
    assert padding_command(["tiny", *sizes, "data.tokenizer.vocabulary_size=400", "--tokens", "200"]) == 0
    printed = capsys.readouterr().out
    assert "pairs; tokens with EOS" in printed
    (chance, plan) = re.findall(r"^\| (?:random order|our plan) \| \d+ \| ([\d.]+)%", printed, re.M)
    assert float(chance) > float(plan) > 0


def test_the_gpu_script_needs_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "cuda: there is no GPU here; --quick" in capsys.readouterr().err
