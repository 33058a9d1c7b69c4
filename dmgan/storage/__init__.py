"""Files: atomic writes, weights, arrays, PNG, safe pickles, downloads."""
