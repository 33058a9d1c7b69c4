"""Tables of the page that no paper prints: the models at a glance, and all metrics with all controls."""

from dmgan.evaluation.metrics.table import metrics
from dmgan.report.literature.published import PAPERS, published
from dmgan.report.results import Measured
from dmgan.report.tables.captions import why_not_ranked
from dmgan.report.tables.paper_tables import LAYOUTS, Layout, better, title_of
from dmgan.report.tables.structure import Cell, Column, Number, Row, Table

_IN_PAPERS = ("IS", "FID", "R-precision", "attribute accuracy")


def overview_layout() -> Layout:
    """Return the layout of the metrics that papers report, over all models."""
    return Layout(
        "results", "003", "Results", (), _IN_PAPERS, (), "Results of this run", further_models=True, external=True
    )


def controls_layout() -> Layout:
    """Return the layout of all metrics, over all models and controls."""
    return Layout(
        "controls", "003", "Controls", (), tuple(metrics()), (), "All metrics, with all control rows",
        further_models=True, external=True,
    )  # fmt: skip


def published_table(measured: Measured) -> Table | None:
    """Return the published numbers of the models that were run, a row per paper that prints them; None for none."""
    columns, rows = {}, {}
    for layout in LAYOUTS:
        numbers = published(layout.source, layout.number)
        for method in layout.methods:
            if method.model not in measured.models:
                continue
            for (printed, dataset, metric), cell in numbers.items():
                if printed == method.published_as and cell.value:
                    column = (dataset, metric)
                    columns[column] = Column(f"{dataset} (published)", metric, better(metric), "", published=True)
                    number = Number(cell.value, float(cell.value), cell.std)
                    label = f"{title_of(method.model)}, in {PAPERS[layout.source]}"
                    rows.setdefault(label, {})[column] = Cell(number.text, number=number)
    if not rows:
        return None
    order = sorted(columns, key=lambda column: list(dict.fromkeys(each[0] for each in columns)).index(column[0]))
    apart = why_not_ranked(measured, list(dict.fromkeys(dataset for dataset, _ in columns)))
    caption = f"Numbers that papers print for the models that were run. {apart}"
    shown = [Row(label, [cells.get(column, Cell("-")) for column in order]) for label, cells in rows.items()]
    return Table("published", "Published numbers", caption, [columns[each] for each in order], shown, [], [])
