"""Tables of the models that retrieve: metrics under each retrieval method, and memorisation of training images."""

from collections.abc import Iterator
from pathlib import Path

from dmgan.report.page.comparisons import read_table
from dmgan.report.page.content import Cell, Head, Row, Table
from dmgan.report.page.sources import Sources
from dmgan.report.tables.paper_tables import title_of

_COLUMNS = ("part", "method", "seed", "name", "measure", "value", "spread", "spread_over")


def retrieval_tables(path: Path, sources: Sources, files: dict[tuple[str, str], Path]) -> Iterator[Table]:
    """Yield the tables of a retrieval.csv; files: the metrics.json of every retrieval method and seed."""
    rows, model = read_table(path, _COLUMNS), path.parent.name
    measured = [row for row in rows if row["part"] == "retrieval"]
    metrics = list(dict.fromkeys(row["name"] for row in measured))
    runs = list(dict.fromkeys((row["method"], row["seed"]) for row in measured))
    found = {(row["method"], row["seed"], row["name"]): row for row in measured}
    shown = []
    for method, seed in runs:
        cells = []
        for metric in metrics:
            row = found.get((method, seed, metric))
            if row is None:
                cells.append(Cell("not defined", missing=True))
                continue
            source = sources.of_files(metric, [files[method, seed]])
            text = f"{float(row['value']):.4g} ± {float(row['spread']):.2g}"
            cells.append(Cell(text, source=source.anchor, altered=source.altered))
        shown.append(Row(f"{method}, seed {seed}", tuple(cells)))
    caption = (
        f"{title_of(model)}: the same weights, captions and noises under each retrieval method. ± is over "
        f"{measured[0]['spread_over']}."
    )
    heads = tuple(Head(metric) for metric in metrics)
    yield Table(f"{model}-retrieval", f"{title_of(model)}: retrieval", caption, "Method", heads, tuple(shown))
    yield from _memorisation(model, [row for row in rows if row["part"] in ("distances", "diversity")])


def _memorisation(model: str, rows: list[dict[str, str]]) -> Iterator[Table]:
    kinds = list(dict.fromkeys(row["measure"] for row in rows))
    found = {(row["method"], row["seed"], row["name"], row["measure"]): row["value"] for row in rows}
    shown = []
    for method, seed, name in dict.fromkeys(key[:3] for key in found):
        cells = tuple(Cell(f"{float(found[method, seed, name, kind]):.4f}") for kind in kinds)
        shown.append(Row(f"{name} ({method}, seed {seed})", cells))
    caption = (
        "Mean distances. An output that is much nearer to its retrieved image than the real image would be a copy. "
        "Pixels: root mean square, of white; features: one minus the cosine."
    )
    if shown:
        heads = tuple(Head(kind) for kind in kinds)
        title = f"{title_of(model)}: memorisation"
        yield Table(f"{model}-memorisation", title, caption, "Distance", heads, tuple(shown))
