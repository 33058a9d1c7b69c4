"""Captioned image sets: sources, prepared data sets and batches."""
