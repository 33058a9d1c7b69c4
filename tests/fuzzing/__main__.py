"""Try mutated and arbitrary inputs on every reader: python -m tests.fuzzing [--count N] [READER ...]

Counts are appended to the reliability table of the benchmarks. An input at which a reader fails is saved; it becomes a
test, then the reader is fixed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from benchmarks.reliability import Outcome, record
from tests.fuzzing.readers import READERS
from tests.fuzzing.seeds import make_seeds
from tests.fuzzing.trying import GROWTH_BYTES, Trial, kept_bytes

PARSERS = (  # readers that parse bytes
    "text", "JSON", "YAML", "pickle", "safetensors", "state dict", "PNG", "list, CSV", "captions of an image",
    "stored features", "FID statistics",
)  # fmt: skip


def main() -> int:
    """Try the readers; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__.partition(":")[0])
    parser.add_argument("reader", nargs="*", metavar="READER", help="readers to try (default: all)")
    parser.add_argument("--count", type=int, default=100_000, help="inputs for each reader (default 100000)")
    parser.add_argument("--seconds", type=float, default=600, help="most CPU seconds for each reader (default 600)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations (default 0)")
    parser.add_argument(
        "--coverage", type=int, default=0, metavar="N",
        help=f"also try N inputs that atheris finds by coverage on {', '.join(PARSERS)} (default 0)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="only name the readers")
    parser.add_argument(
        "--findings",
        type=Path,
        default=Path("results/fuzzing"),
        help="folder of failing inputs (default results/fuzzing)",
    )
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(READERS))
        return 0
    if unknown := sorted(set(arguments.reader) - set(READERS)):
        parser.error(f"reader {unknown[0]!r}: unknown; see --list")
    failed = 0
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # files in RAM: nothing waits for the disk
    with tempfile.TemporaryDirectory(prefix="dmgan-fuzzing-", dir=base) as temporary:
        make_seeds(Path(temporary, "seeds"))
        for number, name in enumerate(arguments.reader or READERS):
            trial = Trial(READERS[name], Path(temporary, "seeds"), Path(temporary, f"copy{number}"))
            failed += not _try(trial, arguments)
            for finding in trial.result.findings.values():
                print(f"    {finding.place}: {finding.what}: {finding.save(arguments.findings, name)}", flush=True)
        parsers = [name for name in arguments.reader or READERS if name in PARSERS and arguments.coverage]
        for name in parsers:
            failed += _try_by_coverage(name, Path(temporary), arguments)
    return int(failed > 0)


def _try(trial: Trial, arguments: argparse.Namespace) -> bool:
    """Try inputs until their number or the time is reached, print a line, and record the counts.

    Return whether every input was read or refused, and the memory did not grow.
    """
    name = next(name for name, reader in READERS.items() if reader is trial.reader)
    start, random = time.process_time(), Random(arguments.seed)
    while trial.result.tried < arguments.count and time.process_time() - start < arguments.seconds:
        trial.try_mutation(random)
    result, seconds = trial.result, time.process_time() - start
    kept = kept_bytes(trial, round(min(200, arguments.count / 10) * trial.reader.weight), arguments.seed)
    grows = kept >= GROWTH_BYTES
    print(
        f"{name}: {result.tried:,} inputs in {seconds:.0f} CPU s, {result.read:,} read, {result.refused:,} refused, "
        f"{result.failed:,} failed{f', keeps {kept:,} bytes' if grows else ''}",
        flush=True,
    )
    _record("mutated file", name, result.tried, result.read + result.refused, sorted(result.findings))
    return not result.failed and not grows


def _record(kind: str, name: str, tried: int, survived: int, findings: object) -> None:
    detail = "" if tried == survived else f"{findings} fail"
    record(Outcome("fuzz", kind, name, tried, survived, tracebacks=tried - survived, detail=detail))


def _try_by_coverage(name: str, folder: Path, arguments: argparse.Namespace) -> bool:
    """Try inputs that atheris finds, in a process that it instruments; return whether the reader failed."""
    copy = folder / f"coverage of {name.replace('/', ' ')}"
    words = [name, arguments.coverage, arguments.findings, folder / "seeds", copy]
    command = [sys.executable, "-m", "tests.fuzzing.coverage", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(f"{name}: atheris failed: {done.stderr[-2000:]}", flush=True)
        return True
    found = json.loads(lines[-1])
    print(f"{name}, by coverage: {found}", flush=True)
    _record("input found by coverage", name, found["tried"], found["read"] + found["refused"], found["failed"])
    return found["failed"] > 0


if __name__ == "__main__":
    sys.exit(main())
