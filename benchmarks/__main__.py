"""Run every benchmark, one after another, then write their table: `python -m benchmarks [NAME ...] [--table]`."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

from benchmarks import record
from dmgan.errors import UserError
from dmgan.storage.files import write_text

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
START, END = "<!-- table: python -m benchmarks --table -->", "<!-- end of table -->"


def names() -> list[str]:
    """Return the names of all benchmarks: the modules of this folder that can be run as commands."""
    modules = sorted(FOLDER.glob("*.py"))
    commands = [path for path in modules if re.search(r'^if __name__ == "__main__":', path.read_text(), re.MULTILINE)]
    return [path.stem for path in commands if path.stem != "__main__"]


def table(results: dict[str, record.Result]) -> str:
    """Return all figures as a Markdown table, one row per figure, grouped by benchmark; results by file name."""
    lines = ["| benchmark | figure | measured | wanted | holds |", "|---|---|--:|---|---|"]
    for name, result in results.items():
        heading = f"[{result.title}](results/{name}.json)"
        for figure in result.figures:
            holds = {None: "", True: "yes", False: "**no**"}[figure.holds]
            measured = (
                f"{figure.value:,.4g} {figure.unit}" if figure.value < 1e4 else f"{figure.value:,.0f} {figure.unit}"
            )
            lines.append(f"| {heading} | {figure.name} | {measured} | {figure.bound} | {holds} |")
            heading = ""
    lines += ["", "| benchmark | command | machine | date, UTC | commit |", "|---|---|---|---|---|"]
    for name, result in results.items():
        place = (
            f"{result.machine['cpu']}, {result.machine['cores']} cores, load {result.machine['load'][0]:g} at the start"
        )
        if "gpu" in result.machine:
            place += f", {result.machine['gpu']}"
        torch = f"torch {result.versions['torch']}"
        lines.append(f"| {name} | `{result.command}` | {place}, {torch} | {result.date} | {result.commit[:12]} |")
    lines += [""] + [f"![{result.title}](results/{name}.png)" for name, result in results.items()]
    return "\n".join(lines) + "\n"


def write_table() -> None:
    """Write the table of all results between the markers in README.md."""
    text = README.read_text(encoding="utf-8")
    if START not in text or END not in text:
        raise UserError(f"{README}: the markers of the table are missing; restore {START} and {END}")
    before, after = text.split(START)[0], text.split(END)[1]
    results = {path.stem: record.read(path) for path in sorted(record.RESULTS.glob("*.json"))}
    write_text(README, f"{before}{START}\n\n{table(results)}\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "name", nargs="*", metavar="NAME", help=f"benchmarks to run (default: all): {', '.join(names())}"
    )
    parser.add_argument(
        "--table", action="store_true", help="only write the table in README.md, without running benchmarks"
    )
    parser.add_argument("--list", action="store_true", help="run nothing, only name the benchmarks")
    arguments = parser.parse_args()
    try:
        if unknown := sorted(set(arguments.name) - set(names())):
            raise UserError(f"benchmark {unknown[0]!r}: unknown; known benchmarks are {', '.join(names())}")
        if arguments.list:
            print("\n".join(names()))
            return 0
        failed = []
        for name in [] if arguments.table else arguments.name or names():
            print(f"== {name}", flush=True)
            if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=FOLDER.parent).returncode:
                failed.append(name)
        write_table()
        if failed:
            raise UserError(f"{', '.join(failed)}: failed; see the output above")
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
