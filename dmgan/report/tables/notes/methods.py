"""Notes on the methods of a table: hyperparameters, weights, images of other programs, published numbers."""

from collections.abc import Iterator

from dmgan.report.hyperparameters import hyperparameter_notes
from dmgan.report.tables.external_notes import external_notes
from dmgan.report.tables.marks import Marks
from dmgan.report.tables.paper_tables import Results, title_of
from dmgan.report.tables.phrases import listed
from dmgan.report.tables.structure import Note
from dmgan.report.tables.weights import weights_notes


def method_notes(results: Results) -> Iterator[Note]:
    """Yield the notes on the methods that were run, and on the rows that were not."""
    yield from omitted_notes(results)
    for line in hyperparameter_notes(results.shown_models(), title_of):
        yield Note("", line)
    yield from weights_notes(results.measured, [each.model for each in results.methods])
    yield from external_notes(results)


def omitted_notes(results: Results) -> Iterator[Note]:
    """Yield the note on the paper's rows that have neither a published number nor a run."""
    if results.omitted:
        yield Note("", f"Not run, so omitted: {'; '.join(results.omitted)}.")


def published_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the notes on published numbers."""
    for remark in results.layout.remarks:
        yield Note("", remark)
    for remark in marks.remarks:
        yield Note(marks.number(remark), remark)
    titles = [each.title for each in results.methods if each.model is None]
    if titles:
        yield Note("", f"Published numbers only, not implemented here: {listed(titles)}.")
