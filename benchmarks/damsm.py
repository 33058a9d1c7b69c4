"""The DAMSM's word loss at batch 48, forward and backward: all captions at once against a loop over captions.

The matrix products of the loss, which both implementations need, are also measured alone: a lower bound of the time.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

from benchmarks import fresh, plot, record
from benchmarks.record import Figure
from dmgan.options import MatchingOptions

NAME, TITLE = "damsm", "DAMSM word loss, batch 48, forward and backward"
BATCH, EMBEDDING_DIM, SIDE, MAX_WORDS = 48, 256, 17, 18
USER, LOOP = "loop over captions, as a user would start it", "loop over captions, with our allocator"
OURS = "all captions at once"
PRODUCTS = "its matrix products"


def losses(device: str) -> dict[str, Callable[[], tuple]]:
    """Return both implementations, which give (loss, gradients of regions and words), and their matrix products."""
    import torch

    from benchmarks.training_baseline import words_loss
    from dmgan.training.damsm_loss import cross_entropies, pack_words, pad_words, word_scores

    torch.manual_seed(0)
    regions = torch.randn(BATCH, EMBEDDING_DIM, SIDE, SIDE, device=device) * 0.3
    words = torch.randn(BATCH, EMBEDDING_DIM, MAX_WORDS, device=device) * 0.3
    regions.requires_grad_(), words.requires_grad_()
    lengths = torch.arange(BATCH) % (MAX_WORDS - 7) + 8  # 8 to 18 words
    class_ids = torch.arange(BATCH, device=device) // 2  # every class twice
    gammas = MatchingOptions()

    mask = (torch.arange(MAX_WORDS)[None] >= lengths[:, None]).to(device)

    def at_once(regions, words, lengths, class_ids, gammas):
        layout = pack_words(words, lengths) if device == "cpu" else pad_words(words, mask)
        return cross_entropies(gammas.gamma3 * word_scores(regions, layout, gammas.gamma1, gammas.gamma2), class_ids)

    def differentiated(function: Callable) -> Callable[[], tuple]:
        def once() -> tuple:
            loss = sum(function(regions, words, lengths, class_ids, gammas))
            return loss.detach(), *torch.autograd.grad(loss, (regions, words))

        return once

    v = regions.detach().flatten(2)  # (I, E, R)
    e = torch.randn(int(lengths.sum()), EMBEDDING_DIM, device=device).expand(BATCH, -1, -1)  # (I, n, E): every word
    alpha = torch.rand(BATCH, e.shape[1], v.shape[2], device=device)

    def products() -> tuple:
        """Compute the matrix products of similarities and contexts, forward and backward."""
        c = torch.bmm(alpha, v.transpose(1, 2))
        d_v = torch.bmm(c.transpose(1, 2), alpha).baddbmm_(e.transpose(1, 2), alpha)
        return torch.bmm(e, v), torch.bmm(c, v), d_v, torch.bmm(alpha, v.transpose(1, 2))

    return {LOOP: differentiated(words_loss), OURS: differentiated(at_once), PRODUCTS: products}


def measure(name: str, repeats: int, threads: int, device: str) -> None:
    """Report the median seconds and the peak memory of an implementation."""
    if name != USER:
        from dmgan.runtime.allocator import keep_freed_memory

        keep_freed_memory()
    import torch

    torch.set_num_threads(threads)
    once = losses(device)[LOOP if name == USER else name]
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    seconds, cpu_seconds = [], []
    for _ in range(repeats + 1):
        started, cpu_started = time.perf_counter(), fresh.cpu_seconds()
        once()
        wait()
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(fresh.cpu_seconds() - cpu_started)
    measured = {"s": statistics.median(seconds[1:]), "cpu_s": statistics.median(cpu_seconds[1:])}
    fresh.report(measured | {"peak_mb": fresh.peak_mb()})


def compare(rounds: int, threads: int, device: str) -> None:
    """Measure both implementations alternately, compare their values, and write the result."""
    described = record.machine(device)
    common = ["--threads", str(threads), "--device", device]
    settings = {
        USER: ["--measure", USER, "--repeats", "3", *common],
        LOOP: ["--measure", LOOP, "--repeats", "3", *common],
        OURS: ["--measure", OURS, "--repeats", "20", *common],
        PRODUCTS: ["--measure", PRODUCTS, "--repeats", "20", *common],
    }
    runs = fresh.interleaved("benchmarks.damsm", settings, rounds)
    both = losses(device)
    (loop, loop_regions, _), (ours, our_regions, _) = both[LOOP](), both[OURS]()
    relative = float((our_regions - loop_regions).norm() / loop_regions.norm())
    figures = [
        *(Figure(name, fresh.median(runs[name], "s") * 1e3, "ms") for name in runs),
        Figure(f"against the {USER}", fresh.ratio(runs[USER], runs[OURS], "s"), "times as fast", at_least=20.0),
        Figure(f"against the {LOOP}", fresh.ratio(runs[LOOP], runs[OURS], "s"), "times as fast"),
        Figure(f"{PRODUCTS}, against the {LOOP}", fresh.ratio(runs[LOOP], runs[PRODUCTS], "s"), "times as fast"),
        Figure(f"CPU time, against the {LOOP}", fresh.ratio(runs[LOOP], runs[OURS], "cpu_s"), "times less"),
        Figure("difference of the loss, relative", abs(float(ours / loop) - 1), "", at_most=1e-6),
        Figure("difference of the regions' gradient, relative", relative, ""),
    ]
    details = {"rounds": rounds, "batch": BATCH, "threads": threads, "runs": runs}
    name = NAME if device == "cpu" else f"{NAME}-cuda"
    result = record.write(NAME, TITLE, figures, described, details, file=name)
    panels = {"ms, median of rounds": {each: fresh.median(runs[each], "s") * 1e3 for each in runs}}
    note = f"{described['cpu']}, {threads} threads, {device}; {rounds} rounds; {result.date}"
    plot.bars(record.RESULTS / f"{name}.png", TITLE, panels, [OURS], note)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.damsm", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each implementation (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda[:N] (default cpu)")
    parser.add_argument("--measure", choices=[USER, LOOP, OURS, PRODUCTS], help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.repeats, arguments.threads, arguments.device)
    else:
        compare(arguments.rounds, arguments.threads, arguments.device)
    return 0


if __name__ == "__main__":
    sys.exit(main())
