"""Starting quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import torch and Lightning without looking for garbage, and never look among what they made.

    That are some million objects, all of which stay. Going through them again and again took a fifth of the start of a training.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
