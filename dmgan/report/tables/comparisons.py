"""The table of paired comparisons of models, with the claims that are significant."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dmgan.evaluation.paired_comparison import (
    Comparison,
    PerImage,
    check_pairs,
    compare,
    holds,
    read_per_image,
)
from dmgan.evaluation.statistics.uncertainty import LEVEL, holm
from dmgan.report.results import Measured, metric_of, read_measured, scorer_of
from dmgan.report.tables.markup import Cell, Column, Note, Row, Table, to_latex, to_markdown
from dmgan.report.tables.notes import DAGGER, MEANINGS, may_rank, should_lose
from dmgan.report.tables.paper_tables import CONTROL_TITLES, better, is_better, title_of
from dmgan.storage import files

NAME = "comparisons"
NOT_SHOWN = "no difference shown"


class Compared(NamedTuple):
    """Comparison of a pair of models by one metric, and the claim that follows."""

    pair: tuple[str, str]  # titles
    comparison: Comparison
    corrected_p: float  # for all pairs of this metric
    claim: str
    wrong_controls: tuple[str, ...] = ()  # controls that should lose but rank before the better model: no evidence


def write_comparisons(metrics: Sequence[Path], out: Path, seed: int) -> None:
    """Write comparisons.{csv,md,tex} into `out`: every pair of models among metrics.json files of one data set.

    Control rows among the files are not compared; claims are marked if a control that should lose ranks better.
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
    """Compare every pair of models by every metric that both have; the order is metric by metric."""
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
    """Return the comparison with the controls that should lose but rank before the better model."""
    if each.claim == NOT_SHOWN:
        return each
    metric, first, second = each.comparison.metric, each.comparison.first, each.comparison.second
    best = first if is_better(metric, first, second) else second
    controls = {name: control.metrics.get(metric) for name, control in measured.controls.items()}
    wrong_controls = tuple(
        name
        for name, measure in controls.items()
        if measure is not None
        and should_lose(name, metric)
        and may_rank(measured, name, metric, control_leads=True)
        and is_better(metric, measure.value, best)
    )
    return each._replace(wrong_controls=wrong_controls)


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
            Cell(each.claim, bold=shown and not each.wrong_controls, marks=(DAGGER,) if each.wrong_controls else ()),
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
        return f"Pairs of models on {measured.dataset}: there is only one model, so there is nothing to compare."
    return (
        f"Pairs of models on {measured.dataset}. Image n of both models has the same caption and the same noise; the "
        "models are compared image by image."
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
                "A claim is printed only if the interval over images excludes 0, p corrected for all pairs of the "
                "metric (Holm) is below 0.05 and, if both models have several training seeds, the interval over "
                "seeds (Welch) excludes 0 on the same side.",
            )
        )
    wrong = {(each.comparison.metric, name): None for each in compared for name in each.wrong_controls}
    if wrong:
        listed = "; ".join(
            f"{CONTROL_TITLES[name]} ({metric} {measured.controls[name].metrics[metric].value:.4g})"
            for metric, name in wrong
        )
        notes.append(
            Note(
                DAGGER,
                f"The metric ranks a control that should lose before the better model: {listed}. The claim is no "
                "evidence for the model.",
            )
        )
    if any(metric_of(each.comparison.metric) == "KID" for each in compared):
        notes.append(
            Note("", "KID is compared over all pairs of images, not over 100 random subsets as in the tables.")
        )
    if any(each.comparison.over_seeds is None for each in compared):
        notes.append(
            Note("", "One seed: claims hold for these trained generators; another training of a model may differ.")
        )
    return notes


_FIELDS = (
    "first", "second", "dataset", "metric", "scorer", "first_value", "second_value", "difference", "interval_low",
    "interval_high", "interval_over", "p_value", "p_value_holm", "test", "effect_size", "effect_size_name",
    "first_seeds", "second_seeds", "seeds_low", "seeds_high", "seeds_p_value", "claim", "note",
)  # fmt: skip


def _tidy(measured: Measured, each: Compared) -> dict[str, object]:
    comparison, difference = each.comparison, each.comparison.difference
    (seeds_low, seeds_high), seeds_p = comparison.over_seeds or (("", ""), "")
    values = (
        *each.pair, measured.dataset, metric_of(comparison.metric), scorer_of(comparison.metric), comparison.first,
        comparison.second, difference.value, *difference.interval, difference.over, difference.p_value,
        each.corrected_p, difference.test, difference.effect, difference.effect_name, *comparison.seeds, seeds_low,
        seeds_high, seeds_p, each.claim, MEANINGS[DAGGER] if each.wrong_controls else "",
    )  # fmt: skip
    return dict(zip(_FIELDS, values, strict=True))
