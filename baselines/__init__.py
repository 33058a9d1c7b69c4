"""The other models, one paper's architecture per file."""
