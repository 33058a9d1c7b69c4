"""The rows of a table as CSV: one per method, data set and metric."""

from collections.abc import Sequence

from dmgan.options import CONTROLS
from dmgan.report.evaluations import metric_of, scorer_of
from dmgan.report.literature.published import Published
from dmgan.report.results import Summary
from dmgan.report.tables.marks import MEANINGS, PILCROW, TOO_FEW, Marks
from dmgan.report.tables.notes.uncertainty import published_spread
from dmgan.report.tables.paper_tables import CONTROL_TITLES, Results
from dmgan.report.tables.weights import weights_of

_TIDY = dict.fromkeys(
    (
        "table", "method", "dataset", "metric", "scorer", "value", "spread", "spread_over", "interval_low",
        "interval_high", "interval_over", "bootstrap_value", "bootstrap_low", "bootstrap_high", "bootstrap_over",
        "num_images", "too_few", "feature_network", "weights", "source", "file", "note",
    ),
    "",
)  # fmt: skip


def method_rows(results: Results) -> list[dict[str, object]]:
    """Return the rows of all methods; `note`: why a number is missing, or the meaning of its marks."""
    rows, marks = [], Marks(results)
    for method in results.methods:
        rows += _published_rows(results, method.published_as)
        for column in results.columns:
            metric, summary = results.model(method.model, column)
            if summary is None:
                note = why_missing(results, method.model, column)
            else:
                note = _meanings([*marks.of_model(metric, summary), *[PILCROW] * marks.unable(metric)])
            row = _own_row(results, method.title, metric, summary, note)
            rows.append(row | {"weights": weights_of(results.measured.models.get(method.model, []))})
    return rows


def control_rows(results: Results) -> list[dict[str, object]]:
    """Return the rows of all controls."""
    rows = []
    for name in CONTROLS:
        if name == "real" and results.layout.real_images:
            rows += _published_rows(results, results.layout.real_images)
        for metric in results.columns:
            summary = results.controls.get((name, metric))
            note = why_control_missing(results, name, metric) if summary is None else ""
            rows.append(_own_row(results, CONTROL_TITLES[name], metric, summary, note))
    return rows


def why_missing(results: Results, model: str | None, column: str) -> str:
    """Return why a model has no number in a column."""
    if model is None:
        return "published only"
    if model not in results.measured.models:
        return "not run"
    # A metric that no model has is defined for real images only.
    return "not measured" if results.model_values(column) else "not defined"


def why_control_missing(results: Results, control: str, metric: str) -> str:
    """Return why a control has no number in a column."""
    if control not in results.measured.controls:
        return "not run"
    return "not defined" if metric in results.measured.controls[control].metrics else "not measured"


def _meanings(marks: Sequence[str]) -> str:
    return "; ".join(MEANINGS[mark] for mark in marks if mark in MEANINGS and mark != TOO_FEW)


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
        "too_few": f"too few to tell: {summary.too_few(metric)}" if summary.too_few(metric) else "",
        "feature_network": results.measured.network(metric),
        "file": ";".join(str(file) for file in summary.files),
    }
