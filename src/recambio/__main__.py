"""``python -m recambio``."""

from __future__ import annotations

from recambio.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
