"""The papers' tables: published numbers, numbers of this run, and control rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dmgan.errors import UserError
from dmgan.models.registry import MODELS
from dmgan.options import CONTROLS
from dmgan.report.published import Published
from dmgan.report.results import RELEASED, Summary, metric_of, read_measured, scorer_of
from dmgan.report.tables.external_notes import external_notes
from dmgan.report.tables.markup import Cell, Column, Row, Table, to_latex, to_markdown
from dmgan.report.tables.notes import MEANINGS, PILCROW, Marks, published_spread, table_caption, table_notes
from dmgan.report.tables.paper_tables import CONTROL_TITLES, LAYOUTS, Results, better, is_better
from dmgan.report.tables.weights import weights_notes, weights_of
from dmgan.storage import files


def write_tables(metrics: Sequence[Path], out: Path) -> None:
    """Write every layout's table as .csv, .md and .tex into the folder `out` from metrics.json files of one data set.

    Raise UserError if files are damaged, of two data sets, or measured in two ways.
    """
    measured = read_measured(metrics)
    for name, runs in measured.models.items():
        if runs[0].kind == "model" and name.removesuffix(RELEASED) not in MODELS:
            raise UserError(f"{runs[0].file}: model {name!r} is unknown; known models are {', '.join(MODELS)}")
    for layout in LAYOUTS:
        results = Results(layout, measured)
        table = _table(results)
        files.write_csv(out / f"{layout.name}.csv", _tidy(results))
        files.write_text(out / f"{layout.name}.md", to_markdown(table))
        files.write_text(out / f"{layout.name}.tex", to_latex(table, layout.name))


def _table(results: Results) -> Table:
    marks = Marks(results)
    rows = [
        Row(each.title, [*_published_cells(results, each.published_as, marks), *_own_cells(results, each.model, marks)])
        for each in results.methods
    ]
    rows += [
        Row(
            CONTROL_TITLES[name],
            [*_published_control_cells(results, name, marks), *_control_cells(results, name, marks)],
            control=True,
        )
        for name in CONTROLS
    ]
    columns, shown = _columns(results, marks), [each.model for each in results.methods]
    notes = [
        *table_notes(results, marks),
        *weights_notes(results.measured, shown),
        *external_notes(results),
    ]
    return Table(results.layout.number, table_caption(results), columns, rows, notes)


def _columns(results: Results, marks: Marks) -> list[Column]:
    published = results.published_columns
    columns = [Column(f"{dataset} (published)", metric, better(metric), "") for dataset, metric in published]
    beside = f"; {results.measured.not_published}" if published and results.measured.not_published else ""
    group = f"{results.measured.dataset} (this run{beside})"
    for metric in results.columns:
        columns.append(Column(group, metric_of(metric), better(metric), scorer_of(metric), marks.of_column(metric)))
    return columns


def _published_cells(results: Results, method: str, marks: Marks) -> Iterator[Cell]:
    for dataset, metric in results.published_columns:
        found = results.published.get((method, dataset, metric))
        if found is None or not found.value:
            yield Cell("-")
            continue
        rivals = [
            float(each.value)
            for (other, *column), each in results.published.items()
            if column == [dataset, metric] and each.value and other not in (method, results.layout.real_images)
        ]
        ranked = method != results.layout.real_images and metric not in results.layout.unranked
        best = ranked and _is_best(metric, float(found.value), rivals)
        yield Cell(_with_spread(found.value, found.std), best, tuple(marks.of_published(found)))


def _published_control_cells(results: Results, control: str, marks: Marks) -> Iterator[Cell]:
    """Return the paper's row of real images, if it has one; papers have no other controls."""
    if control == "real" and results.layout.real_images:
        return _published_cells(results, results.layout.real_images, marks)
    return (Cell("-") for _ in results.published_columns)


def _own_cells(results: Results, model: str | None, marks: Marks) -> Iterator[Cell]:
    for metric in results.columns:
        summary = results.models.get((model, metric))
        if summary is None:
            yield Cell(_why_missing(results, model, metric))
            continue
        # Compare rounded values, so that two equal cells are both bold or both not bold.
        shown = {name: float(results.shown(metric, value)) for name, value in results.model_values(metric).items()}
        best = _is_best(metric, shown.pop(model), list(shown.values()))
        yield Cell(_shown(results, metric, summary), best, tuple(marks.of_model(metric, summary)))


def _why_missing(results: Results, model: str | None, metric: str) -> str:
    if model is None:
        return "published only"
    if model not in results.measured.models:
        return "not run"
    # A metric that no model has is defined for real images only.
    return "not measured" if results.model_values(metric) else "not defined"


def _why_control_missing(results: Results, control: str, metric: str) -> str:
    if control not in results.measured.controls:
        return "not run"
    return "not defined" if metric in results.measured.controls[control].metrics else "not measured"


def _control_cells(results: Results, control: str, marks: Marks) -> Iterator[Cell]:
    for metric in results.columns:
        summary = results.controls.get((control, metric))
        if summary is None:
            yield Cell(_why_control_missing(results, control, metric))
        else:
            yield Cell(_shown(results, metric, summary), marks=tuple(marks.of_control(summary)))


def _is_best(metric: str, value: float, rivals: Sequence[float]) -> bool:
    return bool(rivals) and bool(better(metric)) and not any(is_better(metric, rival, value) for rival in rivals)


def _with_spread(value: str, spread: str) -> str:
    return f"{value} ± {spread}" if spread else value


def _shown(results: Results, metric: str, summary: Summary) -> str:
    number = _with_spread(results.shown(metric, summary.value), results.shown(metric, summary.spread))
    interval, _ = summary.clustered(metric)
    return f"{number} [{', '.join(results.shown(metric, end) for end in interval)}]" if interval else number


def _tidy(results: Results) -> list[dict[str, object]]:
    """Return one row per method, data set and metric; `note`: why a number is missing, or the meaning of its marks."""
    rows, marks = [], Marks(results)
    for method in results.methods:
        rows += _published_rows(results, method.published_as)
        for metric in results.columns:
            summary = results.models.get((method.model, metric))
            if summary is None:
                note = _why_missing(results, method.model, metric)
            else:
                note = _meanings([*marks.of_model(metric, summary), *[PILCROW] * marks.unable(metric)])
            row = _own_row(results, method.title, metric, summary, note)
            rows.append(row | {"weights": weights_of(results.measured.models.get(method.model, []))})
    for name in CONTROLS:
        if name == "real" and results.layout.real_images:
            rows += _published_rows(results, results.layout.real_images)
        for metric in results.columns:
            summary = results.controls.get((name, metric))
            note = _why_control_missing(results, name, metric) if summary is None else ""
            rows.append(_own_row(results, CONTROL_TITLES[name], metric, summary, note))
    return rows


def _meanings(marks: Sequence[str]) -> str:
    return "; ".join(MEANINGS[mark] for mark in marks if mark in MEANINGS)


_TIDY = dict.fromkeys(
    (
        "table", "method", "dataset", "metric", "scorer", "value", "spread", "spread_over", "interval_low",
        "interval_high", "interval_over", "bootstrap_value", "bootstrap_low", "bootstrap_high", "bootstrap_over",
        "num_images", "feature_network", "weights", "source", "file", "note",
    ),
    "",
)  # fmt: skip


def _published_rows(results: Results, method: str) -> list[dict[str, object]]:
    cells = (results.published.get((method, *column)) for column in results.published_columns)
    return [_published_row(found) for found in cells if found is not None]


def _published_row(found: Published) -> dict[str, object]:
    return _TIDY | {
        "table": found.table,
        "method": found.method,
        "dataset": found.dataset,
        "metric": found.metric,
        "value": found.value,
        "spread": found.std,
        "spread_over": published_spread(found.metric) if found.std else "",
        "source": found.origin,
        "note": "; ".join(each for each in (found.note, found.remark) if each),
    }


def _own_row(results: Results, method: str, metric: str, summary: Summary | None, note: str) -> dict[str, object]:
    row = _TIDY | {
        "table": results.layout.number,
        "method": method,
        "dataset": results.measured.dataset,
        "metric": metric_of(metric),
        "scorer": scorer_of(metric),
        "source": "this run",
        "note": note,
    }
    if summary is None:
        return row
    low, high = summary.interval or ("", "")
    bootstrap_value, bootstrap_low, bootstrap_high = summary.bootstrap or ("", "", "")
    return row | {
        "value": summary.value,
        "spread": summary.spread,
        "spread_over": summary.spread_over,
        "interval_low": low,
        "interval_high": high,
        "interval_over": summary.interval_over,
        "bootstrap_value": bootstrap_value,
        "bootstrap_low": bootstrap_low,
        "bootstrap_high": bootstrap_high,
        "bootstrap_over": summary.bootstrap_over,
        "num_images": summary.num_images,
        "feature_network": results.measured.network(metric),
        "file": ";".join(str(file) for file in summary.files),
    }
