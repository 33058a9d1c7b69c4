"""The machine and the process: devices, distributed training, random numbers, provenance, progress."""
