"""What happens around the optimiser steps: checkpoints, limits, progress."""

from recambio.training.callbacks.checkpoints import Checkpoints
from recambio.training.callbacks.interrupt import Interrupt
from recambio.training.callbacks.limits import Limits
from recambio.training.callbacks.progress import Progress

__all__ = ["Checkpoints", "Interrupt", "Limits", "Progress"]
