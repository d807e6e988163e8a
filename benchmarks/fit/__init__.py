"""Training end to end: each toolkit's own trainer and loader over the same sentences, turn by turn."""
