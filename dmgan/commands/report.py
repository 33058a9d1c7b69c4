"""Write the report page of a data set."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True,
        help="metrics.json of every run, method and control row of one data set, as for tables",
    )  # fmt: skip
    parser.add_argument(
        "--results", type=Path, required=True, metavar="FOLDER",
        help="results of the data set, such as results/synthbirds: its figures, its tables comparisons.csv and "
        "claims.csv, and its runs; the prepared data set, benchmarks and logs are found beside it",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder of report.html, report.pdf and TABLE.html")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.made_from import recorded
    from dmgan.report.page.build import ReportInputs
    from dmgan.report.page.write import write_report

    with recorded(arguments.out, "report", arguments.metrics):
        write_report(ReportInputs(tuple(arguments.metrics), arguments.results, arguments.out))
