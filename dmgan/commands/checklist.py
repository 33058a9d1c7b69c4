"""Write the reproducibility checklist and the citation of what was run."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="metrics.json of every run, method and control row"
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared data set of the runs")
    parser.add_argument("--out", type=Path, required=True, help="folder of checklist.md, CITATION.bib and CITATION.cff")


def run(arguments: argparse.Namespace) -> None:
    from dmgan.report.checklist import write_checklist
    from dmgan.report.citations import write_citations
    from dmgan.report.made_from import recorded

    with recorded(arguments.out, "checklist", [*arguments.metrics, arguments.data / "dataset.json"]):
        write_checklist(arguments.metrics, arguments.data, arguments.out)
        write_citations(arguments.metrics, arguments.out)
