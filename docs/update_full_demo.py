"""Put the full demo's tables, and what each model costs, into docs/full-demo.md: python -m docs.update_full_demo

Run it after `make full-demo`; every number is then of that run, none is typed.
"""

import csv
import json
import sys
from pathlib import Path

import yaml

from docs.update_results import copy_small

CONFIG = Path("workflow/config/full-demo.yaml")
RESULTS, BENCHMARKS, PAGE = Path("results/synthbirds"), Path("results/benchmarks"), Path("docs/full-demo.md")
FID, DIVERSITY = "FID(species)", "diversity(species)"


def measured(folder: Path) -> dict:
    """The metrics of one image set."""
    return json.loads((folder / "metrics.json").read_text())["metrics"]


def jobs() -> dict[str, dict[str, float]]:
    """Wall and CPU seconds of every job, by rule and name, from Snakemake's benchmarks."""
    found = {}
    for path in sorted(BENCHMARKS.glob("*/*.tsv")):
        with open(path) as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        cpu = 0.0 if row["cpu_time"] in ("-", "NA") else float(row["cpu_time"])  # too short a job to be looked at
        found[f"{path.parent.name} {path.stem}"] = {"s": float(row["s"]), "cpu": cpu, "end": path.stat().st_mtime}
    return found


def models(names: list[str], times: dict[str, dict[str, float]]) -> str:
    """A row a model: is it better than noise, does it make more than one image, what did its training take."""
    noise = measured(RESULTS / "controls/noise")[FID]["value"]
    lines = [
        "| model | FID ↓ | noise's FID over it | diversity, real images 1 | training, CPU s |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in names:
        metrics = measured(RESULTS / name / "seed0")
        fid, diversity = metrics[FID]["value"], metrics[DIVERSITY]["value"]
        seconds = times[f"train synthbirds-{name}-seed0"]["cpu"]
        lines.append(f"| `{name}` | {fid:.1f} | {noise / fid:.1f} | {diversity:.2f} | {seconds:.0f} |")
    lines.append(f"| noise | {noise:.1f} | 1.0 | {measured(RESULTS / 'controls/noise')[DIVERSITY]['value']:.2f} | |")
    return "\n".join(lines)


def main() -> int:
    """Rewrite the page."""
    names = yaml.safe_load(CONFIG.read_text())["models"]
    if absent := [name for name in names if not (RESULTS / name / "seed0/metrics.json").exists()]:
        print(f"{RESULTS}: has no metrics of {', '.join(absent)}; run make full-demo first", file=sys.stderr)
        return 1
    times = jobs()
    commit = json.loads((RESULTS / "dmgan/seed0/options.json").read_text())["provenance"]["commit"][:10]
    span = max(job["end"] for job in times.values()) - min(job["end"] - job["s"] for job in times.values())
    cpu = sum(job["cpu"] for job in times.values())
    paths = sorted(path for path in (RESULTS / "tables").glob("*.md") if path.stem != "comparisons")  # 1,200 lines
    tables = [path.read_text(encoding="utf-8").strip() for path in paths]
    cost = (
        f"{len(times)} jobs took {cpu / 60:.0f} minutes of CPU time, {cpu / 120:.0f} minutes over two cores.\n"
        f"By the clock the first began {span / 60:.0f} minutes before the last ended, pauses and what else ran on the "
        "machine included."
    )
    PAGE.write_text(
        "# The full demo\n\n"
        "Made by `make full-demo`, then `make full-docs`: every model on the embedded data set, and the tables of all\n"
        "five documents. What these numbers are, and are not, worth is said on the\n"
        "[front page](../README.md#what-the-demo-gives): small networks, minutes of training, drawings.\n\n"
        f"{cost} Trained at commit {commit}.\n\n{models(names, times)}\n\n"
        "![The same captions by every model](full-demo.png)\n\n" + "\n\n".join(tables) + "\n",
        encoding="utf-8",
    )
    copy_small(RESULTS / "figures/figure3.png", PAGE.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
