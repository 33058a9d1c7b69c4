"""Put the full demo's tables and the training time of every model into docs/full-demo.md.

Run `python -m docs.update_full_demo` after `make full-demo`; all numbers are read from the results of that run.
"""

import csv
import sys
from pathlib import Path

from dmgan.report.results import read_evaluation
from dmgan.storage.files import read_json
from docs.update_results import copy_small
from workflow.configuration import models_of, read_configuration

CONFIG = Path("workflow/config/full-demo.yaml")
RESULTS, BENCHMARKS, PAGE = Path("results/synthbirds"), Path("results/benchmarks"), Path("docs/full-demo.md")
FID, DIVERSITY = "FID(species)", "diversity(species)"


def value_of(folder: Path, metric: str) -> float:
    """Return a metric of one image set."""
    return read_evaluation(folder / "metrics.json").metrics[metric].value


def jobs(benchmarks: Path = BENCHMARKS) -> dict[str, dict[str, float]]:
    """Return wall and CPU seconds of every job, by rule and name, from the folder of Snakemake's benchmarks."""
    found = {}
    for path in sorted(benchmarks.glob("*/*.tsv")):
        with open(path) as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        cpu = 0.0 if row["cpu_time"] in ("-", "NA") else float(row["cpu_time"])  # the job was too short to be measured
        found[f"{path.parent.name} {path.stem}"] = {"s": float(row["s"]), "cpu": cpu, "end": path.stat().st_mtime}
    return found


def models(names: list[str], times: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table with a row per model: FID, FID against noise, diversity, CPU time of training."""
    controls = RESULTS / "controls"
    noise = value_of(controls / "noise", FID)
    lines = [
        "| model | FID(species) ↓ | FID of noise / FID | diversity (real images: 1) | training, CPU s |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in names:
        fid, diversity = (value_of(RESULTS / name / "seed0", metric) for metric in (FID, DIVERSITY))
        seconds = times[f"train synthbirds-{name}-seed0"]["cpu"]
        lines.append(f"| `{name}` | {fid:.1f} | {noise / fid:.1f} | {diversity:.2f} | {seconds:.0f} |")
    lines.append(f"| noise | {noise:.1f} | 1.0 | {value_of(controls / 'noise', DIVERSITY):.2f} | |")
    return "\n".join(lines)


def main() -> int:
    """Rewrite the page."""
    names = models_of(read_configuration(CONFIG), RESULTS.name)
    if absent := [name for name in names if not (RESULTS / name / "seed0/metrics.json").exists()]:
        print(f"{RESULTS}: has no metrics of {', '.join(absent)}; run make full-demo first", file=sys.stderr)
        return 1
    times = jobs()
    commit = read_json(RESULTS / "dmgan/seed0/options.json", "run the workflow again")["provenance"]["commit"][:10]
    span = max(job["end"] for job in times.values()) - min(job["end"] - job["s"] for job in times.values())
    cpu = sum(job["cpu"] for job in times.values())
    left_out = ("comparisons", "claims", "conflicts")  # 1,200 lines, and the tables of docs/literature.md
    paths = sorted((RESULTS / "tables").glob("*.md"))
    paths = [each for each in paths if each.stem not in left_out and not each.stem.endswith(("-controls", "-notes"))]
    tables = [path.read_text(encoding="utf-8").strip() for path in paths]
    cost = (
        f"{len(times)} jobs took {cpu / 60:.0f} minutes of CPU time, {cpu / 120:.0f} minutes over two cores.\n"
        f"The wall-clock time was {span / 60:.0f} minutes, which includes pauses and other work on the machine."
    )
    PAGE.write_text(
        "# The full demo\n\n"
        "Made by `make full-demo`, then `make full-docs`: every model on the embedded data set, and the tables of all\n"
        "five documents. The networks are small, they train for minutes, and the images are drawings:\n"
        "[Results of the demo](results.md#how-to-read-them) says how to read the numbers.\n\n"
        f"{cost} Trained at commit {commit}.\n\n{models(names, times)}\n\n"
        "![The same captions by every model](full-demo.png)\n\n" + "\n\n".join(tables) + "\n",
        encoding="utf-8",
    )
    copy_small(RESULTS / "figures/figure3.png", PAGE.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
