"""Runs in the formats of other engines, and their checkpoints as runs."""
