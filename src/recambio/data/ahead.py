"""Makes the token store of a coming epoch beside the training: ``python -m recambio.data.ahead``, told by standard input.

A process of its own, since a thread would take time from the one that starts the device's work.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from recambio.data.sampled import SampledStores

_NICENESS = 10


def main() -> None:
    """Make what the job names, as long as the process that asked for it lives."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    job = json.load(sys.stdin)

    def check(done: int, total: int) -> None:
        if os.getppid() != job["parent"]:
            sys.exit(1)

    SampledStores.of_job(job).store(job["epoch"], check)


if __name__ == "__main__":
    main()
