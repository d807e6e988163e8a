"""The optimizers of the package, imported by name."""

from recambio.training.optimizers import adam, adamw

__all__ = ["adam", "adamw"]
