"""Notes on a table, one topic a file."""
