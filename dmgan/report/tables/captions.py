"""The captions of a table and of its parts."""

from collections.abc import Sequence

from dmgan.report.literature.published import AUTHORS, PAPERS
from dmgan.report.results import Measured
from dmgan.report.tables.paper_tables import PUBLISHED_SETS, Results
from dmgan.report.tables.phrases import listed


def own_caption(results: Results) -> str:
    """Return the caption of the numbers of this run."""
    measured = results.measured
    beside = f" ({measured.not_published})" if results.published_columns and measured.not_published else ""
    return f"{results.layout.subject}. {measured.dataset}{beside}: this run, {_own_images(results)}."


def controls_caption(results: Results) -> str:
    """Return the caption of the control rows."""
    return f"Control rows. {results.layout.subject}. {results.measured.dataset}: this run."


def published_caption(results: Results) -> str:
    """Return the caption of the published numbers."""
    layout = results.layout
    return f"{layout.subject}, as published by {AUTHORS[layout.source]} ({PAPERS[layout.source]}, {layout.number})."


def _own_images(results: Results) -> str:
    """Return the numbers and the size of the images of every model."""
    counts = {results.measured.model_images(metric) for metric in results.columns} - {None}
    if not counts:
        return "no model was run"
    images = " and ".join(f"{count:,}" for count in sorted(counts))
    return f"{images} images of {results.measured.size} per model{_smaller(results)}"


def table_caption(results: Results) -> str:
    """Return the caption: what the table shows, the data sets, and why published and own numbers do not rank."""
    layout, measured = results.layout, results.measured
    sets = [dataset for dataset in PUBLISHED_SETS if any(dataset == column[0] for column in results.published_columns)]
    if not sets:
        return own_caption(results)
    return (
        f"{layout.subject}. {listed(sets)}: as published ({AUTHORS[layout.source]}, {PAPERS[layout.source]}, "
        f"{layout.number}). {measured.dataset}: this run, {_own_images(results)}. {why_not_ranked(measured, sets)}"
    )


def why_not_ranked(measured: Measured, sets: Sequence[str]) -> str:
    """Return a sentence that says why numbers of this run do not rank against those published for the `sets`."""
    title, differences = measured.published_set or ("", ())
    if title in sets and differences:
        apart = f"The data set of this run is {measured.not_published}"
    elif title in sets:
        apart = "The feature network, reference images and number of images of this run may differ from the paper's"
    else:
        apart = "The data set and the feature network of this run differ from those of the published columns"
    return f"{apart}, so its numbers do not rank against published numbers."


def _smaller(results: Results) -> str:
    """Return the models of the table whose images are smaller than the data set's, in parentheses; "" for none."""
    measured = results.measured
    models = {each.title: measured.models[each.model][0] for each in results.methods if each.model in measured.models}
    sides = {title: each.image_size for title, each in models.items() if each.kind == "model"}
    smaller = [f"{title}: {side} × {side} px" for title, side in sides.items() if side != measured.image_size]
    return f" ({', '.join(smaller)})" if smaller else ""
