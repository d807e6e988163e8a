"""What happens around the optimiser steps: checkpoints, limits, profile, progress."""

from recambio.training.callbacks.agreement import Agreement
from recambio.training.callbacks.checkpoints import Checkpoints
from recambio.training.callbacks.interrupt import Interrupt
from recambio.training.callbacks.limits import Limits
from recambio.training.callbacks.profile import Profile
from recambio.training.callbacks.progress import Progress

__all__ = ["Agreement", "Checkpoints", "Interrupt", "Limits", "Profile", "Progress"]
