"""The machine and the process: devices, processes of a training, random numbers, provenance, progress."""
