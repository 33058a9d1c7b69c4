"""The papers' tables, notes and comparisons, from metrics.json files."""
