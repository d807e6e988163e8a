"""The searches of the package, imported by name."""

from recambio.decoding.searches import beam, diverse_beam, greedy, mbr, sample

__all__ = ["beam", "diverse_beam", "greedy", "mbr", "sample"]
