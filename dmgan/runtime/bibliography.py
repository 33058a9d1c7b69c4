"""The bibliography, bibliography.bib: papers and software to cite, as BibTeX, as CFF and as plain text."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

SOFTWARE = "dmgan_reproduction"  # key of this project
LIBRARIES = ("paszke2019pytorch",)  # keys of what every network of this project is computed with
_FILE = Path(__file__).with_name("bibliography.bib")
_ENTRY = re.compile(r"^@(\w+)\{(\w+),\n(.*?)^\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (\w+) += \{(.*)\},$", re.MULTILINE)
_CFF_KINDS = {
    "inproceedings": "conference-paper", "article": "article", "techreport": "report", "software": "software",
}  # fmt: skip


class Reference(NamedTuple):
    """An entry of the bibliography."""

    key: str
    kind: str  # of BibTeX: inproceedings, article, ...
    fields: dict[str, str]  # of BibTeX: author, title, year, ...
    text: str  # the entry as it stands in the file

    @property
    def authors(self) -> list[tuple[str, str]]:
        """Family name and given names of every author; of an organisation, its name and ""."""
        people = []
        for author in self.fields["author"].split(" and "):
            family, _, given = author.strip("{}").partition(", ")
            people.append((family, given))
        return people

    @property
    def venue(self) -> str | None:
        """Where it appeared; None for software."""
        return next(
            (self.fields[each] for each in ("booktitle", "journal", "institution") if each in self.fields), None
        )

    def plain(self) -> str:
        """Return the reference as a line of plain text."""
        names = [family for family, _ in self.authors]
        who = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
        return ", ".join(filter(None, [f"{who}: {self.fields['title']}", self.venue, self.fields["year"]])) + "."

    def as_cff(self) -> dict[str, object]:
        """Return the reference as an entry of `references` in a CITATION.cff file."""
        people = [
            {"given-names": given, "family-names": family} if given else {"name": family}
            for family, given in self.authors
        ]
        found = {"type": _CFF_KINDS[self.kind], "title": self.fields["title"], "authors": people}
        found["year"] = int(self.fields["year"])
        names = {"booktitle": "collection-title", "journal": "journal", "number": "number", "doi": "doi"}
        found |= {name: self.fields[each] for each, name in names.items() if each in self.fields}
        return found | ({"institution": {"name": self.fields["institution"]}} if "institution" in self.fields else {})


@cache
def references() -> dict[str, Reference]:
    """Return every entry of the bibliography by its key, in the order of the file."""
    text = _FILE.read_text(encoding="utf-8")
    return {
        key: Reference(key, kind, dict(_FIELD.findall(body)), match)
        for match, kind, key, body in ((m.group(0), *m.groups()) for m in _ENTRY.finditer(text))
    }


def find(keys: Iterable[str]) -> list[Reference]:
    """Return the entries of `keys`, without repetition, in the order of the bibliography."""
    wanted = set(keys)
    if unknown := wanted - references().keys():
        raise KeyError(f"bibliography.bib has no entry {', '.join(sorted(unknown))}")
    return [each for key, each in references().items() if key in wanted]


def bibtex(keys: Iterable[str]) -> str:
    """Return BibTeX of the entries of `keys`."""
    return "\n\n".join(each.text for each in find(keys)) + "\n"


def cff(keys: Iterable[str], version: str) -> dict[str, object]:
    """Return the content of a CITATION.cff: this project in a version, with the entries of `keys` as references."""
    (software,) = find([SOFTWARE])
    about = software.as_cff()
    return {
        "cff-version": "1.2.0",
        "message": "If you use these results, cite this software and every reference below.",
        "type": "software",
        "title": about["title"],
        "authors": about["authors"],
        "version": version,
        "references": [each.as_cff() for each in find(set(keys) - {SOFTWARE})],
    }
