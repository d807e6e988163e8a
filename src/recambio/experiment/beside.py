"""A file whose lines say something of the source's lines."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Generic, TypeVar

from recambio.errors import InputError

T = TypeVar("T")


class Beside(Generic[T]):
    """What stands beside the lines of a source, one value a line, taken as the lines come.

    Args:
        option: Where it comes from, for messages.
        values: In the order of the lines.
    """

    def __init__(self, option: str, values: Iterable[T]) -> None:
        self.option, self._waiting, self._taken = option, iter(values), 0

    def take(self, count: int) -> list[T]:
        """The values of the next lines.

        Raises:
            InputError: There are fewer.
        """
        found = list(islice(self._waiting, count))
        self._taken += len(found)
        if len(found) < count:
            raise InputError(
                f"{self.option}: ends before line {self._taken + 1}; it must have a line for each source line"
            )
        return found

    def end(self) -> None:
        """Say that there are no more lines.

        Raises:
            InputError: There are more values.
        """
        if next(self._waiting, None) is not None:
            raise InputError(
                f"{self.option}: goes on after line {self._taken}, the last of the source; it must have a line for each"
            )
