"""The tables of the papers' claims and of the conflicts between their numbers."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dmgan.report.literature.claims import Claim, published_claims
from dmgan.report.results import Measured, read_measured
from dmgan.report.tables.conflicts import conflicts
from dmgan.report.tables.own_claims import Comparisons, OwnResult, own_result, read_comparisons
from dmgan.report.tables.text_tables import TextColumn, TextTable, to_latex, to_markdown
from dmgan.storage import files

CLAIMS, CONFLICTS = "claims", "conflicts"


class CheckedClaim(NamedTuple):
    """A claim of a paper, computed from the published numbers and on this run."""

    claim: Claim
    own: OwnResult


def claims(measured: Measured, comparisons: Comparisons) -> list[CheckedClaim]:
    """Return all claims, computed from the published numbers and tested on this run."""
    return [CheckedClaim(each, own_result(each, measured, comparisons)) for each in published_claims()]


def write_claims(metrics: Sequence[Path], comparisons: Path | None, out: Path, check: bool = True) -> None:
    """Write claims.{csv,md,tex} and conflicts.{csv,md,tex} into `out`.

    metrics: metrics.json files of one data set; comparisons: comparisons.csv of the same files, or None;
    check: as in `write_tables`.
    """
    measured = read_measured(metrics, check)
    checked = claims(measured, read_comparisons(comparisons))
    files.write_csv(out / f"{CLAIMS}.csv", [_claim_row(each, measured) for each in checked])
    files.write_csv(out / f"{CONFLICTS}.csv", _conflict_rows())
    for name, table in ((CLAIMS, claims_table(checked, measured)), (CONFLICTS, conflicts_table())):
        files.write_text(out / f"{name}.md", to_markdown(table))
        files.write_text(out / f"{name}.tex", to_latex(table, name))


def _claim_row(each: CheckedClaim, measured: Measured) -> dict[str, object]:
    claim, own = each
    return {
        "id": claim.id,
        "paper": claim.paper,
        "where": claim.where,
        "quote": claim.quote,
        "result": claim.result,
        "arithmetic": claim.arithmetic,
        "form": claim.form,
        "reading": claim.reading,
        "dataset": measured.dataset,
        "in_this_run": own.result,
        "reason": "; ".join(own.reasons),
        "numbers": own.numbers,
        "remark": claim.remark,
        "metrics_files": ";".join(map(str, own.files)),
    }


def claims_table(checked: Sequence[CheckedClaim], measured: Measured) -> TextTable:
    """Return the printed table of the claims."""
    columns = (
        TextColumn("Claim", 0.22), TextColumn("By the published numbers", 0.36),
        TextColumn(f"On {measured.dataset} (this run)", 0.26), TextColumn("Remark", 0.16),
    )  # fmt: skip
    common = _common_reasons(checked)
    rows = [
        (
            f"{claim.id}. {claim.paper}, {claim.where}: “{claim.quote}”",
            f"{claim.result}. {claim.arithmetic}",
            _own_cell(own, common),
            claim.remark,
        )
        for claim, own in checked
    ]
    notes = list(_CLAIM_NOTES)
    if common:
        notes.append(f"No number of this run was measured as in the papers: {'; '.join(common)}.")
    return TextTable("Claims", _claims_caption(checked, measured), columns, rows, notes)


def _own_cell(own: OwnResult, common: Sequence[str]) -> str:
    """Return the result of a claim on this run, with the reasons that not all claims share, and the numbers."""
    reasons = "; ".join(reason for reason in own.reasons if reason not in common)
    result = f"{own.result} ({reasons})" if reasons else own.result
    return f"{result}. {own.numbers}" if own.numbers else result


def _common_reasons(checked: Sequence[CheckedClaim]) -> list[str]:
    """Return the reasons for which no number of this run is comparable."""
    reasons = [each.own.reasons for each in checked if each.own.numbers]
    return [reason for reason in reasons[0] if all(reason in each for each in reasons)] if reasons else []


_CLAIM_NOTES = (
    "A claim has a part for each data set and metric that it names. It holds in part if some of its parts hold. A part "
    "whose number is missing decides nothing; a claim without numbers is not comparable.",
    "This run tests whether the method that a claim calls better leads: by the paired comparison of the two models, "
    "corrected for all pairs and metrics of the table of comparisons; without one, by intervals that do not overlap. "
    "The size of a gain is shown, not tested.",
    "Numbers of this run compare with a claim only if data set, image size, number of images and the reader of the "
    "metric (its feature extractor or scorer) are those of the paper; if not, the result is “not comparable”, with the "
    "reason.",
)


def _claims_caption(checked: Sequence[CheckedClaim], measured: Measured) -> str:
    published = Counter(each.claim.result for each in checked)
    own = Counter(each.own.result for each in checked)
    return (
        f"{len(checked)} claims of the papers, computed from their printed numbers ({_counted(published)}) and on "
        f"{measured.dataset} ({_counted(own)})."
    )


def _counted(results: Counter) -> str:
    return ", ".join(f"{result}: {count}" for result, count in results.most_common())


def _conflict_rows() -> list[dict[str, object]]:
    return [
        {
            "method": each.method,
            "dataset": ";".join(each.datasets),
            "metric": each.metric,
            "value": row.value,
            "std": row.std,
            "source": row.origin,
            "documents": each.documents,
            "difference": each.difference,
            "note": row.remark or row.note,
        }
        for each in conflicts()
        for row in each.rows
    ]


def conflicts_table() -> TextTable:
    """Return the table of the conflicts of the literature, which is the same for every data set."""
    columns = (
        TextColumn("Quantity", 0.2), TextColumn("Printed values", 0.4), TextColumn("Difference", 0.12),
        TextColumn("Remark", 0.28),
    )  # fmt: skip
    found = conflicts()
    rows = [
        (
            f"{each.method}, {' and '.join(each.datasets)}, {each.rows[0].quantity}",
            "; ".join(f"{value} ({'; '.join(places)})" for value, places in each.values.items()),
            each.difference,
            " ".join(each.remarks),
        )
        for each in found
    ]
    inside = sum(each.documents == "one document" for each in found)
    caption = (
        f"{len(found)} quantities that are printed with different values, {inside} of them within one document. The "
        "difference is between the largest and the smallest value, in percent of the first."
    )
    return TextTable("Conflicts", caption, columns, rows)
