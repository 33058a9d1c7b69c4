"""The page of the published numbers, the papers' claims and the conflicts between them.

`python -m docs.literature_page` writes docs/literature.md; a test compares the page with the files.
"""

import sys
from collections import Counter
from pathlib import Path

from dmgan.report.literature.arithmetic import FORMS
from dmgan.report.literature.claims import published_claims
from dmgan.report.literature.published import SOURCES, published_rows
from dmgan.report.tables.claims import conflicts_table
from dmgan.report.tables.text_tables import TextColumn, TextTable, to_markdown

PAGE = Path("docs/literature.md")
_TEXT = """\
# The literature

Written by `python -m docs.literature_page` from `published.csv` and `claims.csv` in `dmgan/report/literature/`; a test
compares it with them.

`published.csv` holds every number that the documents print: results, hyperparameters, sizes of data sets and
parameters of tensors. Tables show the rows of their own paper's table. `claims.csv` holds what the documents claim;
code computes every claim from the printed numbers, and tests it on your runs. Both files are checked when they are
read: an error names the file, the line and the fix. [DM-GAN: paper vs. release](paper-and-release.md) lists how the
released code departs from the paper.

## On your runs

    python -m dmgan claims --metrics results/cub/*/seed*/metrics.json results/cub/controls/*/metrics.json \\
        --comparisons results/cub/tables/comparisons.csv --out results/cub/tables

writes `claims` and `conflicts` as CSV, Markdown and LaTeX; the workflow does it for every data set. A claim that a
method leads is tested by the paired comparison of the two models, corrected for the whole table of comparisons:

| on this run | meaning |
|---|---|
| holds | the better method of the claim leads |
| does not hold | the other method leads |
| too close to tell | no difference is shown |
| not run | a method of the claim was not run, or has published numbers only |
| not comparable | the run was not measured as in the paper; the reason and the numbers are shown |

A run is comparable if data set, image size, number of images and the reader of the metric (its feature extractor or
scorer) are the paper's, and if no control row that should lose ranks before the better model. Without a comparison of
the two models, intervals that do not overlap decide. The size of a gain is shown, not tested. From Python,
`dmgan.report.tables.claims.claims(measured, comparisons)` returns the same, with `read_measured(files)` and
`read_comparisons(path)`.

## Add a published number

One line in `published.csv`:

    003,Table 1,CUB,DM-GAN,IS,4.75,0.07,,

- `source`: a document of the table below; a new document is a line in `SOURCES` of `published.py`.
- `table`: the table, figure, equation or sentence that prints the number.
- `dataset`: `CUB`, `COCO`, `CUB;COCO` for a number of both, or `-`.
- `method`: as the source prints it.
- `metric`: a metric of this project; `hp:NAME`, `data:NAME` or `params:NAME` for a fact.
- `value`, `std`: the printed digits; an empty value is a dash in the source.
- `note`: for the CSV tables. `remark`: a sentence under the tables that show the number.

A number of a paper's table appears in that table here if the method is a row of its layout
(`dmgan/report/tables/paper_tables.py`).

| source | document | numbers |
|---|---|--:|
{sources}

## Add a claim

One line in `claims.csv`:

    1,003,4.1,8.94% improvement,relative gain,003|Table 1|CUB|AttnGAN|IS -> |||DM-GAN|,8.94,holds,

- `id`: the next number. `source`, `where`, `quote`: the document, its section and its words.
- `form`: how the claim is computed; the table below.
- `terms`: the numbers, `SOURCE|TABLE|DATASET|METHOD|METRIC`, separated by ` -> `. An empty field is that of the term
  before. Alternatives in a field, separated by ` & `, make a claim of several parts. `*` matches any text in a pattern.
- `printed`: digits of the quote, or the limit of a vague word such as "competitive".
- `reading`: what you found by reading; a test compares it with the computed result.
- `remark`: what a reader of the table should know.

| form | terms | printed | the claim holds if |
|---|---|---|---|
{forms}

A printed number stands for every number that rounds to it: 8.94 for 8.94495, and 80,000 for 82,783.

## The claims

{claims}
## The conflicts

{conflicts}"""


def page() -> str:
    """Return the page."""
    numbers = Counter(row.source for row in published_rows())
    sources = [f"| `{key}` | {each.name} ({each.authors}) | {numbers[key]} |" for key, each in SOURCES.items()]
    forms = [
        f"| {name} | {_count(form.terms)} | {_count(form.printed)} | {form.meaning} |" for name, form in FORMS.items()
    ]
    return _TEXT.format(
        sources="\n".join(sources),
        forms="\n".join(forms),
        claims=to_markdown(_claims()),
        conflicts=to_markdown(conflicts_table()),
    )


def _count(limits: tuple[int, int | None]) -> str:
    least, most = limits
    if least == most:
        return str(least)
    return f"{least} or more" if most is None else f"{least} to {most}"


def _claims() -> TextTable:
    """Return the table of all claims by the published numbers."""
    claims = published_claims()
    rows = [
        (f"{each.id}. {each.paper}, {each.where}: “{each.quote}”", each.result, each.arithmetic, each.remark)
        for each in claims
    ]
    counts = ", ".join(f"{result}: {count}" for result, count in Counter(each.result for each in claims).most_common())
    columns = tuple(TextColumn(heading, 1) for heading in ("claim", "result", "arithmetic", "remark"))
    return TextTable("Claims", f"{len(claims)} claims, computed from the printed numbers ({counts}).", columns, rows)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
