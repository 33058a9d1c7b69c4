"""R-precision of 30,000 images with given embeddings, compared with the released code's loop on a subset.

The loop works like the released evaluation: for every image it draws 99 captions of other classes one by one and
computes 100 cosines. Both encode captions once; the released code encodes captions again for every image, which is not
counted.
"""

import argparse
import time

import numpy as np

from benchmarks import plot, record
from dmgan.evaluation.statistics.retrieval import CANDIDATES, mismatched_captions, retrieval_hits

CLASSES, EMBEDDING, POOL = 50, 256, 29_330  # CUB's test split


def literal_loop(embeddings, captions, own, pool_classes, class_ids) -> np.ndarray:
    """Return the hits by the released code's loop: per image 99 captions drawn one by one, and 100 cosines."""
    random, hits = np.random.default_rng(0), []
    for embedding, matching, class_id in zip(embeddings, own, class_ids, strict=True):
        candidates = [captions[matching]]
        while len(candidates) < CANDIDATES:
            drawn = random.integers(len(captions))
            if pool_classes[drawn] != class_id:
                candidates.append(captions[drawn])
        hits.append(first_is_nearest(embedding, candidates))
    return np.array(hits)


def first_is_nearest(embedding, candidates) -> bool:
    image = embedding.astype(np.float64)
    cosines = [image @ each / (np.linalg.norm(image) * np.linalg.norm(each)) for each in np.float64(candidates)]
    return int(np.argmax(cosines)) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30_000, help="images that are measured (default 30000)")
    parser.add_argument("--loop", type=int, default=300, help="images that the literal loop processes (default 300)")
    arguments = parser.parse_args()
    machine = record.machine()

    random = np.random.default_rng(0)
    pool_classes = np.sort(random.integers(CLASSES, size=POOL))
    captions = random.standard_normal((POOL, EMBEDDING), dtype=np.float32)
    own = random.integers(POOL, size=arguments.images)
    class_ids = pool_classes[own]
    embeddings = captions[own] + 4 * random.standard_normal((arguments.images, EMBEDDING), dtype=np.float32)

    started = time.process_time()
    mismatched = mismatched_captions(class_ids, pool_classes, seed=100)
    candidates = np.concatenate([own[:, None], mismatched], axis=1)
    hits = retrieval_hits(embeddings, captions, candidates)
    ours = time.process_time() - started

    some = slice(0, arguments.loop)
    started = time.process_time()
    literal_loop(embeddings[some], captions, own[some], pool_classes, class_ids[some])
    loop = (time.process_time() - started) / arguments.loop * arguments.images
    same = [
        first_is_nearest(image, captions[row]) for image, row in zip(embeddings[some], candidates[some], strict=True)
    ]

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
