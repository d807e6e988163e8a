"""Peak memory of one contender at one row, in a process of its own.

``python -m benchmarks.peers.memory CONTENDER ROW SIZE THREADS`` prints MiB over what the imports took.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def peak_in_subprocess(contender: str, row: str, size: str, threads: int) -> float:
    """MiB at the peak of two runs, over the resident memory after the imports.

    Raises:
        RuntimeError: The process failed; its last words are in the text.
    """
    command = [sys.executable, "-m", "benchmarks.peers.memory", contender, row, size, str(threads)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{contender}, {row}: exit {done.returncode}: {done.stderr.strip()[-500:]}")
    return float(done.stdout)


def _resident() -> float:
    """MiB resident now; where the system doesn't say, the peak so far."""
    return _status("VmRSS")


def _peak() -> float:
    """MiB resident at the peak of this process.

    Not ``ru_maxrss`` on Linux: a process that another one spawns starts with that one's figure.
    """
    return _status("VmHWM")


def _status(key: str) -> float:
    status = Path("/proc/self/status")
    if status.is_file():
        return next(int(line.split()[1]) / 2**10 for line in status.read_text().splitlines() if line.startswith(key))
    # macOS counts in bytes, the others in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(arguments: list[str]) -> None:
    """Two runs, so that the optimizer's state, which the first makes, stands while the second peaks."""
    import torch

    from benchmarks.peers.contenders import CONTENDERS
    from benchmarks.peers.sizes import SIZES, row_named

    name, row_name, size_name, threads = arguments
    torch.set_num_threads(int(threads))
    contender = CONTENDERS[name].load()
    before = _resident()
    size = SIZES[size_name]
    run = contender(size).prepare(row_named(row_name, size))
    run()
    run()
    print(_peak() - before)


if __name__ == "__main__":
    main(sys.argv[1:])
