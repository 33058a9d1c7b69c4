"""Verify a results folder."""

import argparse
import collections
from pathlib import Path

from dmgan.errors import UserError, one_line


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "results", type=Path, metavar="RESULTS",
        help="folder of results, such as results; tables are found by the paths they were rendered with, so run it in "
        "the same folder as the workflow",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.verify import ALTERED, STALE, verify

    counts: collections.Counter = collections.Counter()
    for finding in verify(arguments.results):
        print(one_line(str(finding)), flush=True)
        counts[finding.state] += 1
    summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if counts[ALTERED] or counts[STALE]:
        raise UserError(f"{arguments.results}: {summary}; restore altered files, or delete them and run again")
    print(one_line(f"{arguments.results}: {summary}"))
