"""Inject faults at random moments: python -m benchmarks.chaos [--faults WORD ...] [--jobs NAME ...] [--runs N].

Every outcome is appended to benchmarks/results/reliability.csv as it comes; benchmarks/reliability.md is written from
the file. The command ends with status 1 if a result is lost or wrong, or a traceback is printed.
"""

import argparse
import importlib
import pkgutil
import random
import sys
import tempfile
from pathlib import Path

from benchmarks import reliability
from benchmarks.chaos.jobs import APART, JOBS


def main() -> int:
    from benchmarks.chaos.faults import FAULTS

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--faults", nargs="+", default=[""], metavar="WORD",
        help=f"faults whose name holds one of these words (default: all): {'; '.join(FAULTS)}",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", nargs="+", default=[*JOBS, *APART], choices=[*JOBS, *APART], metavar="NAME",
        help=f"jobs (default: all): {'; '.join([*JOBS, *APART])}",
    )  # fmt: skip
    parser.add_argument("--runs", type=int, default=200, help="number of jobs with a fault (default: %(default)s)")
    parser.add_argument(
        "--first", type=int, default=1, metavar="N", help="begin with case N, as after an interruption (default 1)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choice of faults and moments (default: %(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="keep the references and the last case here (default: temporary)")
    parser.add_argument("--page", action="store_true", help="only write reliability.md, without injecting faults")
    arguments = parser.parse_args()
    if arguments.page:
        reliability.write_page()
        return 0
    chosen = [
        (fault, name)
        for fault in FAULTS.values()
        for name in fault.jobs
        if name in arguments.jobs and any(word in fault.name for word in arguments.faults)
    ]
    if not chosen:
        parser.error("no fault of these is injected into these jobs; see --help")
    with tempfile.TemporaryDirectory(prefix="dmgan-chaos-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        return _inject(chosen, arguments.first, arguments.runs, arguments.seed, folder.resolve())


def _inject(chosen: list, first: int, runs: int, seed: int, folder: Path) -> int:
    """Inject `runs` of the chosen faults in a random order, each pair of fault and job about equally often.

    Cases before number `first` are left out.
    """
    from benchmarks.chaos.cases import Case, Skipped
    from benchmarks.chaos.references import References

    _import_program()
    references = References(folder)
    order = random.Random(seed)
    failed, skipped, queue = 0, set(), []
    for number in range(runs):
        if not queue:
            queue = order.sample(chosen, len(chosen))
        fault, name = queue.pop()
        if number + 1 < first or fault.name in skipped:
            continue
        reference, cpu_seconds = references.of(name)
        job = JOBS.get(name) or APART[name]
        case = Case(
            job, fault.name, reference, folder / "case" / "work", cpu_seconds, random.Random(f"{seed} {number}")
        )
        try:
            outcome = fault.inject(case)
        except Skipped as reason:
            print(f"{fault.name}: skipped, {reason}", flush=True)
            skipped.add(fault.name)
            continue
        reliability.record(outcome)
        failed += outcome.failures > 0 or outcome.survived < outcome.tried
        state = "survived" if outcome.survived == outcome.tried else "FAILED"
        print(f"{number + 1}/{runs} {fault.name}, {name}: {state}; {outcome.detail}", flush=True)
    reliability.write_page()
    return int(failed > 0)


def _import_program() -> None:
    """Import all of the program once, so that a forked job starts at once."""
    import mlflow  # noqa: F401
    import torch

    import dmgan

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(dmgan.__path__, "dmgan."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


if __name__ == "__main__":
    sys.exit(main())
