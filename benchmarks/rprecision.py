"""R-precision of 30,000 images given encodings, against the literal loop on some of them.

The loop does what the released evaluation does with one image: draws 99 captions of other classes one by one and takes
100 cosines. Captions are encoded once in both; encoding them anew for each image, as that code does, is not counted.
"""

import argparse
import time

import numpy as np

from benchmarks import plot, record
from dmgan.evaluation.rprecision import CANDIDATES, mismatched_captions, retrieval_hits

CLASSES, EMBEDDING, POOL = 50, 256, 29_330  # CUB's test split


def literal_loop(codes, captions, own, pool_classes, class_ids) -> np.ndarray:
    """The released code's way: image by image, 99 captions drawn one by one, a cosine each."""
    random, hits = np.random.default_rng(0), []
    for code, matching, class_id in zip(codes, own, class_ids, strict=True):
        candidates = [captions[matching]]
        while len(candidates) < CANDIDATES:
            drawn = random.integers(len(captions))
            if pool_classes[drawn] != class_id:
                candidates.append(captions[drawn])
        hits.append(first_is_nearest(code, candidates))
    return np.array(hits)


def first_is_nearest(code, candidates) -> bool:
    code = code.astype(np.float64)
    cosines = [code @ each / (np.linalg.norm(code) * np.linalg.norm(each)) for each in np.float64(candidates)]
    return int(np.argmax(cosines)) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30_000, help="images that are judged (default 30000)")
    parser.add_argument("--loop", type=int, default=300, help="images that the literal loop does (default 300)")
    arguments = parser.parse_args()
    machine = record.machine()

    random = np.random.default_rng(0)
    pool_classes = np.sort(random.integers(CLASSES, size=POOL))
    captions = random.standard_normal((POOL, EMBEDDING), dtype=np.float32)
    own = random.integers(POOL, size=arguments.images)
    class_ids = pool_classes[own]
    codes = captions[own] + 4 * random.standard_normal((arguments.images, EMBEDDING), dtype=np.float32)

    started = time.process_time()
    mismatched = mismatched_captions(class_ids, pool_classes, seed=100)
    candidates = np.concatenate([own[:, None], mismatched], axis=1)
    hits = retrieval_hits(codes, captions, candidates)
    ours = time.process_time() - started

    some = slice(0, arguments.loop)
    started = time.process_time()
    literal_loop(codes[some], captions, own[some], pool_classes, class_ids[some])
    loop = (time.process_time() - started) / arguments.loop * arguments.images
    same = [first_is_nearest(code, captions[row]) for code, row in zip(codes[some], candidates[some], strict=True)]

    unequal = int((np.array(same) != hits[some]).sum())
    figures = [
        record.Figure(f"R-precision of {arguments.images:,} encoded images", ours, "CPU-s", at_most=20),
        record.Figure("the literal loop's CPU time over ours", loop / ours, "times"),
        record.Figure("hits that differ from the loop's on the same captions", unequal, "images", at_most=0),
    ]
    details = {"captions": POOL, "embedding": EMBEDDING, "loop_measured_on": arguments.loop}
    record.write("rprecision", "R-precision given encodings", figures, machine, details)
    panel = {"CPU-s": {"vectorised": ours, "literal loop": loop}}
    plot.bars(record.RESULTS / "rprecision.png", f"R-precision of {arguments.images:,} images", panel, ["vectorised"])


if __name__ == "__main__":
    main()
