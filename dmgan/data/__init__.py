"""Captioned image sets: sources, the prepared folder and the reading of batches."""
