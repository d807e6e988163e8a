"""The searches of the package, imported by name."""

from recambio.decoding.searches import beam, greedy

__all__ = ["beam", "greedy"]
