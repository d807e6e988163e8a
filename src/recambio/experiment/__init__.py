"""Runs: their folders, training, evaluation and what is reported of them."""
