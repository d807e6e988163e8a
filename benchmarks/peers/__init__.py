"""Our training step and our decoding beside those of other toolkits, on the same weights and the same token ids."""
