"""Whether memory grows with the corpus: synthetic pairs through the whole data path, watched from outside. Run

    python -m benchmarks.corpus_size --pairs 20000000 --folder /somewhere/with/12/GB

It writes the text, then runs `recambio data prepare` twice (the second finds all of it), a few steps of `recambio train`, and a whole
epoch of the loader without a model, each in a process of its own. Of each it prints the time and the highest resident size (`VmHWM`),
and how much of that was the process's own at most (`RssAnon`). The other pages are of files that it has mapped, libraries above all.

With `--limit`, training and the loader come once more in a memory cgroup of so many MiB, where what the system keeps of files that they
read counts as well, and with nothing of the token store kept at first. With `--keep`, the next call on the folder finds what is there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

_BLOCK = 100_000
_CONTENT_WORDS = 60_000
# So that `language` has something to read.
_ENGLISH = "the of and to in is that it for was with you not be are this have from or had by but what all were".split()  # noqa: SIM905
_SPANISH = "de la que el en y los se del las un por con una su para es lo como más pero sus ya este sí".split()  # noqa: SIM905
_CONSONANTS, _VOWELS = "b c d f g l m n p r s t v br cr pl tr".split(), "a e i o u an er".split()  # noqa: SIM905
_SYLLABLES = [c + v for c in _CONSONANTS for v in _VOWELS]

PLANTED = {
    "duplicate": 0.02,
    "empty side": 0.002,
    "not UTF-8": 0.0001,
    "too long": 0.001,
    "copy": 0.005,
    "length ratio": 0.005,
}
"""The share of lines that each is planted in, by the reason that the report gives."""

CONFIG = """\
extends: {base}
name: big
data:
  root: {root}
  corpus: {{name: moses, train: train, dev: dev}}
  tokenizer: {{name: unigram, vocabulary_size: 16000}}
  batch_tokens: 16384
  max_length: 100
model: {{d_model: 32, n_heads: 2, d_ff: 64, encoder: {{n_layers: 1}}, decoder: {{n_layers: 1}}}}
training: {{max_steps: 20, validate_every: 20, log_every: 10}}
trainer: {{accelerator: cpu, devices: 1}}
"""


def blocks(pairs: int, seed: int) -> Iterator[tuple[list[bytes], list[bytes], dict[str, int]]]:
    """Lines of both sides, a hundred thousand at a time, and how many of each fault are planted in them."""
    random = np.random.default_rng(seed)
    words = ["".join(random.choice(_SYLLABLES, size)) for size in random.integers(2, 5, _CONTENT_WORDS)]
    sides = [[*_ENGLISH, *words], [*_SPANISH, *(w + "o" for w in words)]]
    common = len(_ENGLISH)
    frequency = 1 / np.arange(10, 10 + _CONTENT_WORDS)
    ends = np.cumsum(frequency / frequency.sum())
    last: tuple[bytes, bytes] | None = None
    for start in range(0, pairs, _BLOCK):
        count = min(_BLOCK, pairs - start)
        lengths = 4 + random.poisson(random.gamma(2.5, 4.0, count))
        total = int(lengths.sum())
        ids = common + np.searchsorted(ends, random.random(total))
        is_common = random.random(total) < 0.4
        ids[is_common] = random.integers(0, common, int(is_common.sum()))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).tolist()
        tokens = ids.tolist()
        lines: list[list[bytes]] = []
        for side in sides:
            text = list(map(side.__getitem__, tokens))
            lines.append([" ".join(text[a:b]).encode() for a, b in itertools.pairwise(offsets)])
        source, target = lines
        draw = random.random(count)
        planted = dict.fromkeys(PLANTED, 0)
        low = 0.0
        for reason, share in PLANTED.items():
            for index in np.flatnonzero((low <= draw) & (draw < low + share)).tolist():
                if reason == "duplicate":
                    if last is None:
                        continue
                    source[index], target[index] = last
                elif reason == "empty side":
                    target[index] = b""
                elif reason == "not UTF-8":
                    source[index] += b"\xff"
                elif reason == "too long":
                    source[index] = target[index] = b" ".join([source[index]] * 100)
                elif reason == "copy":
                    source[index] = target[index]
                else:
                    target[index] = b" ".join([target[index]] * 12)
                planted[reason] += 1
            low += share
        yield source, target, planted
        whole = int(np.argmax(draw >= low))
        last = source[whole], target[whole]


def write(folder: Path, pairs: int, seed: int = 1) -> dict[str, int]:
    """Write ``train`` and ``dev``. Returns: how many faults of each kind ``train`` holds."""
    planted = dict.fromkeys(PLANTED, 0)
    with (folder / "train.en").open("wb") as source_file, (folder / "train.es").open("wb") as target_file:
        for source, target, here in blocks(pairs, seed):
            source_file.write(b"\n".join(source) + b"\n")
            target_file.write(b"\n".join(target) + b"\n")
            planted = {reason: count + here[reason] for reason, count in planted.items()}
    source, target, _ = next(blocks(1_000, seed + 1))
    for name, side in (("dev.en", source), ("dev.es", target)):
        good = [line for line, s, t in zip(side, source, target, strict=True) if s and t and not s.endswith(b"\xff")]
        (folder / name).write_bytes(b"\n".join(good) + b"\n")
    return planted


def status(pid: int) -> dict[str, int]:
    """The lines of ``/proc/PID/status`` that tell sizes, in KiB; empty when the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


@contextmanager
def memory_group(
    limit: int, listing: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[Path]:
    """A cgroup for processes that may have so many MiB together, removed in the end.

    Raises:
        SystemExit: None can be made here.
    """
    groups = [line.split(":", 2)[1:] for line in listing.read_text().splitlines()] if listing.exists() else []
    old = [path for controllers, path in groups if "memory" in controllers.split(",")]
    new = [path for controllers, path in groups if not controllers]
    # Groups of version 2 that hold processes have no others with a limit within them, but beside them.
    parents = [*(root / "memory" / p.lstrip("/") for p in old), *((root / p.lstrip("/")).parent for p in new)]
    name = "memory.limit_in_bytes" if old else "memory.max"
    group = (parents or [root])[0] / f"corpus_size-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        raise SystemExit(f"--limit: a memory cgroup can't be made here ({error})") from error
    try:
        if not (group / name).exists():
            raise SystemExit(f"--limit: a memory cgroup can't be made here (the system gives {group} no {name})")
        (group / name).write_text(str(limit << 20))
        yield group
    finally:
        group.rmdir()


def forget(folder: Path) -> None:
    """Have the system keep nothing of a folder's files in memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def watched(
    what: str, command: Sequence[str], cache: Path, environment: dict[str, str], log: Path, group: Path | None = None
) -> None:
    """Run a command and print what it took, and what each stage of preparing took if it prepares."""
    if group is not None:
        forget(cache / "tokens")
        command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"), *command]
    began = since = time.perf_counter()
    done = set(_published(cache))
    resident = own = stage_own = 0
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
        while process.poll() is None:
            sizes = status(process.pid)
            resident = max(resident, sizes.get("VmHWM", 0))
            stage_own = max(stage_own, sizes.get("RssAnon", 0))
            for name in sorted(set(_published(cache)) - done):
                now = time.perf_counter()
                row(f"&nbsp;&nbsp;until `{name}` is there", now - since, resident, stage_own)
                done.add(name)
                since, own, stage_own = now, max(own, stage_own), 0
            time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{what}: ended with {process.returncode}; see {log}")
    row(what, time.perf_counter() - began, resident, max(own, stage_own))


def _published(cache: Path) -> list[str]:
    """The results in the cache, without their keys; those of ``tokens`` by the number of them."""
    found = [path for path in cache.glob("*/*") if not path.name.startswith(".")]
    stages = [path.parent.name for path in found if path.parent.name in ("clean", "tokenizer", "tokens")]
    return [f"{stage}/{number}" for stage in set(stages) for number in range(1, stages.count(stage) + 1)]


def row(what: str, seconds: float, resident: int, own: int) -> None:
    """Print a row of the table."""
    print(f"| {what} | {seconds:.0f} s | {resident / 1024:,.0f} MiB | {own / 1024:,.0f} MiB |", flush=True)


def loader(config_file: Path) -> None:
    """Go through a whole epoch of training batches as a run does, without a model.

    Raises:
        SystemExit: A sentence doesn't come exactly once, or a step doesn't hold the tokens that the plan says.
    """
    from recambio.config import load
    from recambio.experiment.prepare import prepared
    from recambio.training.datamodule import TranslationData

    config = load(config_file, [])
    found = prepared(config, is_quiet=True)
    ids = {name: getattr(found.tokenizer, name) for name in ("pad_id", "sos_id", "eos_id")}
    train, batch_tokens = found.stores["train"], config.values.data.batch_tokens
    data = TranslationData(train, None, **ids, seed=1, batch_tokens=batch_tokens)
    seen = np.zeros(len(train), np.uint8)
    for step in data.training_steps(ranks=1, rank=0):
        if step.epoch:
            break
        if step.target_tokens != sum(batch.target_tokens for batch in step.batches):
            raise SystemExit("a step's tokens are not those of its batches")
        for batch in step.batches:
            seen[batch.ids.numpy()] += 1
    if (seen != 1).any():
        raise SystemExit(f"{int((seen != 1).sum())} of {len(seen)} sentences did not come exactly once")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, help="a new folder, takes 0.6 KB a pair; or one that --keep left")
    parser.add_argument("--limit", type=int, metavar="MIB", help="training and loader once more in so much memory")
    parser.add_argument("--loader", type=Path, metavar="CONFIG", help="only the epoch of the loader, on prepared data")
    parser.add_argument("--keep", action="store_true", help="leave the folder when done")
    arguments = parser.parse_args()
    if arguments.loader:
        return loader(arguments.loader)
    if arguments.folder is None:
        parser.error("--folder is needed")
    folder: Path = arguments.folder.resolve()
    config = folder / "big.yaml"
    if folder.exists() and not config.is_file():
        parser.error(f"--folder: {folder} exists, and holds no corpus that --keep left")
    with ExitStack() as stack:
        group = None if arguments.limit is None else stack.enter_context(memory_group(arguments.limit))
        if not config.is_file():
            make(folder, arguments.pairs)
        rows(config, group, arguments.limit)
    if not arguments.keep:
        shutil.rmtree(folder)


def make(folder: Path, pairs: int) -> None:
    """Write the text, and then the config that says that it is whole."""
    folder.mkdir(parents=True)
    began = time.perf_counter()
    planted = write(folder, pairs)
    size = sum(path.stat().st_size for path in folder.glob("train.*"))
    print(f"{pairs:,} pairs, {size / 1e9:.2f} GB of text, written in {time.perf_counter() - began:.0f} s")
    print(f"planted: {json.dumps(planted)}")
    base = Path(__file__).resolve().parents[1] / "experiments" / "base.yaml"
    (folder / "big.yaml").write_text(CONFIG.format(base=base, root=folder))


def rows(config: Path, group: Path | None, limit: int) -> None:
    """Run everything and print the table."""
    folder = config.parent
    cache, log = folder / "cache", folder / "log.txt"
    environment = {**os.environ, "RECAMBIO_CACHE": str(cache)}
    run = [sys.executable, "-m", "recambio"]
    train, epoch = [*run, "train", str(config)], [sys.executable, __file__, "--loader", str(config)]
    print("| | time | most resident | of it the process's own |\n| --- | --- | --- | --- |")
    watched("`recambio data prepare`", [*run, "data", "prepare", str(config)], cache, environment, log)
    watched("again", [*run, "data", "prepare", str(config)], cache, environment, log)
    os.chdir(folder)
    for where in (None,) if group is None else (None, group):
        what = "" if where is None else f", in a cgroup of {limit:,} MiB"
        watched(f"`recambio train`, 20 steps{what}", train, cache, environment, log, where)
        watched(f"a whole epoch of the loader, no model{what}", epoch, cache, environment, log, where)


if __name__ == "__main__":
    main()
