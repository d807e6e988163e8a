"""What a user's wrong input raises: one line a problem, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(Exception):
    """The user's input is wrong; the command line prints each problem on one line and exits with 2.

    Args:
        problems: One text, or several to be reported together. Each reads
            ``where: what is wrong; what would be right``.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class RunError(Exception):
    """The run failed for a reason that is not the user's input; exit status 1."""
