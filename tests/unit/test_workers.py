"""Several processes translate one stream: in order, in bounded memory, and none is left behind."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from recambio.errors import InputError, RunError
from recambio.experiment.stream import Chunk, groups, numbered
from recambio.experiment.workers import Translate, Workers


def opened(device: str, name: str = "run") -> Translate:
    """Stands for a run: turns letters round, and does what some words say."""
    if name == "bad":
        raise InputError(["--n-best: can't be", "--align: can't be either"])
    if name == "deadly":
        os._exit(3)
    logging.getLogger("recambio").warning(f"{name} is opened")

    def translate(chunk: Chunk) -> Iterator[str]:
        for number, line in zip(chunk.numbers, chunk.lines, strict=True):
            if line == "sleep":
                time.sleep(0.3)
            elif line == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            elif line == "wrong":
                raise InputError(f"line {number}: the prefix is too long")
            elif line == "fail":
                raise ValueError("no such thing\nand more")
            elif line == "long":
                logging.getLogger("recambio.experiment").warning(f"line {number}: split")
            yield f"{os.getpid()} {number} {line[::-1]}"

    return translate


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_lines_come_in_order_from_all_workers_and_none_is_left(caplog: pytest.LogCaptureFixture) -> None:
    random.seed(5)
    lines = [random.choice(["sleep", "some words", "", "long"] + ["abc"] * 40) for _ in range(400)]
    lines[300] = "long"
    with caplog.at_level(logging.WARNING, "recambio"), Workers(opened, ["cpu", "cpu"]) as workers:
        for _ in range(2):  # a second stream finds them ready
            found = [line.split(" ", 2) for line in workers.stream(numbered(groups(iter(lines), 7)))]
            assert [int(number) for _, number, _ in found] == list(range(1, 401))
            assert [text for _, _, text in found] == [line[::-1] for line in lines]
            pids = {int(pid) for pid, _, _ in found}
            assert len(pids) == 2 and os.getpid() not in pids
    said = [f"line {i}: split" for i, line in enumerate(lines, 1) if line == "long"]
    assert [r.getMessage() for r in caplog.records] == [*said, *said], (
        "in order; who starts them has opened the run too"
    )
    assert not any(alive(pid) for pid in pids)


def test_reading_stops_where_nobody_takes_what_is_done() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "a"

    with Workers(opened, ["cpu"]) as workers:
        stream = workers.stream(numbered(groups(endless(), 10)))
        taken = [next(stream) for _ in range(100)]
        time.sleep(0.3)
        assert len(taken) == 100 and read <= 100 + (4 + 2) * 10


def test_wrong_input_is_one_devices_error_after_the_lines_before() -> None:
    lines = ["sleep", "a", "b", "c", "wrong", "d", "e", "f"]
    with Workers(opened, ["cpu", "cpu"]) as workers:
        found = []
        with pytest.raises(InputError, match=r"^line 5: the prefix is too long$"):
            for line in workers.stream(numbered(groups(iter(lines), 2))):
                found.append(line.split()[1])
        assert found == ["1", "2", "3", "4"]
        with pytest.raises(InputError, match="--prefix-file: ends before line 4"):
            list(workers.stream(numbered(groups(iter(lines), 2), iter(["x"] * 3))))
        with pytest.raises(
            RunError, match=r"^lines 3 to 4, worker [12] of 2 \(cpu\): ValueError: no such thing \(--debug"
        ) as e:
            list(workers.stream(numbered(groups(iter(["a", "b", "c", "fail"]), 2))))
        assert 'raise ValueError("no such thing' in str(e.value.__cause__), "the worker's traceback"


@pytest.mark.parametrize("name", ["bad", "deadly"])
def test_a_run_that_cant_be_opened(name: str) -> None:
    with pytest.raises((InputError, RunError)) as error:
        Workers(partial(opened, name=name), ["cpu", "cpu"]).__enter__()
    if name == "bad":
        assert isinstance(error.value, InputError)
        assert error.value.problems == ["--n-best: can't be", "--align: can't be either"]
    else:
        assert str(error.value).startswith("worker 1 of 2 (cpu): process ")
        assert str(error.value).endswith("ended with 3; it held no lines")


def test_a_worker_that_dies_ends_it_at_once_and_says_what_it_held() -> None:
    with Workers(opened, ["cpu", "cpu"]) as workers:
        pids = [worker.process.pid or 0 for worker in workers._workers]
        lines = ["sleep"] * 40 + ["die"] + ["sleep"] * 40  # the other worker has 12 seconds of work before that line
        start = time.monotonic()
        with pytest.raises(
            RunError, match=r"worker . of 2 \(cpu\): process \d+ was killed by SIGKILL; it held lines 41 to 80"
        ):
            list(workers.stream(numbered(groups(iter(lines), 40))))
        assert time.monotonic() - start < 5
    assert not any(map(alive, pids))


def test_an_idle_worker_is_missed_too() -> None:
    release = threading.Event()

    def waits() -> Iterator[str]:
        yield "a"
        release.wait(20)

    with Workers(opened, ["cpu", "cpu"]) as workers:
        stream = workers.stream(numbered(groups(waits(), 1)))
        assert next(stream).endswith("1 a")
        os.kill(workers._workers[1].process.pid or 0, signal.SIGTERM)
        with pytest.raises(RunError, match="was killed by SIGTERM; it held no lines"):
            next(stream)
        release.set()


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(
        "import test_workers as t\n"
        "if __name__ == '__main__':\n"
        "    with t.Workers(t.opened, ['cpu', 'cpu']) as workers:\n"
        "        for line in workers.stream(t.numbered([['a'], ['sleep'] * 1000, ['sleep'] * 1000])):\n"
        "            print(*(worker.process.pid for worker in workers._workers), flush=True)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    parent = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2 and all(map(alive, pids))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.02)
    parent.stdout.close()


def test_which_devices_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    from recambio.experiment.devices import chosen  # not above: it brings torch, which no worker of these tests needs

    def machine(n_gpus: int) -> None:
        monkeypatch.setattr("torch.cuda.is_available", lambda: n_gpus > 0)
        monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)

    machine(0)
    assert [chosen(d) for d in ("auto", "1", "3", "cpu,cpu")] == [["cpu"], ["cpu"], ["cpu"] * 3, ["cpu"] * 2]
    machine(2)
    assert chosen("auto") == chosen("2") == ["cuda:0", "cuda:1"]
    assert [chosen(d) for d in ("1", "cuda:1", "cuda:0,cuda:0")] == [["cuda:0"], ["cuda:1"], ["cuda:0"] * 2]
    for n_gpus, devices, problem in (
        (2, "3", "--devices 3: there are 2 GPUs; name cpu or cuda:0 several times for more processes"),
        (1, "cuda:0,cuda:1", "--devices cuda:0,cuda:1: no device cuda:1; there is 1 GPU"),
        (0, "cuda:0", "--devices cuda:0: no device cuda:0; there is no GPU"),
        (0, "0", "--devices 0: must be a number from 1, auto, or devices such as cuda:0,cuda:1 or cpu, but holds '0'"),
        (
            0,
            "cpu,",
            "--devices cpu,: must be a number from 1, auto, or devices such as cuda:0,cuda:1 or cpu, but holds ''",
        ),
        (
            0,
            "gpu",
            "--devices gpu: must be a number from 1, auto, or devices such as cuda:0,cuda:1 or cpu, but holds 'gpu'",
        ),
    ):
        machine(n_gpus)
        with pytest.raises(InputError) as error:
            chosen(devices)
        assert error.value.problems == [problem]
