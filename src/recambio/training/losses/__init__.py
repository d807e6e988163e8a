"""The losses of the package, imported by name."""

from recambio.training.losses import cross_entropy, label_smoothing

__all__ = ["cross_entropy", "label_smoothing"]
