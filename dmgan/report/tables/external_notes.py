"""Notes on methods whose images were made by another program, under tables and comparisons."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from dmgan.evaluation.paired_comparison import PerImage
from dmgan.evaluation.pairing import FEWEST, pair_by_caption
from dmgan.report.evaluations import Evaluation
from dmgan.report.results import Measured
from dmgan.report.tables.marks import PARALLEL
from dmgan.report.tables.paper_tables import Results, title_of
from dmgan.report.tables.structure import Note


def external_notes(results: Results) -> Iterator[Note]:
    """Yield the notes on external methods: their images, how they were measured, and other numbers of images."""
    if not results.layout.external:
        return
    external = {name: runs[0] for name, runs in results.measured.models.items() if runs[0].kind == "external"}
    for name, each in external.items():
        sizes, captions = each.inputs["sizes"], each.inputs["captions"]
        yield Note("", f"{title_of(name)}: {each.num_images:,} images of another program ({sizes}; {captions}).")
    yield from _otherwise_notes(results, external)
    yield from _count_notes(results, external)


def _otherwise_notes(results: Results, external: dict[str, Evaluation]) -> Iterator[Note]:
    """Yield a note on the methods whose numbers were measured otherwise than the others of their columns."""
    groups: dict[str, list[str]] = {}  # how they were measured -> titles
    for name, each in external.items():
        if otherwise := each.otherwise(results.columns):
            groups.setdefault(otherwise, []).append(title_of(name))
    for otherwise, titles in groups.items():
        yield Note(
            PARALLEL,
            f"{', '.join(titles)}: measured otherwise ({otherwise}). Numbers with this mark compare with each other if "
            "they stand under one subheading, and with no other number of their column.",
        )


def _count_notes(results: Results, external: dict[str, Evaluation]) -> Iterator[Note]:
    """Yield the note on numbers of images that differ within a column whose metric does not depend on them."""
    told = []
    for name, each in external.items():
        for metric in results.columns:
            measure, models = each.metrics.get(metric), results.measured.model_images(metric)
            if measure is not None and measure.num_images != models:
                told.append(f"{title_of(name)} on {metric}, {measure.num_images:,} images against {models:,}")
    if told:
        why = "These metrics do not depend on the number of images, but their intervals do."
        yield Note("", f"Other numbers of images in one column: {'; '.join(told)}. {why}")


def pairing_notes(measured: Measured, runs: Mapping[str, Sequence[PerImage]]) -> Iterator[Note]:
    """Yield the notes on pairs with an external method: how their images pair, on how many images, and which do not.

    runs: the per-image values of every method of `measured`.
    """
    external = [name for name, each in measured.models.items() if each[0].kind == "external"]
    if not external:
        return
    yield Note(
        "",
        "Images of another program share no noise with a model's; they are paired by caption. If two methods do not "
        "have the same captions, the images of those that both have are compared, by metrics with a value per image.",
    )
    compared, left_out = [], []
    for first, second in combinations(runs, 2):
        if first in external or second in external:
            both, names = pair_by_caption(runs[first], runs[second]), f"{title_of(first)} and {title_of(second)}"
            if both is None:
                left_out.append(names)
            else:
                compared.append(f"{names}, {len(both[0][0].arrays['captions']):,} images")
    if compared:
        yield Note("", f"Compared with methods of other programs: {'; '.join(compared)}.")
    if left_out:
        why = f"fewer than {FEWEST} of their images have the same captions"
        yield Note("", f"Not compared, because {why}: {'; '.join(left_out)}.")
