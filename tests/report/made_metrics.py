"""metrics.json files of models and controls, and the cells of the tables that are made of them."""

import re
from pathlib import Path

from dmgan.evaluation.metrics.table import facts_of
from tests.reading import read_csv

FOLDS = "ten folds of one image set"
CLUSTERED = "images, clustered by test image"
TRAINING, HELD_OUT = "R-precision(training DAMSM)", "R-precision(held-out DAMSM)"
PROTOCOL = {"reference": "all test images", "reference_num_images": 800, "codec": "png"}


def measure(value: float, network: str = "species-classifier", num_images: int = 2000, **protocol) -> dict:
    """Return the entry of metrics.json of a metric with this value."""
    return {
        "value": value,
        "spread": value / 50,
        "spread_over": FOLDS,
        "interval": [value * 0.9, value * 1.1],
        "interval_level": 0.95,
        "interval_over": "bootstrap over images",
        "num_images": num_images,
        "folds": 10,
        "bootstrap": {"value": value, "interval": [value * 0.8, value * 1.2], "over": CLUSTERED},
        "protocol": {"feature_network": network, **PROTOCOL, **protocol},
    }


def metrics(scores: dict[str, float], num_images: int = 2000, **protocol) -> dict:
    """Return the metrics of metrics.json with these values."""
    networks = dict.fromkeys(scores, "species-classifier") | {
        TRAINING: "DAMSM, the trainer",
        HELD_OUT: "DAMSM, another",
    }
    measures = {name: measure(value, networks[name], num_images, **protocol) for name, value in scores.items()}
    for name, each in measures.items():
        if "reference" not in facts_of(name.partition("(")[0]).protocol:  # a metric without reference images
            each["protocol"] = {key: value for key, value in each["protocol"].items() if "reference" not in key}
    return measures


MODEL = {"IS(species)": 9.0, "FID(species)": 20.0, "KID(species)": 0.02, TRAINING: 60.0}
REAL = {"IS(species)": 12.0, "FID(species)": 1.0, "KID(species)": 0.001, TRAINING: 80.0}


def find_row(
    folder: Path, name: str, method: str, dataset: str, metric: str, scorer: str | None = None
) -> dict[str, str]:
    """Return the row of the CSV table of this method, data set, metric and scorer."""
    wanted = (method, dataset, metric)
    rows = [row for row in read_csv(folder / f"{name}.csv") if (row["method"], row["dataset"], row["metric"]) == wanted]
    (found,) = [row for row in rows if scorer in (None, row["scorer"])]
    return found


def read_all(folder: Path, name: str) -> str:
    """Return the text of a Markdown table and of its notes."""
    return "".join((folder / f"{name}{part}.md").read_text() for part in ("", "-notes"))


def markdown_cells(folder: Path, name: str, method: str, intervals: bool = False) -> list[str]:
    """Return the cells of a line of the Markdown table, without its label and by default without intervals."""
    for line in (folder / f"{name}.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and cells[0].strip("*") == method:
            return [each if intervals else re.sub(r" \[[−\d.]+, [−\d.]+\]", "", each) for each in cells[1:]]
    raise AssertionError(f"{name}.md has no line {method}")
