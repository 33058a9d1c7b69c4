"""What a job costs before its first step, and what waiting threads cost beside other programs.

Imports: CPU seconds of the packages that a job imports, and of the compiler, which jobs without `--compile` leave out.
Threads: seconds of a step with all threads, if waiting threads sleep (as the project sets them) and if they spin
(OpenMP's default), on this machine as it is and beside other processes that compute.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import plot, record
from dmgan.runtime.threads import available_threads

_TITLE = "Start of a job, and waiting threads"
_IMPORTS = {
    "torch": "import torch",
    "torch and its compiler": "import torch, torch._dynamo",
    "MLflow's client": "import mlflow; mlflow.MlflowClient",
    "Snakemake": "import snakemake.cli",
}
_STEP = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
layers = []
for count in (3, 16, 16):
    layers += [torch.nn.Conv2d(count, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU()]
network, images = torch.nn.Sequential(*layers), torch.randn(16, 3, 32, 32)
seconds = []
for _ in range(int(sys.argv[2]) + 3):
    start = time.perf_counter()
    network(images).sum().backward()
    seconds.append(time.perf_counter() - start)
print(sum(seconds[3:]) / (len(seconds) - 3))
"""


def import_seconds(statement: str) -> float:
    """Return the CPU seconds of a Python process that runs `statement`, without those of Python itself."""
    both = []
    for code in (statement, "pass"):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        both.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return both[0] - both[1]


def step_seconds(policy: str, threads: int, steps: int) -> float:
    """Return the seconds of a small training step whose waiting threads are PASSIVE (sleep) or ACTIVE (spin)."""
    command = [sys.executable, "-c", _STEP, str(threads), str(steps)]
    environment = os.environ | {"OMP_WAIT_POLICY": policy, "OMP_NUM_THREADS": str(threads)}
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def _compute() -> None:
    while True:
        pass


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Run processes that compute without end beside the block."""
    workers = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="steps of every measurement (default 30)")
    arguments = parser.parse_args()
    machine, threads = record.machine(), available_threads()
    imports = {name: import_seconds(statement) for name, statement in _IMPORTS.items()}
    seconds = {}
    for others in (0, 2 * threads):
        with busy(others):
            for policy in ("PASSIVE", "ACTIVE"):
                seconds[policy, others] = step_seconds(policy, threads, arguments.steps)
    quiet, loaded = (seconds["ACTIVE", others] / seconds["PASSIVE", others] for others in (0, 2 * threads))
    figures = [
        *(record.Figure(f"import of {name}", value, "s of CPU") for name, value in imports.items()),
        record.Figure("step with spinning threads over sleeping ones, quiet machine", quiet, "times"),
        record.Figure(f"the same beside {2 * threads} other processes", loaded, "times", at_least=1.0),
    ]
    named = {
        f"{'sleeping' if policy == 'PASSIVE' else 'spinning'}, {others} others": value
        for (policy, others), value in seconds.items()
    }
    record.write("starting", _TITLE, figures, machine, {"imports, s": imports, "step, s": named})
    panels = {
        "s of CPU to import": imports,
        "ms a step, by waiting threads": {name: value * 1e3 for name, value in named.items()},
    }
    plot.bars(record.RESULTS / "starting.png", _TITLE, panels)


if __name__ == "__main__":
    main()
