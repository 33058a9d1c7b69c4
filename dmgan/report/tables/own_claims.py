"""Tests of the papers' claims on this run: whether the method leads that a claim calls better.

The corrected paired comparison of the two models decides. The size of a lead is shown and not tested. Numbers of this
run and of a paper are comparable if data set, number and size of the images and the reader of the metric (its feature
extractor or scorer) are those of the paper; otherwise the result is "not comparable", shown with the numbers and the
outcome of the comparison.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.evaluation.metrics.table import facts_of
from dmgan.report.evaluations import RELEASED, metric_of, scorer_of
from dmgan.report.literature.arithmetic import FORMS, Form, Part
from dmgan.report.literature.claims import FAILS, HOLDS, NOT_COMPARABLE, Claim
from dmgan.report.literature.published import Published, published
from dmgan.report.results import Measured, Summary, summarise
from dmgan.report.tables.comparisons import NOT_SHOWN, TOO_FEW_TO_TELL
from dmgan.report.tables.marks import DAGGER, MEANINGS
from dmgan.report.tables.paper_tables import LAYOUTS, better, is_better, title_of
from dmgan.storage.reading import read_text

TOO_CLOSE, NOT_RUN = "too close to tell", "not run"
_NO_EVIDENCE = "a control that should lose ranks before the better model"


class OwnResult(NamedTuple):
    """Result of a claim on this run."""

    result: str  # HOLDS, FAILS, TOO_CLOSE, NOT_RUN or NOT_COMPARABLE
    reasons: tuple[str, ...] = ()  # why it was not run or is not comparable
    numbers: str = ""
    files: tuple[Path, ...] = ()  # metrics.json of the numbers


class TestedLead(NamedTuple):
    """Result of the test whether the second of two models leads by one metric, on this run."""

    result: str
    reasons: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()  # methods and metrics that were not run


class Comparisons(NamedTuple):
    """The claims of a table of paired comparisons, by titles of the two models and METRIC(READER)."""

    claims: Mapping[tuple[frozenset[str], str], tuple[str, bool]]  # claim, and whether it is evidence

    def of(self, titles: Sequence[str], key: str) -> tuple[str, bool] | None:
        """Return the claim about two models, and whether it is evidence; None if the models were not compared."""
        return self.claims.get((frozenset(titles), key))


def read_comparisons(path: Path | None) -> Comparisons:
    """Read comparisons.csv; None: no models were compared. Raise UserError if it is not a table of comparisons."""
    if path is None:
        return Comparisons({})
    hint = "make it again: python -m dmgan compare"
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path, hint)), strict=True))
        claims = {
            (frozenset((row["first"], row["second"])), f"{row['metric']}({row['scorer']})"): (
                row["claim"],
                MEANINGS[DAGGER] not in row["note"],
            )
            for row in rows
            if row["first"]
        }
    except (csv.Error, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not a table of comparisons ({error}); {hint}") from error
    return Comparisons(claims)


def own_result(claim: Claim, measured: Measured, comparisons: Comparisons) -> OwnResult:
    """Return whether a claim holds on this run, with its numbers."""
    form = FORMS[claim.form]
    tested = [
        _tested((part.cells[behind], part.cells[ahead]), _allowed_loss(form, part), measured, comparisons)
        for part in _relevant(claim.parts, measured)
        for behind, ahead in form.pairs(len(part.terms))
    ]
    if not tested:
        return OwnResult(NOT_COMPARABLE, ("the claim compares no models",))
    missing = _unique(each for test in tested for each in test.missing)
    reasons = _unique(each for test in tested for each in test.reasons)
    numbers = "; ".join(_unique(each for test in tested for each in test.numbers))
    files = tuple(dict.fromkeys(file for test in tested for file in test.files))
    results = {test.result for test in tested}
    result = next(each for each in (FAILS, NOT_RUN, TOO_CLOSE, HOLDS, NOT_COMPARABLE) if each in results)
    if result == NOT_RUN and not reasons:
        return OwnResult(NOT_RUN, tuple(missing), numbers, files)
    absent = [f"not run: {', '.join(missing)}"] if missing else []
    return OwnResult(NOT_COMPARABLE if reasons else result, (*reasons, *absent), numbers, files)


def _relevant(parts: Sequence[Part], measured: Measured) -> list[Part]:
    """Return the parts of a claim on the data set of this run; all of them if none is."""
    title = measured.published_set[0] if measured.published_set else ""
    here = [part for part in parts if part.terms[0] and title in part.terms[0][0].datasets]
    return here or list(parts)


def _allowed_loss(form: Form, part: Part) -> float:
    """Return the percentage by which the second model of a claim may be worse than the first."""
    return float(part.printed[0]) if form.allows_loss else 0.0


def _tested(
    cells: tuple[Published, Published], allowed_loss: float, measured: Measured, comparisons: Comparisons
) -> TestedLead:
    """Return whether the second of two methods is better, or worse by at most `allowed_loss` percent, on this run."""
    metric, dataset = cells[1].metric, cells[1].dataset
    models = [_run_as(each.method, measured) for each in cells]
    missing = [
        f"{cell.method} (published numbers only)" if model is None else cell.method
        for cell, model in zip(cells, models, strict=True)
        if model not in measured.models
    ]
    if missing:
        return TestedLead(NOT_RUN, missing=tuple(missing))
    pairs = {key: [summarise(measured.models[each], key) for each in models] for key in measured.columns((metric,))}
    pairs = {key: pair for key, pair in pairs.items() if None not in pair}
    if not pairs:
        return TestedLead(NOT_RUN, missing=(f"{metric} of {title_of(models[1])}",))
    reader = dict(facts_of(metric).published_readers).get(dataset, "")
    as_published = {key: pair for key, pair in pairs.items() if scorer_of(key).partition(",")[0] == reader}
    shown = as_published or pairs
    titles = [title_of(model) for model in models]
    leads = {key: _lead(pair, titles, key, comparisons) for key, pair in shown.items()}
    # The last reader of several is the most specific: the stored statistics of the paper, if they were given.
    key, lead = list(leads.items())[-1]
    reasons = _differences(measured, dataset, key)
    if not as_published:
        reasons.append(f"{metric} by {', '.join(map(scorer_of, pairs))}, published by {reader or 'another reader'}")
    if lead.result == NOT_COMPARABLE:
        reasons.append(_NO_EVIDENCE)
    tolerated = lead.result == FAILS and -_gain(shown[key], key) <= allowed_loss
    return TestedLead(
        HOLDS if tolerated else lead.result,
        tuple(reasons),
        tuple(f"{_numbers(shown[each], titles, each)}: {leads[each].words}" for each in shown),
        tuple(file for pair in shown.values() for summary in pair for file in summary.files),
    )


class _Lead(NamedTuple):
    result: str
    words: str


def _lead(pair: Sequence[Summary], titles: Sequence[str], key: str, comparisons: Comparisons) -> _Lead:
    """Return whether the second of two models leads: by their comparison, or without one by their intervals."""
    compared = comparisons.of(titles, key)
    if compared is not None:
        claim, evidence = compared
        if claim in (NOT_SHOWN, TOO_FEW_TO_TELL):
            return _Lead(TOO_CLOSE, claim)
        if not evidence:
            return _Lead(NOT_COMPARABLE, f"{claim}, but {_NO_EVIDENCE}")
        return _Lead(HOLDS if claim.startswith(f"{titles[1]} better than") else FAILS, claim)
    if any(facts_of(metric_of(key)).too_few(each.num_images) for each in pair):
        return _Lead(TOO_CLOSE, TOO_FEW_TO_TELL)
    behind, ahead = (summary.clustered(key)[0] for summary in pair)
    if behind is None or ahead is None or not (behind[1] < ahead[0] or ahead[1] < behind[0]):
        return _Lead(TOO_CLOSE, "not compared in pairs, intervals overlap")
    leads = is_better(key, pair[1].value, pair[0].value)
    winner, loser = (titles[1], titles[0]) if leads else titles
    return _Lead(HOLDS if leads else FAILS, f"{winner} better than {loser} by separate intervals")


def _gain(pair: Sequence[Summary], key: str) -> float:
    """Return the gain of the second number in percent of the first, positive if it is better; nan if the first is 0."""
    sign = -1 if better(key) == "down" else 1
    return sign * 100 * (pair[1].value - pair[0].value) / abs(pair[0].value) if pair[0].value else math.nan


def _numbers(pair: Sequence[Summary], titles: Sequence[str], key: str) -> str:
    """Return both numbers and the gain of the second."""
    texts = [f"{title} {each.value:.4g} ± {each.spread:.2g}" for title, each in zip(titles, pair, strict=True)]
    gain = _gain(pair, key)
    texts += [] if math.isnan(gain) else [f"gain {gain:+.1f} %".replace("-", "−")]
    return f"{key}: {', '.join(texts)}"


def _differences(measured: Measured, dataset: str, key: str) -> list[str]:
    """Return the differences between the protocols of this run and of the papers, without the reader of the metric."""
    found = []
    title, differences = measured.published_set or ("", ())
    if title != dataset:
        found.append(f"data set {measured.dataset}, not {dataset}")
    found += differences
    images, side = _protocol()
    if not any(each.endswith(" px") for each in differences) and measured.image_size != side:
        found.append(f"images of {measured.size}, not {side} px")
    if measured.model_images(key) != images:
        found.append(f"{measured.model_images(key):,} images, not {images:,}")
    return found


@cache
def _protocol() -> tuple[int, int]:
    """Return number and side in px of the images that DM-GAN's paper measured."""
    rows = published("003", 'text 4 "Datasets" / "Evaluation Metric"')
    images = rows["evaluation", "CUB;COCO", "hp:generated_images"].value
    return int(images), int(published("003", "text 3.5")["DM-GAN", "CUB;COCO", "hp:resolution_stage2"].value)


def _run_as(method: str, measured: Measured) -> str | None:
    """Return the model of a method, or its released weights if it was not trained; None if it is not implemented."""
    model = _models().get(method)
    if model not in measured.models and f"{model}{RELEASED}" in measured.models:
        return f"{model}{RELEASED}"
    return model


@cache
def _models() -> dict[str, str]:
    """Return the model in the registry of every implemented method of the papers' tables."""
    methods = [each for layout in LAYOUTS for each in layout.methods]
    return {each.published_as: each.model for each in methods if each.model is not None}


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
