"""The learning-rate schedules of the package, imported by name."""

from recambio.training.schedules import constant, cosine, inverse_sqrt, noam

__all__ = ["constant", "cosine", "inverse_sqrt", "noam"]
