"""The claims that the papers make, read from claims.csv and computed from the published numbers.

`form` is a key of arithmetic.FORMS. `terms` refers to published numbers: SOURCE|TABLE|DATASET|METHOD|METRIC, terms
separated by " -> ". An empty field of a term is that of the term before. Alternatives in a field, separated by " & ",
make a claim of several parts, one for each alternative. `*` in a field matches any text, in forms with a pattern.
`printed` holds digits of the claim, with the same separators. `reading` is the result of a comparison by reading.
"""

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dmgan.errors import UserError
from dmgan.report.literature.arithmetic import FORMS, Outcome, Part, outcome
from dmgan.report.literature.published import PAPERS, PLACEHOLDER, Published, published_rows, read_rows

HOLDS, IN_PART, FAILS, NOT_COMPARABLE = "holds", "holds in part", "does not hold", "not comparable"
COLUMNS = ("id", "source", "where", "quote", "form", "terms", "printed", "reading", "remark")
CLAIMS_FILE = Path(__file__).with_name("claims.csv")
_FIELDS = ("source", "table", "dataset", "method", "metric")
_NEXT, _OTHER = " -> ", " & "


class Claim(NamedTuple):
    """A claim of a document."""

    id: str
    source: str  # keys of SOURCES, joined by "+" if documents share the claim
    where: str  # section of the document
    quote: str
    form: str
    parts: tuple[Part, ...]
    reading: str
    remark: str

    @property
    def paper(self) -> str:
        """Name of the document; if several share the claim, of the last."""
        return PAPERS[self.source.split("+")[-1]]

    @property
    def outcomes(self) -> list[Outcome]:
        """The result of every part."""
        return [outcome(self.form, part) for part in self.parts]

    @property
    def result(self) -> str:
        """Whether the claim holds by the published numbers."""
        return overall([each.holds for each in self.outcomes])

    @property
    def arithmetic(self) -> str:
        """The arithmetic of every part; for a claim without numbers, the result of reading."""
        if self.form == "text":
            return f"no numbers; by reading: {self.reading}"
        return "; ".join(each.arithmetic for each in self.outcomes)


def overall(parts: list[bool | None]) -> str:
    """Return the result of a claim from the results of its parts; None: a number of the part is missing."""
    if all(part is None for part in parts):
        return NOT_COMPARABLE
    if all(parts):
        return HOLDS
    return IN_PART if any(parts) else FAILS


@cache
def published_claims() -> tuple[Claim, ...]:
    """Return all claims, in the order of the file."""
    return tuple(read_claims(CLAIMS_FILE))


def read_claims(path: Path) -> list[Claim]:
    """Read a file of claims; raise UserError that names file and line if a claim breaks the schema."""
    found: dict[str, int] = {}
    claims = []
    for line, row in read_rows(path, COLUMNS):
        first = found.setdefault(row["id"], line)
        if first != line:
            raise UserError(f"{path}, line {line}: id {row['id']!r} is that of line {first}; take the next free number")
        try:
            claims.append(_claim(row))
        except ValueError as error:
            raise UserError(f"{path}, line {line}: {error}") from error
    return claims


def _claim(row: dict[str, str]) -> Claim:
    """Return the claim of a row; ValueError says what is wrong and the fix."""
    if not row["id"].isdecimal():
        raise ValueError(f"id {row['id']!r} is not a number; take the next free number")
    for source in row["source"].split("+"):
        if source not in PAPERS:
            raise ValueError(f"source {source!r} is unknown; take one of {', '.join(PAPERS)}, or add it to SOURCES")
    if not row["quote"] or not row["reading"]:
        raise ValueError("quote and reading must not be empty; quote the source, and say what you found by reading")
    if row["form"] not in FORMS:
        raise ValueError(f"form {row['form']!r} is unknown; take one of {', '.join(FORMS)}")
    kept = {name: row[name] for name in ("id", "source", "where", "quote", "form", "reading", "remark")}
    return Claim(parts=tuple(_parts(row)), **kept)


def _parts(row: dict[str, str]) -> list[Part]:
    """Return the parts of a claim, one for each alternative."""
    form = FORMS[row["form"]]
    terms, printed = _terms(row["terms"]), row["printed"].split(_NEXT) if row["printed"] else []
    for name, given, (least, most) in (("terms", terms, form.terms), ("printed", printed, form.printed)):
        if len(given) < least or (most is not None and len(given) > most):
            wanted = str(least) if least == most else f"{least} to {most or 'any number'}"
            raise ValueError(f"{name} has {len(given)} entries; form {row['form']!r} takes {wanted}: {form.meaning}")
    if not terms:
        return []
    counts = {len(field) for term in terms for field in term} | {len(each.split(_OTHER)) for each in printed}
    number = max(counts)
    if not counts <= {1, number}:
        raise ValueError(f"fields have {sorted(counts)} alternatives; give every field one, or {number}")
    return [_part(terms, printed, place, form.patterns) for place in range(number)]


def _part(terms: list[list[list[str]]], printed: list[str], place: int, patterns: bool) -> Part:
    """Return the part of a claim that has the alternatives at `place`."""
    found = []
    for number, term in enumerate(terms):
        reference = [field[place % len(field)] for field in term]
        found.append(_rows(reference, patterns and number == 0))
    digits = [alternatives[place % len(alternatives)] for alternatives in (each.split(_OTHER) for each in printed)]
    for each in digits:
        if each != PLACEHOLDER and not _is_number(each):
            raise ValueError(f"printed {each!r} is not a number; print the digits of the quote")
    return Part(tuple(found), tuple(digits))


def _terms(text: str) -> list[list[list[str]]]:
    """Return the alternatives of every field of every term; an empty field is that of the term before."""
    found: list[list[list[str]]] = []
    for term in text.split(_NEXT) if text else []:
        fields = term.split("|")
        if len(fields) != len(_FIELDS):
            raise ValueError(f"term {term!r} has {len(fields)} fields; write {'|'.join(_FIELDS).upper()}")
        alternatives = [field.split(_OTHER) if field else None for field in fields]
        if not found and None in alternatives:
            raise ValueError(f"term {term!r} has an empty field; the first term needs all of them")
        found.append([own or found[-1][place] for place, own in enumerate(alternatives)])
    return found


def _rows(reference: list[str], pattern: bool) -> tuple[Published, ...]:
    """Return the published number of a reference, or all that its pattern finds."""
    found = tuple(row for row in published_rows() if _matches(row, reference))
    if not pattern and len(found) != 1:
        what = "no number" if not found else f"{len(found)} numbers"
        raise ValueError(f"{'|'.join(reference)}: published.csv has {what} of it; name exactly one")
    return found


def _matches(row: Published, reference: list[str]) -> bool:
    """Return whether a reference names a row; it may name one data set of a number that is of both."""
    wanted = dict(zip(_FIELDS, reference, strict=True))
    dataset = wanted.pop("dataset")
    if row.dataset != dataset and not any(fnmatchcase(each, dataset) for each in row.datasets):
        return False
    return all(getattr(row, name) == text or fnmatchcase(getattr(row, name), text) for name, text in wanted.items())


def _is_number(digits: str) -> bool:
    return digits.removeprefix("-").replace(".", "", 1).isdecimal()
