"""The table of paired comparisons: which model is better than which, said only where it holds."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmgan.evaluation.comparison import Comparison, PerImage, check_pairs, compare, holds, read_per_image
from dmgan.evaluation.uncertainty import LEVEL, holm
from dmgan.report.layouts import CONTROL_TITLES, better, is_better, title_of
from dmgan.report.markup import Cell, Column, Note, Row, Table, to_latex, to_markdown
from dmgan.report.measured import Measured, judge_of, metric_of, read_measured
from dmgan.report.notes import DAGGER, MEANINGS, may_rank, should_lose
from dmgan.storage import files

NAME = "comparisons"
NOT_SHOWN = "no difference shown"


class Compared(NamedTuple):
    """One metric of one pair of models, and what may be said of it."""

    pair: tuple[str, str]  # titles
    comparison: Comparison
    corrected_p: float  # for all pairs of this metric
    claim: str
    fooled: tuple[str, ...] = ()  # controls that should lose and rank before the better model: the claim is no evidence


def write_comparisons(metrics: Sequence[Path], out: Path, seed: int) -> None:
    """Write comparisons.{csv,md,tex} into `out`: every pair of models among metrics.json files of one data set.

    Control rows among the files are not compared, but qualify the claims by a metric that they beat.
    """
    measured = read_measured(metrics)
    runs = {name: [read_per_image(each.file) for each in runs] for name, runs in measured.models.items()}
    check_pairs([each for every in runs.values() for each in every])
    compared = [_qualified(each, measured) for each in compare_pairs(runs, seed)]
    table = _table(measured, compared)
    nothing = dict.fromkeys(_FIELDS, "") | {"dataset": measured.dataset, "claim": "one model, nothing to compare"}
    files.write_csv(out / f"{NAME}.csv", [_tidy(measured, each) for each in compared] or [nothing])
    files.write_text(out / f"{NAME}.md", to_markdown(table))
    files.write_text(out / f"{NAME}.tex", to_latex(table, NAME))


def compare_pairs(runs: dict[str, list[PerImage]], seed: int) -> list[Compared]:
    """Every pair on every metric that both have, metric by metric."""
    metrics = dict.fromkeys(key for every in runs.values() for key in every[0].compared)
    found = []
    for metric in metrics:
        pairs = [pair for pair in combinations(runs, 2) if all(metric in runs[name][0].compared for name in pair)]
        comparisons = [compare(runs[first], runs[second], metric, seed) for first, second in pairs]
        corrected = holm(np.array([each.difference.p_value for each in comparisons]))
        for pair, comparison, p in zip(pairs, comparisons, corrected, strict=True):
            titles = (title_of(pair[0]), title_of(pair[1]))
            found.append(Compared(titles, comparison, float(p), _claim(titles, comparison, float(p))))
    return found


def _claim(titles: tuple[str, str], comparison: Comparison, corrected_p: float) -> str:
    if not holds(comparison, corrected_p):
        return NOT_SHOWN
    ahead = is_better(comparison.metric, comparison.first, comparison.second)
    winner, loser = titles if ahead else titles[::-1]
    return f"{winner} better than {loser}"


def _qualified(each: Compared, measured: Measured) -> Compared:
    """The same with the controls that the metric ranks before the better model, though they should lose."""
    if each.claim == NOT_SHOWN:
        return each
    metric, first, second = each.comparison.metric, each.comparison.first, each.comparison.second
    best = first if is_better(metric, first, second) else second
    controls = {name: control.metrics.get(metric) for name, control in measured.controls.items()}
    fooled = tuple(
        name
        for name, measure in controls.items()
        if measure is not None
        and should_lose(name, metric)
        and may_rank(measured, name, metric, control_leads=True)
        and is_better(metric, measure.value, best)
    )
    return each._replace(fooled=fooled)


def _table(measured: Measured, compared: Sequence[Compared]) -> Table:
    headings = ("difference [95 %]", "p (Holm)", "effect size", "over seeds [95 %]", "claim")
    columns = [Column("first minus second", heading, "", "") for heading in headings]
    rows = []
    for each in compared:
        comparison, shown = each.comparison, each.claim != NOT_SHOWN
        over_seeds = "one seed" if comparison.over_seeds is None else _interval(*comparison.over_seeds[0])
        cells = [
            Cell(f"{comparison.difference.value:+.3g} {_interval(*comparison.difference.interval)}"),
            Cell(_p(each.corrected_p)),
            Cell(f"{comparison.difference.effect:+.2f}"),
            Cell(over_seeds),
            Cell(each.claim, bold=shown and not each.fooled, marks=(DAGGER,) if each.fooled else ()),
        ]
        better_if = {"up": "more is better", "down": "less is better"}[better(comparison.metric)]
        rows.append(Row(f"{each.pair[0]} − {each.pair[1]}, {comparison.metric}, {better_if}", cells))
    return Table("Comparisons", _caption(measured, compared), columns, rows, _notes(measured, compared))


def _interval(low: float, high: float) -> str:
    return f"[{low:+.3g}, {high:+.3g}]"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _caption(measured: Measured, compared: Sequence[Compared]) -> str:
    if not compared:
        return f"Pairs of models on {measured.dataset}: there is one model, and nothing to compare it with."
    return (
        f"Pairs of models on {measured.dataset}. Image n of both has the same caption and the same noise, and is "
        "compared with its pair."
    )


def _notes(measured: Measured, compared: Sequence[Compared]) -> list[Note]:
    differences = [each.comparison.difference for each in compared]
    notes = []
    for over in dict.fromkeys(each.over for each in differences):
        which = [each for each in compared if each.comparison.difference.over == over]
        metrics = ", ".join(dict.fromkeys(metric_of(each.comparison.metric) for each in which))
        first = which[0].comparison.difference
        notes.append(
            Note("", f"{metrics}: {LEVEL:.0%} interval by {over}; p by {first.test}; effect size: {first.effect_name}.")
        )
    if compared:
        notes.append(
            Note(
                "",
                "A claim is printed only where the interval over images leaves 0 out, p corrected for all pairs of the "
                "metric (Holm) is below 0.05 and, where both models have several seeds of training, the interval over "
                "seeds (Welch) leaves 0 out on the same side.",
            )
        )
    fooled = {(each.comparison.metric, name): None for each in compared for name in each.fooled}
    if fooled:
        told = "; ".join(
            f"{CONTROL_TITLES[name]} ({metric} {measured.controls[name].metrics[metric].value:.4g})"
            for metric, name in fooled
        )
        notes.append(
            Note(
                DAGGER,
                f"By a metric that ranks a control that should lose before the better model: {told}. Such a claim is "
                "of the metric alone, no evidence for the model.",
            )
        )
    if any(metric_of(each.comparison.metric) == "KID" for each in compared):
        notes.append(Note("", "KID is compared over all pairs of images, without the draw of the tables' 100 subsets."))
    if any(each.comparison.over_seeds is None for each in compared):
        notes.append(
            Note("", "One seed: a claim is of these trained generators; another training of a model may differ.")
        )
    return notes


_FIELDS = (
    "first", "second", "dataset", "metric", "judge", "first_value", "second_value", "difference", "interval_low",
    "interval_high", "interval_over", "p_value", "p_value_holm", "test", "effect_size", "effect_size_name",
    "first_seeds", "second_seeds", "seeds_low", "seeds_high", "seeds_p_value", "claim", "note",
)  # fmt: skip


def _tidy(measured: Measured, each: Compared) -> dict[str, object]:
    comparison, difference = each.comparison, each.comparison.difference
    (seeds_low, seeds_high), seeds_p = comparison.over_seeds or (("", ""), "")
    values = (
        *each.pair, measured.dataset, metric_of(comparison.metric), judge_of(comparison.metric), comparison.first,
        comparison.second, difference.value, *difference.interval, difference.over, difference.p_value,
        each.corrected_p, difference.test, difference.effect, difference.effect_name, *comparison.seeds, seeds_low,
        seeds_high, seeds_p, each.claim, MEANINGS[DAGGER] if each.fooled else "",
    )  # fmt: skip
    return dict(zip(_FIELDS, values, strict=True))
