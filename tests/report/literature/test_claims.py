"""The claims of the papers: computed results against a reading, their arithmetic, and errors that name a line."""

from decimal import Decimal

import pytest

from dmgan.errors import UserError
from dmgan.report.literature.arithmetic import FORMS, Part, outcome
from dmgan.report.literature.claims import (
    COLUMNS,
    FAILS,
    HOLDS,
    IN_PART,
    NOT_COMPARABLE,
    published_claims,
    read_claims,
)
from dmgan.report.literature.published import Published
from tests.paths import SHARED
from tests.reading import read_csv

LEDGER = SHARED / "ledger" / "claims.csv"
# What reading found -> the result that code computes. A claim without numbers is not comparable.
READINGS = {
    HOLDS: ("holds", "holds (points)", "holds (monotone)", "holds for IS", "rounded", "consistent"),
    IN_PART: (
        "holds only roughly", "holds for CUB only (relative)", "holds on COCO",
        "holds on CUB; on COCO only DALL-E has a worse FID", "cannot hold for CUB without repetition",
    ),
    FAILS: (
        "does not hold", "does not hold in released code", "does not hold in that repo", "differs from released code",
        "contradicts own Table 1", "contradicts own Table 2", "contradicts own Table 2 and intro (16.33)",
        "dangling reference (3 times)", "column headings swapped", "worse than paper in both", "conflicts with 003",
    ),
    NOT_COMPARABLE: (
        "same formula; extra duplication", "typo", "unfinished", "wrong figure number", "wording slip",
        "degenerate as printed", "not checkable", "holds loosely", "wrong name", "under-specified",
    ),
}  # fmt: skip
RESULT_OF = {reading: result for result, readings in READINGS.items() for reading in readings}
BY_ID = {claim.id: claim for claim in published_claims()}


def test_every_claim_with_numbers_is_computed():
    assert list(BY_ID) == [str(number) for number in range(1, 50)]
    assert sum(claim.form != "text" for claim in published_claims()) == 40
    counts = [sum(claim.result == result for claim in published_claims()) for result in READINGS]
    assert counts == [19, 5, 15, 10]


@pytest.mark.parametrize("claim", published_claims(), ids=lambda claim: claim.id)
def test_the_computed_result_is_that_of_the_reading(claim):
    assert claim.result == RESULT_OF[claim.reading]


@pytest.mark.skipif(not LEDGER.exists(), reason="needs shared/ledger")
def test_the_ledger_s_claims_are_in_the_file():
    ledger = [(row["id"], row["source"], row["where"], row["quote"], row["verdict"]) for row in read_csv(LEDGER)]
    assert ledger == [(each.id, each.source, each.where, each.quote, each.reading) for each in published_claims()]


@pytest.mark.parametrize(
    ("number", "arithmetic"),
    [
        ("1", "CUB IS: (4.75 − 4.36) / 4.36 = +8.945 %, printed 8.94 %"),
        ("3", "CUB R-precision: 72.31 − 67.82 = +4.49 (+6.62 %), printed 4.49"),
        ("6", "COCO FID: 35.49 → 32.64 (−2.85, −8.03 %), printed 35.49 → 32.64"),
        ("7", "CUB IS: (4.75 − 4.36) / √(0.03² + 0.07²) = 5.1 standard deviations, limit 3"),
        ("10", "CUB images: 8855 + 2933 = 11788; CUB categories: 150 + 50 = 200"),
        ("11", "COCO train images: 82783 rounds to 80000; COCO test images: 40504 rounds to 40000"),
        ("15", "no numbers; by reading: same formula; extra duplication"),
        ("22", "COCO FID: 35.49 → 32.64 (−2.85, −8.03 %), printed 35.49 → xxxx"),
        ("25", "0 numbers found in the source"),
        ("30", "hours total: 10 + 10 + 10 + 10 + 10 + 8 = 58"),
        ("35", "CUB DM-GAN generator: sum of 74 numbers 21449042 = 21449042"),
        ("36", "CUB DM-GAN discriminator D256: sum of 22 numbers 18264546 = 18264546"),
        ("37", "CUB and COCO attention heads: 1 < 2"),
        ("45", "COCO IS: 30.49 (DM-GAN, Table 1) ≠ 32.32 (Memory-Driven, Table 1): +1.83, +6.002 %"),
        ("47", "CUB test images: 2933 < 30000; COCO test images: 40000 ≥ 30000"),
    ],
)
def test_the_arithmetic_of_claims(number, arithmetic):
    assert BY_ID[number].arithmetic == arithmetic


def test_parts_without_a_number_decide_nothing():
    parts = BY_ID["40"].outcomes
    assert [each.holds for each in parts] == [None] * 3 + [True] * 5
    assert parts[0].arithmetic == "CUB IS: OP-GAN not reported"
    assert BY_ID["44"].outcomes[0].arithmetic == (
        "CUB FID: 10.49 against 13.92 (ControlGAN), the best of 4; not reported: MirrorGAN"
    )


def part(*values, metric="IS", printed=(), std=""):
    cells = (
        Published("003", "Table 1", "CUB", f"m{place}", metric, each, std, "", "") for place, each in enumerate(values)
    )
    return Part(tuple((cell,) for cell in cells), printed)


@pytest.mark.parametrize(
    ("form", "given", "holds"),
    [
        ("relative gain", part("20", "15", metric="FID", printed=("25",)), True),
        ("relative gain", part("15", "20", metric="FID", printed=("33.33",)), False),  # worse by that much
        ("gain", part("4.0", "4.449", printed=("0.4",)), True),
        ("gain", part("4.0", "4.451", printed=("0.4",)), False),
        ("change", part("16.09", "23.98", metric="FID", printed=("16.09", "23.98")), False),
        ("order", part("1", "2", "2"), False),
        ("order", part("3", "2", "1", metric="FID"), True),
        ("best", part("5", "", "5"), False),
        ("best", part("5", "", ""), None),
        ("margin", part("4", "5", printed=("3",), std="0.2"), True),
        ("margin", part("4", "5", printed=("4",), std="0.2"), False),
        ("margin", part("4", "5", printed=("3",)), None),
        ("within", part("100", "95", printed=("5",)), True),
        ("within", part("100", "94.9", printed=("5",)), False),
        ("same", part("4.8", "4.80"), True),
        ("sum", part("1", "2", "4"), False),
        ("rounded", part("85001", "80000"), False),
        ("rounded", part("30.494", "30.49"), True),
        ("at least", part("2", printed=("2",)), True),
        ("same", part("", "4.80"), None),
    ],
)
def test_forms(form, given, holds):
    assert outcome(form, given).holds is holds


def test_every_form_is_used():
    assert {claim.form for claim in published_claims()} == set(FORMS)


def test_numbers_are_exact():
    assert Decimal("72.31") - Decimal("67.82") == Decimal("4.49") and 72.31 - 67.82 != 4.49


GOOD = "1,003,4.1,8.94% improvement,relative gain,003|Table 1|CUB|AttnGAN|IS -> |||DM-GAN|,8.94,holds,"


def write(folder, *lines):
    path = folder / "claims.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines, ""]), encoding="utf-8")
    return path


def test_a_claim_is_added_by_one_line(tmp_path):
    (claim,) = read_claims(write(tmp_path, GOOD))
    assert (claim.paper, claim.result) == ("DM-GAN", HOLDS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("2,003", "1,003", "id '1' is that of line 2"),
        ("2,003", "x,003", "id 'x' is not a number"),
        ("2,003", "2,300", "source '300' is unknown"),
        ("8.94% improvement", "", "quote and reading must not be empty"),
        ("relative gain", "eval", "form 'eval' is unknown; take one of relative gain"),
        (",8.94,", ",,", "printed has 0 entries; form 'relative gain' takes 1"),
        (",8.94,", ",8.94 %,", "printed '8.94 %' is not a number"),
        (" -> |||DM-GAN|", "", "terms has 1 entries; form 'relative gain' takes 2"),
        ("|||DM-GAN|", "DM-GAN", "term 'DM-GAN' has 1 fields; write SOURCE"),
        ("|||DM-GAN|", "|||DMGAN|", "003.Table 1.CUB.DMGAN.IS: published.csv has no number of it"),
        ("003|Table 1", "|Table 1", "has an empty field; the first term needs all of them"),
        (
            "CUB|AttnGAN|IS",
            "CUB & COCO|AttnGAN|IS & IS & IS",
            "fields have .1, 2, 3. alternatives; give every field one",
        ),
    ],
)
def test_a_wrong_line_is_named_with_its_fix(tmp_path, old, new, message):
    line = GOOD.replace("1,003", "2,003", 1)
    assert old in line
    with pytest.raises(UserError, match=f"claims.csv, line 3: .*{message}"):
        read_claims(write(tmp_path, GOOD, line.replace(old, new)))
