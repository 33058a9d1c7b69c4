"""Start a training on several GPUs of this machine: python -m dmgan.runtime.launch --nproc-per-node N -- train ...

A process ("rank") runs on each GPU. If a rank is killed or fails, the other ranks are ended, one line names the rank,
and the exit code is that of the rank, or 128 plus the signal that ended it. torchrun starts the same ranks, also on
several machines; it reports a failed rank with a traceback of its own.
"""

import argparse
import logging
import os
import signal
import sys

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure


def main(argv: list[str] | None = None) -> int:
    """Run a module in several processes, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dmgan.runtime.launch", description="Start a training on several GPUs of this machine."
    )
    parser.add_argument(
        "--nproc-per-node", type=_positive, required=True, metavar="N", help="number of processes, one for each GPU"
    )
    parser.add_argument("--module", default="dmgan", help="Python module that each process runs (default: %(default)s)")
    parser.add_argument("words", nargs="+", metavar="...", help="after --: the arguments of the module, train ...")
    arguments = parser.parse_args(argv)
    if sys.platform == "linux":  # ranks of one machine exchange gradients without a socket that others reach
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")
    logging.disable(logging.ERROR)  # torch logs a failed rank in several lines, before the line printed here
    options = ["--standalone", "--nproc-per-node", str(arguments.nproc_per_node), "-m", arguments.module]
    try:
        torchrun.run(torchrun.parse_args([*options, *arguments.words]))
    except ChildFailedError as error:
        return _report(f"{arguments.module} {arguments.words[0]}", list(error.failures.values()))
    except SignalException as interrupt:  # the ranks have received the signal too; rank 0 says how to resume
        return 128 + interrupt.sigval
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: must be 1 or more")
    return number


def _report(command: str, failures: list[ProcessFailure]) -> int:
    """Print one line that names the failed rank, and return the exit code.

    A rank that was killed comes first, because the others fail when they lose the connection to it; ranks that torch
    has ended by SIGTERM come last.
    """
    failure = min(failures, key=lambda each: (each.exitcode == -signal.SIGTERM, each.exitcode >= 0, each.local_rank))
    rank = f"{command}: rank {failure.local_rank}"
    if failure.exitcode < 0:
        number = -failure.exitcode
        print(f"{rank} was killed by {signal.Signals(number).name}; run the same command to resume", file=sys.stderr)
        return 128 + number
    print(f"{rank} ended with exit code {failure.exitcode}; its own message is above", file=sys.stderr)
    return failure.exitcode


if __name__ == "__main__":
    sys.exit(main())
