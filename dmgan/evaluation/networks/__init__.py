"""Networks that evaluations read: one file per feature extractor."""
