"""Milliseconds per query of every retrieval method, with a memory bank of COCO's 82,783 training images.

Keys are random, of the sizes that COCO's would have: five captions an image, 256 numbers a key, regions averaged to
8 x 8. Queries come in the batches of 256 that sampling searches with. Only `dmgan.models.retrieval.search` is
measured: encoding a caption and reading the retrieved image's features are not in it.
"""

import argparse
import statistics
import sys
import time
from types import SimpleNamespace

from benchmarks import plot, record
from benchmarks.record import Figure
from dmgan.errors import UserError
from dmgan.options import SEARCHES, MatchingOptions

NAME, TITLE = "retrieval", "Retrieval over COCO's 82,783 training images"
ENTRIES, CAPTIONS, EMBEDDING_DIM = 82_783, 5, 256
LONGEST, WORDS = 18, 11  # words of the longest caption, and of a query (COCO's mean)
WANTED = 5.0  # ms a query on two cores


def synthetic_keys(entries: int):
    """Return keys of `entries` images; words and regions repeat a block, which is fast and does not affect the time."""
    import torch
    from torch.nn import functional as F

    from dmgan.models.retrieval import REGION_SIDE

    random = torch.Generator().manual_seed(0)

    def repeated(count: int, *shape: int):
        block = F.normalize(torch.randn(1000, *shape, generator=random), dim=-1).to(torch.bfloat16)
        return torch.cat([block] * -(-count // 1000))[:count]

    def unit(count: int):
        return F.normalize(torch.randn(count, EMBEDDING_DIM, generator=random), dim=1)

    captions = entries * CAPTIONS
    return SimpleNamespace(
        caption_rows=torch.arange(captions).view(entries, CAPTIONS),
        sentences=unit(captions),
        words=repeated(captions, LONGEST, EMBEDDING_DIM),
        embeddings=unit(entries),
        regions=repeated(entries, REGION_SIDE**2, EMBEDDING_DIM),
    )


def queries(count: int):
    """Return captions of WORDS random words."""
    import torch

    from dmgan.text.damsm import EncodedCaptions

    random = torch.Generator().manual_seed(1)
    words = torch.randn(count, EMBEDDING_DIM, WORDS, generator=random)
    sentence = torch.randn(count, EMBEDDING_DIM, generator=random)
    lengths = torch.full((count,), WORDS)
    return EncodedCaptions(sentence, words, torch.zeros(count, WORDS, dtype=torch.bool), lengths)


def measure(entries: int, batch: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return wall and CPU milliseconds per query of every method and round; the methods alternate."""
    import torch

    from dmgan.models.retrieval import search

    keys, captions = synthetic_keys(entries), queries(batch)
    measured: dict[str, dict[str, list[float]]] = {method: {"wall": [], "cpu": []} for method in SEARCHES}
    with torch.inference_mode():
        for number in range(rounds + 1):  # the first round warms up and is not counted
            for method in SEARCHES:
                wall, cpu = time.perf_counter(), time.process_time()
                search(method, captions, keys, MatchingOptions())
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if number:
                    measured[method]["wall"].append(1e3 * wall / batch)
                    measured[method]["cpu"].append(1e3 * cpu / batch)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{NAME}", description=__doc__)
    parser.add_argument("--entries", type=int, default=ENTRIES, help=f"images of the memory bank (default {ENTRIES})")
    parser.add_argument("--batch", type=int, default=256, help="queries at a time (default 256)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurement (default 5)")
    parser.add_argument(
        "--threads",
        type=int,
        default=2,
        help="CPU threads (default 2)",
    )
    arguments = parser.parse_args()
    try:
        if min(arguments.entries, arguments.batch, arguments.rounds, arguments.threads) < 1:
            raise UserError("--entries, --batch, --rounds and --threads must be 1 or more")
    except UserError as error:
        print(f"benchmarks.{NAME}: {error}", file=sys.stderr)
        return 1
    from dmgan.runtime.allocator import keep_freed_memory

    keep_freed_memory()
    import torch

    torch.set_num_threads(arguments.threads)
    described = record.machine()
    measured = measure(arguments.entries, arguments.batch, arguments.rounds)
    figures = []
    for method, times in measured.items():
        figures.append(Figure(f"{method}, wall, fastest round", min(times["wall"]), "ms a query", at_most=WANTED))
        figures.append(Figure(f"{method}, CPU, fastest round", min(times["cpu"]), "ms a query", at_most=2 * WANTED))
    details = {
        "entries": arguments.entries, "captions": CAPTIONS, "batch": arguments.batch, "threads": arguments.threads,
        "median_wall_ms": {method: statistics.median(times["wall"]) for method, times in measured.items()},
        "rounds": measured,
    }  # fmt: skip
    record.write(NAME, TITLE, figures, described, details)
    panels = {"ms a query": {method: min(times["wall"]) for method, times in measured.items()}}
    note = f"{arguments.entries:,} entries, {arguments.threads} threads, fastest of {arguments.rounds} rounds"
    plot.bars(record.RESULTS / f"{NAME}.png", TITLE, panels, ours=SEARCHES, note=note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
