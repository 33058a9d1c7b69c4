"""Notes on what "±" and intervals are over, and on values of too few images."""

from collections.abc import Iterator, Sequence

from dmgan.evaluation.metrics.table import facts_of
from dmgan.report.evaluations import metric_of
from dmgan.report.results import SEEDS
from dmgan.report.tables.marks import TOO_FEW, Marks
from dmgan.report.tables.paper_tables import Results
from dmgan.report.tables.phrases import listed
from dmgan.report.tables.structure import Note, Row

_FOLD = 3000  # images per fold in the papers
_PUBLISHED_SPREAD = {"R-precision": "ten folds of one image set"}  # DM-GAN, section 4; not stated for IS


def uncertainty_notes(results: Results, marks: Marks) -> Iterator[Note]:
    """Yield the notes on "±" and intervals."""
    yield from _spread_notes(results, marks)
    yield from _impossible_spread_notes(results)


def spread_line(marks: Marks) -> str:
    """Return the line under a table that tells what the "±" of this run is over."""
    kinds = [f"({marks.letter(each)}) {each}" if marks.letter(each) else each for each in marks.spreads]
    return f"± of this run: standard deviation over {'; '.join(kinds)}."


def too_few_notes(results: Results, rows: Sequence[Row]) -> list[Note]:
    """Return the note on the rows whose images are too few to tell, with the least number of images."""
    labels: dict[int, dict[str, None]] = {}  # images -> rows
    needed: dict[int, dict[str, None]] = {}  # least number of images -> metrics
    for row in rows:
        for cell in row.cells:
            if cell.number is not None and cell.number.too_few:
                labels.setdefault(cell.number.num_images, {})[row.label] = None
    for metric in map(metric_of, results.columns):
        needed.setdefault(facts_of(metric).fewest_images, {})[metric] = None
    if not labels:
        return []
    which = "; ".join(f"{listed(list(names))} ({count:,} images)" for count, names in labels.items())
    least = "; ".join(f"{listed(list(names))} {count:,}" for count, names in needed.items())
    return [Note(TOO_FEW, f"Too few images to tell: {which}. Least number of images: {least}.")]


def published_spread(metric: str) -> str:
    """Return what the paper's "±" of a metric is computed over."""
    return _PUBLISHED_SPREAD.get(metric, "not stated in the paper")


def _spread_notes(results: Results, marks: Marks) -> Iterator[Note]:
    with_std = {each.metric for each in results.published.values() if each.std}
    over = "; ".join(f"{metric}, {published_spread(metric)}" for metric in results.layout.metrics if metric in with_std)
    if over:
        yield Note("", f"± of published numbers is over: {over}.")
    for spread in marks.spreads:
        what = "mean and sample standard deviation" if spread.endswith(SEEDS) else "standard deviation"
        yield Note(marks.letter(spread), f"± of this run: {what} over {spread}.")
    over: dict[str, dict[str, None]] = {}
    for metric in results.columns:
        for summary in results.summaries_of(metric):
            interval, said = summary.clustered(metric)
            if interval:
                over.setdefault(said, {})[metric] = None
    if over:
        entries = "; ".join(f"{listed(list(metrics))}, {said}" for said, metrics in over.items())
        yield Note("", f"[ ] of this run: 95 % intervals. {entries}.")


def _impossible_spread_notes(results: Results) -> Iterator[Note]:
    """Yield the note on published ± that folds of 3,000 images cannot have: the sd of hits is sqrt(p (1 - p) / n)."""
    entries = []
    for (method, dataset, metric), cell in results.published.items():
        if facts_of(metric).unit != "%" or not cell.value or not cell.std:
            continue
        share, spread = float(cell.value) / 100, float(cell.std) / 100
        expected, implied = (share * (1 - share) / _FOLD) ** 0.5, share * (1 - share) / spread**2
        if spread > 3 * expected:
            entries.append(
                f"{method} on {dataset}, ± {cell.std} although folds of {_FOLD:,} images give ± {100 * expected:.2f}; "
                f"the published ± fits folds of about {implied:.0f} images"
            )
    if entries:
        beside = "Do not compare it with a ± over folds of another size."
        what = "Published ± of R-precision that cannot be over ten folds of 30,000 images"
        yield Note("", f"{what}: {'; '.join(entries)}. {beside}")
