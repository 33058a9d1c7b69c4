"""The papers' tables and figures, drawn from metrics.json files and trained runs."""
