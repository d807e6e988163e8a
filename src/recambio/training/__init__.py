"""Losses, optimizers and schedules by name, and the training loop around Lightning."""

from recambio.training import losses, optimizers, schedules

__all__ = ["losses", "optimizers", "schedules"]
