"""Faults injected into every kind of job at random moments: `make chaos`, or `python -m benchmarks.chaos --help`.

`jobs` lists the jobs, `faults` the faults; `running` starts jobs and compares their results with those of
uninterrupted runs.
"""
