"""Speed, measured: every benchmark is `python -m benchmarks.NAME`; `python -m benchmarks` runs them all."""
