"""Decoding beside the engines: every contender at every precision in a process of its own, turn by turn."""
