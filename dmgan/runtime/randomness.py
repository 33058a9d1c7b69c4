"""Counter-based random numbers: every draw is a pure function of a seed and of what it is for."""

import zlib

import numpy as np


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A generator that depends on nothing but its arguments.

    Philox is counter-based, so streams of different keys are independent; the purpose keeps, say, the
    crop of image 5 apart from the noise of image 5. At most two counters, each below 2**64.
    """
    counters = (*counters, 0, 0)[:2]
    key = np.array([seed, zlib.crc32(purpose.encode())], dtype=np.uint64)
    counter = np.array([0, 0, *counters], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
