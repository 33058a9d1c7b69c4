"""The table of paired comparisons of models, with the claims that are significant."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from dmgan.evaluation.metrics.table import facts_of
from dmgan.evaluation.paired_comparison import (
    Comparison,
    Corrected,
    PerImage,
    check_pairs,
    compare,
    correct,
    holds,
    read_per_image,
)
from dmgan.evaluation.pairing import pair_by_caption
from dmgan.evaluation.statistics.claims import ALPHA, least_claimable
from dmgan.evaluation.statistics.uncertainty import LEVEL
from dmgan.report.evaluations import Evaluation, metric_of, scorer_of
from dmgan.report.hyperparameters import differences, hyperparameter_notes
from dmgan.report.results import Measured, read_measured
from dmgan.report.tables.external_notes import pairing_notes
from dmgan.report.tables.latex import to_latex, to_latex_notes
from dmgan.report.tables.markdown import to_markdown, to_markdown_notes
from dmgan.report.tables.marks import DAGGER, MEANINGS, TOO_FEW, may_rank, should_lose
from dmgan.report.tables.paper_tables import CONTROL_TITLES, better, is_better, title_of
from dmgan.report.tables.structure import Cell, Column, Note, Number, Row, Table, typeset
from dmgan.report.tables.weights import weights_notes
from dmgan.storage import files

NAME = "comparisons"
NOT_SHOWN = "no difference shown"
TOO_FEW_TO_TELL = "too few images to tell"
_FAR = 10  # standard deviations over seeds: a larger difference of two models needs no test
_NEAR = 3


class Compared(NamedTuple):
    """Comparison of a pair of models by one metric, and the claim that follows."""

    pair: tuple[str, str]  # titles
    comparison: Comparison
    corrected: Corrected  # for all pairs and metrics of the table
    claim: str
    names: tuple[str, str]  # of the models, in Measured.models
    num_images: int  # of either model
    wrong_controls: tuple[str, ...] = ()  # controls that should lose but rank before the better model: no evidence

    @property
    def too_few(self) -> str:
        """Why the compared images are too few to tell; "" if they are enough."""
        return facts_of(metric_of(self.comparison.metric)).too_few(self.num_images)

    @property
    def is_claimed(self) -> bool:
        """Whether the comparison claims that a model is better."""
        return self.claim not in (NOT_SHOWN, TOO_FEW_TO_TELL)


def write_comparisons(metrics: Sequence[Path], out: Path, seed: int, check: bool = True) -> None:
    """Write comparisons.{csv,md,tex} into `out`: every pair of models among metrics.json files of one data set.

    All notes on the table are in comparisons-notes.{md,tex}.

    Control rows among the files are not compared; claims are marked if a control that should lose ranks better.
    check: as in `write_tables`.
    """
    measured = read_measured(metrics, check)
    runs = {name: [_per_image(each, check) for each in runs] for name, runs in measured.models.items()}
    check_pairs([each for name, every in runs.items() if measured.models[name][0].kind == "model" for each in every])
    compared = [_qualified(each, measured) for each in compare_pairs(runs, seed)]
    table = comparison_table(measured, compared, runs)
    nothing = dict.fromkeys(_FIELDS, "") | {"dataset": measured.dataset, "claim": "one model, nothing to compare"}
    files.write_csv(out / f"{NAME}.csv", [_tidy(measured, each) for each in compared] or [nothing])
    files.write_text(out / f"{NAME}.md", to_markdown(table))
    files.write_text(out / f"{NAME}.tex", to_latex(table))
    files.write_text(out / f"{NAME}-notes.md", to_markdown_notes(table))
    files.write_text(out / f"{NAME}-notes.tex", to_latex_notes(table))


def _per_image(evaluation: Evaluation, check: bool) -> PerImage:
    """Return the per-image values of an evaluation, with the keys of the columns that it stands in."""
    values = read_per_image(evaluation.file, check)
    return values.with_keys({key: own for own, key in evaluation.key_in_file.items()})


def compare_pairs(runs: dict[str, list[PerImage]], seed: int) -> list[Compared]:
    """Compare every pair of models by every metric that both have; the order is metric by metric.

    All comparisons are one family: the claims are corrected for all of them. Pairs whose images have too few captions
    in common are left out, of the family too.
    """
    matched = {pair: pair_by_caption(*(runs[name] for name in pair)) for pair in combinations(runs, 2)}
    pairs, family = [], []
    for metric in dict.fromkeys(key for every in runs.values() for key in every[0].compared):
        for pair, both in matched.items():
            if both and all(metric in each[0].compared for each in both):
                pairs.append(pair)
                family.append(compare(*both, metric, seed))
    found = []
    for names, comparison, corrected in zip(pairs, family, correct(family), strict=True):
        titles, count = (title_of(names[0]), title_of(names[1])), len(matched[names][0][0].arrays["captions"])
        claim = _claim(titles, comparison, corrected, count)
        found.append(Compared(titles, comparison, corrected, claim, names, count))
    return found


def _claim(titles: tuple[str, str], comparison: Comparison, corrected: Corrected, num_images: int) -> str:
    if facts_of(metric_of(comparison.metric)).too_few(num_images):
        return TOO_FEW_TO_TELL
    if not holds(comparison, corrected):
        return NOT_SHOWN
    ahead = is_better(comparison.metric, comparison.first, comparison.second)
    winner, loser = titles if ahead else titles[::-1]
    return f"{winner} better than {loser}"


def _qualified(each: Compared, measured: Measured) -> Compared:
    """Return the comparison with the controls that should lose but rank before the better model."""
    if not each.is_claimed:
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


def comparison_table(measured: Measured, compared: Sequence[Compared], runs: dict[str, list[PerImage]]) -> Table:
    """Return the table of comparisons, with a subheading for every metric."""
    headings = (
        "difference [95 %]", "p over images (Holm)", "effect size", "over seeds [95 %]", "p over seeds (Holm)", "claim"
    )  # fmt: skip
    columns = [Column("first minus second", heading, "", "") for heading in headings]
    rows = []
    for each in compared:
        comparison, difference = each.comparison, each.comparison.difference
        over_seeds, p_over_seeds = "one seed", "one seed"
        if comparison.over_seeds is not None:
            over_seeds, p_over_seeds = _interval(*comparison.over_seeds.interval), _p(each.corrected.seeds)
        number = Number(
            f"{difference.value:+.3g}",
            difference.value,
            interval_digits=tuple(f"{end:+.3g}" for end in difference.interval),
            interval=difference.interval,
            interval_over=difference.over,
            num_images=each.num_images,
            files=tuple(run.file for name in each.names for run in measured.models[name]),
            too_few=each.too_few,
        )
        marks = (DAGGER,) if each.wrong_controls else (TOO_FEW,) if each.too_few else ()
        cells = [
            Cell(number.text, number=number),
            Cell(_p(each.corrected.images)),
            Cell(typeset(f"{difference.effect:+.2f}")),
            Cell(over_seeds),
            Cell(p_over_seeds),
            Cell(each.claim, bold=each.is_claimed and not each.wrong_controls, marks=marks),
        ]
        better_if = {"up": "more is better", "down": "less is better"}[better(comparison.metric)]
        rows.append(Row(f"{each.pair[0]} − {each.pair[1]}", cells, group=f"{comparison.metric}, {better_if}"))
    notes = [
        *(note._replace(topic="Tests") for note in _notes(measured, compared)),
        *(note._replace(topic="Methods") for note in _method_notes(measured, runs)),
    ]
    return Table(NAME, "Comparisons", _caption(measured, compared), columns, rows, _legend(compared), notes, "Pair")


def _method_notes(measured: Measured, runs: dict[str, list[PerImage]]) -> Iterator[Note]:
    for line in hyperparameter_notes(measured.models, title_of):
        yield Note("", line)
    yield from weights_notes(measured, measured.models)
    yield from pairing_notes(measured, runs)


def _legend(compared: Sequence[Compared]) -> list[Note]:
    """Return the lines under the table."""
    lines = []
    if compared:
        lines.append(
            Note(
                "", f"p is corrected for all {len(compared)} comparisons together (Holm). Intervals are not corrected."
            )
        )
    lines += _one_seed_notes(compared)
    if any(each.wrong_controls for each in compared):
        lines.append(Note(DAGGER, f"{MEANINGS[DAGGER]}: the claim is no evidence."))
    lines += _too_few_notes(compared)
    lines.append(Note("", f"Further notes: {NAME}-notes.", on_screen=True))
    return lines


def _too_few_notes(compared: Sequence[Compared]) -> Iterator[Note]:
    """Yield the note on comparisons of too few images, with the least number of images."""
    if reasons := dict.fromkeys(each.too_few for each in compared if each.too_few):
        yield Note(TOO_FEW, f"Too few images to tell: {'; '.join(reasons)}. Nothing is claimed.")


def _one_seed_notes(compared: Sequence[Compared]) -> Iterator[Note]:
    if any(each.comparison.over_seeds is None for each in compared):
        yield Note(
            "",
            "One seed: claims hold for these trained generators; another training of a model may differ. A claim "
            "about a model needs two or more seeds of both models.",
        )


def _interval(low: float, high: float) -> str:
    return typeset(f"[{low:+.3g}, {high:+.3g}]")


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
    notes += _family_notes(compared)
    fixed = list(dict.fromkeys(each.comparison.metric for each in compared if _compares_with_real(each)))
    if fixed:
        notes.append(
            Note(
                "",
                f"{', '.join(fixed)}: the real images are held fixed. Interval, p and claim are about the distance to "
                "these real images.",
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
    notes += [*_one_seed_notes(compared), *_too_few_notes(compared)]
    return notes


def _compares_with_real(each: Compared) -> bool:
    """Return whether the metric of a comparison compares generated with real images."""
    return "reference" in facts_of(metric_of(each.comparison.metric)).protocol


def _family_notes(compared: Sequence[Compared]) -> Iterator[Note]:
    """Yield the notes on the family of tests, on the rule of a claim, and on what the number of seeds can show."""
    if not compared:
        return
    pairs = len({each.pair for each in compared})
    metrics = list(dict.fromkeys(each.comparison.metric for each in compared))
    over_seeds = [each.comparison for each in compared if each.comparison.over_seeds is not None]
    tests = f"{len(compared)} tests over images"
    if over_seeds:
        tests += f" and {len(over_seeds)} over seeds"
    yield Note(
        "",
        f"One family of comparisons: {pairs} {'pair' if pairs == 1 else 'pairs'} of models by {', '.join(metrics)}. "
        f"{tests} are corrected together (Holm), each at its level, so that a table of equal models has a false claim "
        f"with a probability of at most {ALPHA:.0%}.",
    )
    yield Note(
        "",
        f"A claim is printed only if the interval over images excludes 0, the corrected p is below {ALPHA:g} and, if "
        f"both models have several training seeds, the corrected p over seeds is below {ALPHA:g} with a difference on "
        "the same side. Intervals are of one comparison and not corrected.",
    )
    for seeds in dict.fromkeys(each.seeds for each in over_seeds):
        yield _seeds_note(seeds, len(over_seeds))


def _seeds_note(seeds: tuple[int, int], tests: int) -> Note:
    """Return the note on the differences that a number of seeds can show."""
    least = least_claimable(seeds, tests)
    text = (
        f"Over seeds: Welch's t test. With {seeds[0]} and {seeds[1]} seeds and {tests} tests, the first claim needs a "
        f"difference of {least:.1f} standard deviations over seeds."
    )
    if least > _FAR:
        enough = next(count for count in range(max(seeds), 1000) if least_claimable((count, count), tests) <= _NEAR)
        text += (
            f" These are too few seeds to claim any difference that models usually have; {enough} seeds of each model "
            f"can show {_NEAR} standard deviations."
        )
    return Note("", text)


_FIELDS = (
    "first", "second", "dataset", "metric", "scorer", "first_value", "second_value", "difference", "interval_low",
    "interval_high", "interval_over", "p_value", "p_value_holm", "test", "effect_size", "effect_size_name",
    "num_images", "first_seeds", "second_seeds", "seeds_low", "seeds_high", "seeds_p_value", "seeds_p_value_holm",
    "claim", "too_few", "note", "different_hyperparameters",
)  # fmt: skip


def _tidy(measured: Measured, each: Compared) -> dict[str, object]:
    comparison, difference = each.comparison, each.comparison.difference
    (seeds_low, seeds_high), seeds_p = comparison.over_seeds or (("", ""), "")
    seeds_p_holm = "" if each.corrected.seeds is None else each.corrected.seeds
    values = (
        *each.pair, measured.dataset, metric_of(comparison.metric), scorer_of(comparison.metric), comparison.first,
        comparison.second, difference.value, *difference.interval, difference.over, difference.p_value,
        each.corrected.images, difference.test, difference.effect, difference.effect_name, each.num_images,
        *comparison.seeds, seeds_low, seeds_high, seeds_p, seeds_p_holm, each.claim, each.too_few,
        MEANINGS[DAGGER] if each.wrong_controls else "",
        " | ".join(differences({name: measured.models[name] for name in each.names}, title_of)),
    )  # fmt: skip
    return dict(zip(_FIELDS, values, strict=True))
