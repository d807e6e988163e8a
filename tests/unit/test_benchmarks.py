"""The contenders of the benchmarks compute the same function; nothing here is timed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("transformers", reason="bench: transformers is not installed")

from benchmarks import __main__ as command
from benchmarks.peers import checks, flops, memory, report, timing
from benchmarks.peers.contender import Contender
from benchmarks.peers.contenders import CONTENDERS, OURS, same_weights, taking_part
from benchmarks.peers.marian import Marian
from benchmarks.peers.measure import Measured
from benchmarks.peers.sizes import EOS, PAD, SIZES, SOS, Row, row_named, rows_of, sentences, training_batch
from benchmarks.peers.weights import stir

TINY = SIZES["tiny"]
PEERS = [name for name in CONTENDERS if name != OURS]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A second thread slows models as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.no_grad()
def disturb(model: nn.Module) -> None:
    """Make every parameter matter."""
    stream = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        parameter.mul_(1.5).add_(torch.empty(parameter.shape).normal_(std=0.15, generator=stream))


@pytest.fixture
def contenders() -> Iterator[dict[str, Contender]]:
    """Fresh models with the same weights, dropout off.

    A fresh model's biases are zero, its norms do nothing and its attention is nearly uniform: a copy that forgets one of
    them would pass. So every parameter is disturbed.
    """
    made = dict(same_weights(TINY, disturb))
    for contender in made.values():
        contender.model.eval()
    yield made


def test_the_same_parameters_and_the_same_loss(contenders: dict[str, Contender]) -> None:
    found = checks.compare(contenders)
    assert found.problems == []
    assert len(set(found.parameters.values())) == 1
    assert found.frozen == {
        **{name: {} for name in contenders},
        # Tables of sines and cosines, 128 positions each.
        "marian": {f"model.{s}.embed_positions.weight": 128 * TINY.d_model for s in ("encoder", "decoder")},
    }
    losses = list(found.losses["fp32"].values())
    assert max(losses) - min(losses) < 1e-5


def test_the_loss_in_bf16_differs_by_rounding() -> None:
    losses = checks.compare(same_weights(TINY)).losses
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=2e-2)


@pytest.mark.parametrize("name", PEERS)
def test_unequal_weights_are_found(contenders: dict[str, Contender], name: str) -> None:
    """Whichever parameter differs, the comparison of the losses says so."""
    seen = set()
    pair = {OURS: contenders[OURS], name: contenders[name]}
    for path, parameter in contenders[name].model.named_parameters():
        if not parameter.requires_grad or path.endswith(("k_proj.bias", "k_layer.bias")):
            continue  # a bias of the keys shifts all scores of a query alike, which the softmax doesn't see
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(kept.flatten().roll(1).view_as(kept))
        assert [p.split(":")[0] for p in checks.compare(pair).problems] == [name], path
        with torch.no_grad():
            parameter.copy_(kept)
        seen.add(path)
    assert len(seen) > 20 and checks.compare(pair).problems == []


def test_training_steps_stay_equal(contenders: dict[str, Contender]) -> None:
    """Forward, backward, clipping and update: with dropout off the losses of later steps agree too."""
    batch = training_batch(TINY)
    losses = {name: [float(c.train_step(batch, "fp32")) for _ in range(4)] for name, c in contenders.items()}
    for name in PEERS:
        torch.testing.assert_close(losses[name], losses[OURS], atol=1e-4, rtol=0)
    assert losses[OURS][-1] < losses[OURS][0]


def test_gradients_are_of_equal_norm(contenders: dict[str, Contender]) -> None:
    batch, norms = training_batch(TINY), {}
    for name, contender in contenders.items():
        contender.loss(batch).backward()
        norms[name] = float(
            nn.utils.get_total_norm([p.grad for p in contender.model.parameters() if p.grad is not None])
        )
    for name in PEERS:
        assert norms[name] == pytest.approx(norms[OURS], rel=1e-4)


@pytest.mark.parametrize("contender", CONTENDERS)
def test_dropout_is_on_in_training_and_nowhere_else_than_stated(contender: str) -> None:
    made = CONTENDERS[contender].load()(TINY)
    batch = training_batch(TINY)
    made.prepare(Row("train", "fp32", TINY.training_batch))
    with torch.no_grad():
        assert float(made.loss(batch)) != float(made.loss(batch))
        # Embeddings of both sides, two sub-layers of each encoder layer, three of each decoder layer.
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        handles = [m.register_forward_hook(count) for m in made.model.modules() if _drops(m)]
        made.loss(batch)
    if contender == "marian":  # calls the function, not a module
        config = made.model.config
        assert (config.dropout, config.attention_dropout, config.activation_dropout) == (0.1, 0.0, 0.0)
    else:
        assert len(handles) and calls == 2 + 5 * TINY.n_layers


def _drops(module: nn.Module) -> bool:
    return "Dropout" in type(module).__name__ and getattr(module, "p", 0.0) > 0


@pytest.mark.parametrize("task", ["greedy", "beam"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_translations(task: str, precision: str) -> None:
    row = Row(task, precision, 5)  # type: ignore[arg-type]
    outputs = {name: c.prepare(row)() for name, c in same_weights(TINY, stir).items() if name in taking_part(row)}
    for output in outputs.values():
        assert isinstance(output, list)
        assert [len(tokens) for tokens in output] == [TINY.longest] * 5
        assert not {PAD, SOS, EOS} & {token for tokens in output for token in tokens}
    if precision == "fp32":
        # Equality of constants would say little.
        assert len({tuple(tokens) for tokens in outputs[OURS]}) == 5
        assert sum(len(set(tokens)) for tokens in outputs[OURS]) >= 10
        for output in outputs.values():
            assert checks.agreement(outputs[OURS], output) >= 0.99


def test_agreement_counts_places() -> None:
    assert checks.agreement([[1, 2, 3], [4]], [[1, 9, 3], [4]]) == 3 / 4
    assert checks.agreement([[1, 2]], [[1]]) == 1 / 2
    assert checks.agreement([], []) == 1.0


def test_batches_are_what_the_tables_say() -> None:
    size = SIZES["small"]
    batch = training_batch(size)
    assert batch.source.shape == (128, 32) and batch.decoder_input.shape == (128, 32)
    lengths = (batch.source != PAD).sum(1)
    assert int(lengths.min()) >= 18 and int(lengths.max()) == 32
    assert batch.target_tokens == int((batch.target[:, 1:] != PAD).sum()) == len(batch.labels)
    assert bool((batch.target[:, 0] == SOS).all())
    assert all(row[-1] == EOS and EOS not in row[:-1] for row in sentences(size, 64, seed=3))
    assert sentences(size, 4, seed=3) == sentences(size, 4, seed=3) != sentences(size, 4, seed=4)


def test_flops_are_what_torch_counts() -> None:
    """The formula against a count over plain attention, whose products torch can see; padding is projected there."""
    marian, batch = Marian(TINY, attention="eager"), training_batch(TINY)
    marian.model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        marian.loss(batch)
    rows, source = batch.source.shape
    target = batch.decoder_input.shape[1]
    assert counter.get_total_flops() == flops.training_forward(TINY, rows, source, target, rows * target)


def test_flops_of_decoding_are_what_torch_counts() -> None:
    """A greedy search with a cache over one unpadded sentence."""
    marian, source = Marian(TINY, attention="eager"), sentences(TINY, 1, seed=1)
    marian.prepare(Row("greedy", "fp32", 1))
    with FlopCounterMode(display=False) as counter:
        marian.greedy(source, TINY.longest)
    assert counter.get_total_flops() == flops.decoding(TINY, [len(source[0])], "greedy")


def test_rounds_alternate_and_the_first_are_discarded() -> None:
    calls: list[str] = []
    now = 0.0
    cost = {"a": 1.0, "b": 2.0, "c": 4.0}

    def run(name: str) -> str:
        nonlocal now
        calls.append(name)
        now += cost[name] if len(calls) > 6 else 100.0
        return name.upper()

    runs = {name: lambda name=name: run(name) for name in cost}
    seconds, results = timing.alternate(runs, n_rounds=2, n_discarded=2, clock=lambda: now)
    assert calls == list("abc" + "bca" + "cab" + "abc")
    assert seconds == {"a": [1.0, 1.0], "b": [2.0, 2.0], "c": [4.0, 4.0]}
    assert results == {"a": "A", "b": "B", "c": "C"}


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that slows down for some rounds changes no ratio."""
    assert timing.ratios([1.0, 10.0, 5.0], [2.0, 20.0, 10.0]) == timing.Spread(2.0, 2.0, 2.0)
    assert timing.spread([4.0, 1.0, 2.0, 3.0, 5.0]) == timing.Spread(3.0, 2.0, 4.0)
    assert timing.spread([7.0]) == timing.Spread(7.0, 7.0, 7.0)


def test_a_row_is_judged_against_the_fastest_peer() -> None:
    row = Measured(
        row=Row("train", "fp32", 6),
        tokens=100,
        sentences=6,
        flops=1000,
        seconds={OURS: [1.0, 1.0, 1.0], "marian": [2.0, 2.0, 2.0], "torch": [0.5, 0.5, 0.5]},
        product_rates={"square": 4000.0, "layer": 2000.0},
    )
    assert row.best_peer() == "torch"
    assert row.ratio("torch").median == 0.5 and row.ratio("marian").median == 2.0
    assert row.rate("marian").median == 50.0
    assert row.share_of_peak(OURS) == 0.25
    assert report.behind([row]) == [row]
    row.seconds["torch"] = [1.5, 1.5, 1.5]
    assert report.behind([row]) == []


def test_different_translations_void_a_float32_row() -> None:
    def measured(precision: str) -> Measured:
        row = Row("greedy", precision, 1)  # type: ignore[arg-type]
        return Measured(row, 8, 1, 1, {}, agreement={"marian": 0.5})

    assert "50.0%" in measured("fp32").problems()[0]
    assert measured("bf16").problems() == []


def test_every_row_has_its_name() -> None:
    rows = rows_of(TINY, "all")
    assert len({row.name for row in rows}) == len(rows) == 2 + 2 * 2 * 2
    assert all(row_named(row.name, TINY) == row for row in rows)
    assert "torch" not in taking_part(Row("greedy", "fp32", 64)) and "torch" in taking_part(Row("train", "fp32", 128))


def test_memory_is_that_of_the_contender_alone() -> None:
    """A peak is measured in a process that doesn't inherit this one's."""
    ballast = torch.ones(100 * 2**20 // 4)  # 100 MiB here must not show there
    peak = memory.peak_in_subprocess("torch", "train, batch 6, fp32", "tiny", threads=1)
    assert 0 < peak < 100 < ballast.numel()


def test_memory_of_a_failing_process_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        memory.peak_in_subprocess("torch", "no such row", "tiny", threads=1)


def test_the_command(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "bench.json"
    assert command.main(["all", "--quick", "--only", "fp32", "--threads", "1", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    stored = json.loads(path.read_text())
    assert [row["name"] for row in stored["rows"]] == [r.name for r in rows_of(TINY, "all") if r.precision == "fp32"]
    assert stored["environment"]["threads"] == 1 and stored["environment"]["versions"]["torch"] == torch.__version__
    for row in stored["rows"]:
        assert f"| {row['name']} |" in printed
        assert set(row["rates"]) == set(taking_part(row_named(row["name"], TINY)))
        assert all(rate["median"] > 0 for rate in row["rates"].values())
        assert all(share >= 0.99 for share in row["agreement"].values())
    assert stored["problems"] == []


def test_the_command_refuses_what_it_can_not_do(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, complaint in (
        (["--only", "nothing"], "no row has 'nothing'"),
        (["--repeats", "0"], "--repeats: must be at least 1"),
    ):
        with pytest.raises(SystemExit) as stop:
            command.main([*arguments, "--quick"])
        assert stop.value.code == 2
        assert complaint in capsys.readouterr().err
