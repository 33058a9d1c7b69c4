"""Put the demo's numbers into README.md and docs/results.md, and small copies of its figures into docs/.

Run `python -m docs.update_results` after `make demo`. README.md gets the real images and the models, docs/results.md
also the control rows; all numbers and pictures are read from the results of that run.
"""

import csv
from pathlib import Path

from PIL import Image

from dmgan.report.results import Evaluation, read_evaluation, summarise
from dmgan.storage.files import read_json

RESULTS, BENCHMARKS = Path("results/synthbirds"), Path("results/benchmarks")
README, PAGE = Path("README.md"), Path("docs/results.md")
BEGIN, END = "<!-- results of make demo: docs/update_results.py -->", "<!-- end of results -->"
MODELS = ("dmgan", "attngan")
SHORT = ("real", *MODELS)  # rows of README.md
FULL = (*SHORT, "nearest", "shuffled", "noise", "adversarial")  # rows of docs/results.md
FIGURES = (3, 4, 5, 6)
_WIDTH = 1200  # of a picture, px
_COLUMNS = {
    "IS(species)": ("IS(species) ↑", 2),
    "FID(species)": ("FID(species) ↓", 2),
    "R-precision(training DAMSM)": ("R-precision (training DAMSM), % ↑", 1),
    "R-precision(held-out DAMSM)": ("R-precision (held-out DAMSM), % ↑", 1),
    "attribute accuracy(attribute classifier)": ("attribute accuracy, % ↑", 1),
}
_INTERVALS = (
    "In brackets: 95 % intervals over test images (IS and FID: ten folds of whole test images; the other metrics: "
    "bootstrap over test images)."
)
_TITLES = {
    "real": "real test images, one half against the other",
    "dmgan": "DM-GAN",
    "attngan": "AttnGAN",
    "shuffled": "real test images with captions of other species",
    "nearest": "training images with the nearest caption",
    "noise": "uniform noise",
    "adversarial": "noise optimised against the training DAMSM",
}


def table(names: tuple[str, ...]) -> str:
    """Return the numbers of models and control rows as a Markdown table."""
    headings = " | ".join(heading for heading, _ in _COLUMNS.values())
    lines = [f"| images | {headings} | n |", "|---" * (len(_COLUMNS) + 2) + "|"]
    for name in names:
        folder = RESULTS / name / "seed0" if name in MODELS else RESULTS / "controls" / name
        evaluation = read_evaluation(folder / "metrics.json")
        cells = [_number(key, evaluation, digits) for key, (_, digits) in _COLUMNS.items()]
        lines.append(f"| {_TITLES[name]} | {' | '.join(cells)} | {evaluation.num_images} |")
    return "\n".join(lines)


def _number(key: str, evaluation: Evaluation, digits: int) -> str:
    """Return value and 95 % interval, as the tables print them."""
    summary = summarise([evaluation], key)
    (low, high), _ = summary.clustered(key)
    return f"{summary.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def commit() -> str:
    """Return the commit at which the demo was trained, in one sentence."""
    provenance = read_json(RESULTS / "dmgan/seed0/metrics.json", "run the workflow again")["provenance"]
    return f"Commit {provenance['commit'][:10]}."


def longest_jobs() -> str:
    """Return wall-clock seconds and peak memory of the demo's four longest jobs, from Snakemake's benchmarks."""
    found, jobs = [], ("synthbirds", *(f"synthbirds-{model}-seed0" for model in MODELS))
    for path in sorted(BENCHMARKS.glob("*/*.tsv")):
        if path.parent.name != "pretrain" and path.stem not in jobs:  # jobs of models that other configurations ran
            continue
        with open(path) as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        found.append((float(row["s"]), f"{path.parent.name} {path.stem}", float(row["max_rss"])))
    longest = sorted(found, reverse=True)[:4]
    return "; ".join(f"{name} {seconds:.0f} s, {memory:.0f} MB" for seconds, name, memory in longest)


def replace_results(path: Path, body: str) -> None:
    """Replace everything between the two markers of a page."""
    head, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, tail = rest.split(END)
    path.write_text(f"{head}{BEGIN}\n\n{body}\n\n{END}{tail}", encoding="utf-8")


def copy_small(source: Path, target: Path) -> None:
    """Write a small PNG copy of a figure, of 256 colours."""
    with Image.open(source) as figure:
        height = round(figure.height * _WIDTH / figure.width)
        small = figure.convert("RGB").resize((_WIDTH, height), Image.LANCZOS)
        small.quantize(256).save(target, optimize=True)


def main() -> None:
    """Rewrite the results of README.md and docs/results.md, and the pictures."""
    replace_results(README, f"{table(SHORT)}\n\n{_INTERVALS} {commit()}")
    replace_results(PAGE, f"{table(FULL)}\n\n{_INTERVALS} {commit()}\n\nLongest jobs: {longest_jobs()}.")
    for number in FIGURES:
        copy_small(RESULTS / "figures" / f"figure{number}.png", PAGE.with_name(f"figure{number}.png"))


if __name__ == "__main__":
    main()
