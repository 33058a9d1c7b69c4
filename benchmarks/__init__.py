"""Benchmarks of speed and memory: `python -m benchmarks.NAME` runs a benchmark, `python -m benchmarks` all of them."""
