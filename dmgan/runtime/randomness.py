"""Counter-based random numbers: every draw is a pure function of seed, purpose and counters."""

import zlib

import numpy as np


def generator(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """Return a random generator that depends on its arguments only.

    Philox is counter-based: streams of different keys are independent. For example, the purpose separates the crop of
    image 5 from the noise of image 5. Pass at most two counters, which must be below 2**64.
    """
    counters = (*counters, 0, 0)[:2]
    key = np.array([seed, zlib.crc32(purpose.encode())], dtype=np.uint64)
    counter = np.array([0, 0, *counters], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
