"""Put the demo's tables and small copies of its figures into README.md and docs/: python -m docs.update_results

Run it after `make demo`; README's numbers and pictures are then those of that run, none is typed.
"""

import csv
import json
from pathlib import Path

from PIL import Image

RESULTS = Path("results/synthbirds")
BEGIN, END = "<!-- results of make demo: docs/update_results.py -->", "<!-- end of results -->"
_WIDTH = 1200  # of a picture, px
_SHOWN = ("real", "dmgan", "attngan", "nearest", "shuffled", "noise", "adversarial")
_COLUMNS = {
    "IS(species)": ("IS ↑", 2),
    "FID(species)": ("FID ↓", 2),
    "R-precision(training DAMSM)": ("R-precision, % ↑", 1),
    "R-precision(held-out DAMSM)": ("the same, held-out judge ↑", 1),
    "attribute accuracy(attribute classifier)": ("attribute accuracy, % ↑", 1),
}
_INTERVALS = (
    "In brackets: 95 % intervals over test images, each with all that was made for it (IS, FID: ten folds of whole "
    "test images; the others: bootstrap)."
)
_TITLES = {
    "real": "real test images (half against half)",
    "dmgan": "DM-GAN",
    "attngan": "AttnGAN",
    "shuffled": "real images, captions of other species",
    "nearest": "training images with the nearest caption",
    "noise": "uniform noise",
    "adversarial": "noise optimised against the training DAMSM",
}


def summary() -> str:
    """The demo's numbers as one Markdown table, with what they are over."""
    headings = " | ".join(heading for heading, _ in _COLUMNS.values())
    lines = [f"| images | {headings} | n |", "|---" * (len(_COLUMNS) + 2) + "|"]
    for name in _SHOWN:
        folder = RESULTS / name / "seed0" if name in ("dmgan", "attngan") else RESULTS / "controls" / name
        content = json.loads((folder / "metrics.json").read_text())
        metrics = content["metrics"]
        cells = [_number(key, metrics[key], digits) for key, (_, digits) in _COLUMNS.items()]
        lines.append(f"| {_TITLES[name]} | {' | '.join(cells)} | {content['subject']['num_images']} |")
    return "\n".join(lines)


def _number(key: str, metric: dict, digits: int) -> str:
    """Value and 95 % interval: the bootstrap's where there is one, but for IS, of which it is of another estimate."""
    low, high = (metric if key.startswith("IS(") else metric.get("bootstrap", metric))["interval"]
    return f"{metric['value']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def times() -> str:
    """Wall-clock seconds of the longest jobs of the demo, from Snakemake's benchmarks."""
    found, jobs = [], ("synthbirds", "synthbirds-dmgan-seed0", "synthbirds-attngan-seed0")
    for path in sorted(Path("results/benchmarks").glob("*/*.tsv")):
        if path.parent.name != "pretrain" and path.stem not in jobs:  # of full-demo.yaml's other models
            continue
        with open(path) as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        found.append((float(row["s"]), f"{path.parent.name} {path.stem}", float(row["max_rss"])))
    longest = sorted(found, reverse=True)[:4]
    return "; ".join(f"{name} {seconds:.0f} s, {memory:.0f} MB" for seconds, name, memory in longest)


def copy_small(source: Path, target: Path) -> None:
    """A small PNG copy of a figure, of 256 colours."""
    with Image.open(source) as figure:
        height = round(figure.height * _WIDTH / figure.width)
        small = figure.convert("RGB").resize((_WIDTH, height), Image.LANCZOS)
        small.quantize(256).save(target, optimize=True)


def main() -> None:
    """Rewrite README.md's results and the pictures."""
    readme = Path("README.md").read_text()
    head, rest = readme.split(BEGIN)
    _, tail = rest.split(END)
    commit = json.loads((RESULTS / "dmgan/seed0/metrics.json").read_text())["provenance"]["commit"][:10]
    body = f"{summary()}\n\n{_INTERVALS} Commit {commit}.\n"
    Path("README.md").write_text(f"{head}{BEGIN}\n\n{body}Longest jobs: {times()}.\n\n{END}{tail}")
    for number in (3, 4, 5, 6):
        copy_small(RESULTS / "figures" / f"figure{number}.png", Path(f"docs/figure{number}.png"))


if __name__ == "__main__":
    main()
