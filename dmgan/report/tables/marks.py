"""Marks of the cells of a table: controls, real images, numbers of images and protocols that bear on a value."""

from collections.abc import Iterator

from dmgan.evaluation.metrics.table import facts_of
from dmgan.options import CONTROLS
from dmgan.report.evaluations import metric_of
from dmgan.report.literature.published import Published
from dmgan.report.results import Measured, Summary
from dmgan.report.tables.paper_tables import Results, better, is_better

DAGGER, DOUBLE_DAGGER, SECTION, PILCROW, PARALLEL, TOO_FEW = "†", "‡", "§", "¶", "‖", "?"
MEANINGS = {
    DAGGER: "a control that should lose ranks before the model",
    DOUBLE_DAGGER: "ranks before real test images",
    SECTION: "the nearest training images rank before the model",
    PILCROW: "the metric cannot tell real images from real images with shuffled captions",
    PARALLEL: "measured otherwise than the rows without this mark: not compared with them",
    TOO_FEW: "too few images to tell",
}


def should_lose(control: str, metric: str) -> bool:
    """Return whether a sound metric ranks this control behind every trained model."""
    # Shuffled images are real; only a metric that reads captions can see that their captions are wrong.
    return control in ("noise", "adversarial") or (control == "shuffled" and facts_of(metric_of(metric)).reads_captions)


def may_rank(measured: Measured, control: str, metric: str, control_leads: bool) -> bool:
    """Return whether control and models are comparable on `metric`; `control_leads`: the control has the better value.

    Not comparable if the metric moves with the number of images and the numbers differ, unless the control leads
    although it has fewer images.
    """
    measure = measured.controls[control].metrics[metric]
    here = (measure.num_images, measure.protocol.get("reference_num_images", 0))
    there = (measured.model_images(metric), (measured.protocol(metric) or {}).get("reference_num_images", 0))
    facts = facts_of(metric_of(metric))
    if not facts.moves_with_images or here == there:
        return True
    fewer = here[0] <= there[0] and here[1] <= there[1]
    return control_leads and fewer and facts.worse_with_fewer


class Marks:
    """Marks of the cells of this run."""

    def __init__(self, results: Results):
        self.results = results
        self.remarks = results.remarks()
        kinds = [each.spread_over for each in results.summaries()]
        self.spreads = sorted(dict.fromkeys(kinds), key=lambda kind: -kinds.count(kind))  # the most frequent first

    def of_model(self, metric: str, summary: Summary) -> Iterator[str]:
        """Yield the marks of a model's cell: the letter of its "±", then those of controls and of the protocol."""
        yield from self.of_control(metric, summary)
        yield from self._of_value(metric, summary.value)
        if metric not in self.results.columns:
            yield PARALLEL

    def _of_value(self, metric: str, value: float) -> Iterator[str]:
        leading = self.leading(metric)
        losers = [control.value for name, control in leading.items() if should_lose(name, metric)]
        if any(is_better(metric, loser, value) for loser in losers):
            yield DAGGER
        real = self.trailing(metric).get("real")
        if real is not None and is_better(metric, value, real.value):
            yield DOUBLE_DAGGER
        if "nearest" in leading and is_better(metric, leading["nearest"].value, value):
            yield SECTION

    def of_column(self, metric: str) -> tuple[str, ...]:
        """Return the marks of a column: all marks of its models' cells, and PILCROW if the metric cannot tell."""
        values = self.results.model_values(metric).values()
        carried = {mark for value in values for mark in self._of_value(metric, value)}
        if self.unable(metric):
            carried.add(PILCROW)
        return tuple(mark for mark in MEANINGS if mark in carried)

    def unable(self, metric: str) -> bool:
        """Return whether a metric that reads captions cannot tell real images with their own from shuffled captions.

        It cannot if real images do not score better by more than their intervals: the intervals overlap, or shuffled
        captions score better.
        """
        controls = self.controls(metric)
        if not facts_of(metric_of(metric)).reads_captions or not {"real", "shuffled"} <= controls.keys():
            return False
        real, _ = controls["real"].clustered(metric)
        shuffled, _ = controls["shuffled"].clustered(metric)
        if real is None or shuffled is None:
            return False
        return not (real[0] > shuffled[1] if better(metric) == "up" else real[1] < shuffled[0])

    def of_published(self, found: Published) -> Iterator[str]:
        """Yield the number of the remark on a published cell."""
        if found.remark:
            yield self.number(found.remark)

    def number(self, remark: str) -> str:
        """Return the number of a remark, [1], [2], ... in the order of the table."""
        return f"[{self.remarks.index(remark) + 1}]"

    def of_control(self, metric: str, summary: Summary) -> Iterator[str]:
        """Yield the letter of a "±" that is not the table's most frequent kind, and the mark of few images."""
        if letter := self.letter(summary.spread_over):
            yield letter
        if summary.too_few(metric):
            yield TOO_FEW

    def letter(self, spread_over: str) -> str:
        """Return the letter of a kind of "±", a, b, ...; "" for the most frequent kind."""
        place = self.spreads.index(spread_over)
        return chr(ord("a") + place - 1) if place else ""

    def controls(self, metric: str) -> dict[str, Summary]:
        """Return the controls that have a metric, by name."""
        found = {name: self.results.controls.get((name, metric)) for name in CONTROLS}
        return {name: summary for name, summary in found.items() if summary is not None}

    def leading(self, metric: str) -> dict[str, Summary]:
        """Return the controls that are comparable with a model if they score better."""
        return self._ranking(metric, control_leads=True)

    def trailing(self, metric: str) -> dict[str, Summary]:
        """Return the controls that are comparable with a model if they score worse."""
        return self._ranking(metric, control_leads=False)

    def _ranking(self, metric: str, control_leads: bool) -> dict[str, Summary]:
        if not self.results.model_values(metric):
            return {}
        controls, measured = self.controls(metric), self.results.measured
        return {name: each for name, each in controls.items() if may_rank(measured, name, metric, control_leads)}
