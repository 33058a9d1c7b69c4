"""Files: written whole or not at all, weights, arrays, PNG, safe pickles, downloads."""
